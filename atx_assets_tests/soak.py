"""What takes hours: `make soak`, by hand, before a release. Parts of at most half an hour each.

A part that has passed at this commit is not run again: stop it when you like, and go on later.
Each prints its line for the table in docs/reliability.md. Not here: what a part tests; a reduced
form of each is in `make test`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from atx_assets.settings import ROOT
from atx_assets_tests.builders.scale import SOAK

RECORD = ROOT / ".soak.json"
TESTS = Path("atx_assets_tests")
PYTHON = sys.executable
PYTEST = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Part:
    """A command, and what it shows; run again until its minutes are over, if it has any.

    `more` is whether its tests try more of the same than in `make test`.
    """

    shows: str
    command: Sequence[str]
    minutes: float = 0
    more: bool = False


def _tests(*words: str) -> Sequence[str]:
    return (*PYTEST, "--timeout=1700", *words)


def _alone(number: int, of: int) -> Sequence[str]:
    """Return what runs every so many-th file of tests but the faults, each in a process alone."""
    files = sorted(str(path) for path in TESTS.rglob("test_*.py") if "faults" not in path.parts)
    script = 'for file; do "$0" -m pytest -q -p no:cacheprovider "$file" || exit 1; done'
    return ("sh", "-c", script, PYTHON, *files[number::of])


def _on(version: str) -> Sequence[str]:
    """Return what runs `make test` on another Python, in an environment of its own."""
    return ("make", f"PYTHON=python{version}", f"VENV=.venv-{version}", "test")


UNDER_UP = str(TESTS / "system" / "faults" / "test_under_up.py")
PARTS = {
    "decisions": Part(
        "20,000 made-up histories of labels, runs and failures: the sensors' decisions",
        _tests(str(TESTS / "automation" / "test_decide.py")),
        more=True,
    ),
    "histories": Part(
        "random histories on real PostgreSQL and real runs, other ones each time",
        _tests(str(TESTS / "automation" / "test_histories.py")),
        minutes=25,
        more=True,
    ),
    "edits": Part(
        "10,000 random edits of releases: the labels' fingerprint against the labels",
        _tests(str(TESTS / "sources" / "test_label_edits.py")),
        more=True,
    ),
    "planted-truth": Part(
        "what a report promises against a known truth, on ten libraries",
        _tests(str(TESTS / "learning" / "test_planted_truth.py")),
        more=True,
    ),
    "fuzz-media": Part(
        "mutated exports of the media layout for `atx load`, 25 minutes",
        (PYTHON, "-m", "atx_assets_tests.fuzz.fuzz_load", "--minutes", "25"),
    ),
    "fuzz-training": Part(
        "mutated exports of the training layout for `atx load`, 25 minutes",
        (
            PYTHON,
            "-m",
            "atx_assets_tests.fuzz.fuzz_load",
            "--minutes",
            "25",
            "--layout",
            "training",
        ),
    ),
    "fuzz-restore": Part(
        "changed and forged backups for `atx restore`, 25 minutes",
        (PYTHON, "-m", "atx_assets_tests.fuzz.fuzz_restore", "--minutes", "25"),
    ),
    "clocks": Part(
        "the clock set back and forward under `atx up`, again and again",
        _tests(UNDER_UP, "-k", "clock"),
        minutes=20,
        more=True,
    ),
    "load": Part(
        "100 label changes a second for 20 minutes under `atx up`",
        _tests(str(TESTS / "system" / "up" / "test_labels_from_outside.py"), "-k", "hundred"),
        more=True,
    ),
    "records": Part(
        "10,000 materialisations and 10,000 runs in Dagster's records",
        _tests(str(TESTS / "system" / "test_many_runs.py")),
        more=True,
    ),
    "million-films": Part(
        "the whole graph on a million films",
        (PYTHON, "benchmarks/scale.py", "--films", "1000000"),
    ),
    "real-library": Part(
        "the owner's library with the whole search: the contract's figures",
        _tests(str(TESTS / "system" / "test_whole.py"), "-k", "real_library"),
        more=True,
    ),
    "random-order": Part(
        "`make test` in random order",
        ("make", "test", f"PYTEST_ADDOPTS=--random-order={date.today()}"),
    ),
    "files-alone-1": Part("a third of the files of tests but the faults, each alone", _alone(0, 3)),
    "files-alone-2": Part("another third", _alone(1, 3)),
    "files-alone-3": Part("the last third", _alone(2, 3)),
    "python-3.12": Part("`make test` on Python 3.12", _on("3.12")),
    "python-3.13": Part("`make test` on Python 3.13", _on("3.13")),
}


def run(part: Part) -> tuple[bool, int, float]:
    """Run a part; return whether all went well, how often it was run, and its minutes."""
    began, rounds = time.monotonic(), 0
    environment = {name: value for name, value in os.environ.items() if name != SOAK}
    if part.more:
        environment[SOAK] = "yes"
    while True:
        rounds += 1
        done = subprocess.run(part.command, cwd=ROOT, env=environment, check=False)
        minutes = (time.monotonic() - began) / 60
        # Another round only if it would end in time.
        if done.returncode or minutes + minutes / rounds > part.minutes:
            return done.returncode == 0, rounds, minutes


def main() -> int:
    """Run the parts that have not passed at this commit; 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    passed = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    failed = []
    for name in options.parts or PARTS:
        if not options.parts and passed.get(name) == commit.stdout.strip():
            print(f"{name}: has passed at this commit")
            continue
        print(f"{name}: {PARTS[name].shows} …", flush=True)
        well, rounds, minutes = run(PARTS[name])
        again = f", {rounds} times" if rounds > 1 else ""
        outcome = "passed" if well else "FAILED"
        print(
            f"| {PARTS[name].shows} | `make soak PART={name}` | {date.today():%Y-%m-%d}, "
            f"{commit.stdout.strip()} | {outcome}{again} | {minutes:.0f} |",
            flush=True,
        )
        if well:
            passed[name] = commit.stdout.strip()
            RECORD.write_text(json.dumps(passed, indent=2))
        else:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
