"""What each quick command costs, against an earlier commit and against one import.

What: CPU time (user and system, of all its processes) of `atx` commands on a home with the sample
library and two trained versions. Each run of a command is a fresh process.

Against: the same commands of another commit (`--before REV`, by default the previous one), from a
git worktree of its own; and `python -c "import numpy, pyarrow.parquet, xgboost"`, because importing
XGBoost, which imports scikit-learn, is most of the cost of scoring a title. All in one run, in
turns, by the same interpreter. To reach: the ratios to that import in `GOALS`.

The home is made with `atx demo`, some corrected labels and a second training; that takes minutes.
`--home FOLDER` uses such a home from an earlier run, or keeps the new one there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import timing

ROOT = Path(__file__).resolve().parents[1]
IMPORT = "import numpy, pyarrow.parquet, xgboost"
TITLE = '{"imdb_id": "tt0133093", "release_year": 1999, "genre": ["Action", "Sci-Fi"]}'
#: What a command may cost, as a share of the import; `{film}` is a film of the review queue.
GOALS = {
    "--help": 0.1,
    "score --help": 0.1,
    "show queue": 0.35,
    "score": 1.3,
    "explain {film}": 1.3,
    "doctor": 1.3,
    # In this order: each leaves what the other begins with.
    "promote 1": 1.3,
    "rollback": 1.3,
}
#: Labels that are turned before the second training, so that it makes another model.
CORRECTED = 40


class Atx:
    """The program `atx` of one checkout, on one home."""

    def __init__(self, checkout: Path, home: Path) -> None:
        module = "cli" if (checkout / "atx_assets" / "cli").is_dir() else "local.cli"
        # The folder it starts in comes before the installed package.
        self._checkout, self._command = checkout, [sys.executable, "-m", f"atx_assets.{module}"]
        own = ("ATX_", "PG_", "MLFLOW_", "DAGSTER_")
        # Modules are compiled once, before the first run that counts.
        left_out = (*own, "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        self._environment = kept | {"ATX_HOME": str(home), "ATX_DATA_DIR": str(home / "data")}

    def run(self, *words: str, given: str = "", **settings: str) -> str:
        """Run a command and return what it printed; a failure of it is ours."""
        return subprocess.run(
            [*self._command, *words],
            input=given,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=self._checkout,
            env=self._environment | settings,
        ).stdout


def make_home(atx: Atx, home: Path) -> None:
    """Fill a home with the sample library, and train two versions of the model."""
    if not (home / "data" / "models" / "1").exists():
        atx.run("demo", "--quiet")
    if not (home / "data" / "models" / "2").exists():
        wrong = json.loads(atx.run("show", "errors", "--kind", "fp", "--json"))
        ids = [film["imdb_id"] for film in wrong if film["imdb_id"]][:CORRECTED]
        atx.run("correct", "keep", *ids, "--write")
        atx.run("run", "--quiet", ATX_SEARCH="off")
    place = json.loads((home / "data" / "models" / "champion.json").read_text())
    if place["version"] != 2:
        atx.run("promote", "2")


def cpu_seconds(work: Callable[[], object]) -> float:
    """User and system time of the processes that `work` starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def command_once(atx: Atx, words: str, film: str) -> Callable[[], object]:
    """Return what runs a command of `GOALS` once."""
    given = TITLE if words == "score" else ""
    return lambda: atx.run(*words.format(film=film).split(), given=given)


def import_once() -> object:
    """Import what a command that scores cannot do without."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([sys.executable, "-c", IMPORT], env=kept, check=True)


@contextmanager
def checkout_of(revision: str) -> Iterator[Path]:
    """Yield a worktree of another commit, which is removed at the end."""
    git = ["git", "-C", str(ROOT)]
    with tempfile.TemporaryDirectory(prefix="atx-before-") as folder:
        path = Path(folder) / "checkout"
        add = [*git, "worktree", "add", "--quiet", "--detach", str(path), revision]
        subprocess.run(add, check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(path)], check=True)


def measure(before: Atx, now: Atx, film: str, runs: int) -> dict[tuple[str, str], float]:
    """Take turns, and return the median of each command before and now, and of the import."""
    works = {("", "import"): import_once} | {
        (words, name): command_once(atx, words, film)
        for name, atx in (("before", before), ("now", now))
        for words in GOALS
    }
    found: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    for turn in range(runs + 1):
        for key, work in works.items():
            seconds = cpu_seconds(work)
            if turn:  # the first compiles, and brings the files into memory
                found[key].append(seconds)
        print(f"  {turn}/{runs}", file=sys.stderr)
    return {key: statistics.median(seconds) for key, seconds in found.items()}


def main() -> None:
    """Make the home and the checkout, take turns, compare the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="HEAD~1", metavar="REV")
    parser.add_argument("--home", type=Path, help="a home with the sample library; made if missing")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atx-bench-") as folder:
        home = (options.home or Path(folder) / "home").absolute()
        now = Atx(ROOT, home)
        make_home(now, home)
        film = json.loads(now.run("show", "queue", "--json", "--limit", "1"))[0]["key"]
        with checkout_of(options.before) as path:
            found = measure(Atx(path, home), now, film, options.runs)
    of = found["", "import"]
    rows = [
        (
            f"atx {words}",
            f"{found[words, 'before']:.2f}",
            f"{found[words, 'now']:.2f}",
            f"{found[words, 'before'] / of:.2f}",
            f"{found[words, 'now'] / of:.2f}",
            f"{goal:g}",
            "reached" if found[words, "now"] / of <= goal else "MISSED",
        )
        for words, goal in GOALS.items()
    ]
    heads = ("CPU", "before, s", "now, s", "before", "now", "to reach", "")
    timing.print_table(heads, rows)
    print(f"(the last four of that import: {of:.2f} s; before is {options.before})")


if __name__ == "__main__":
    main()
