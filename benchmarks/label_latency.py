"""From a person's labels to fresh lists: how long `atx up` takes by itself, with default settings.

What: a home of its own, a library loaded and run once, then `atx up`. Each time, SQL from outside
changes 30 labels within five seconds, one commit each: a person's labels, keep to skip and back.
The time is from the last commit until the run that learned from all of them has replaced
`false_positives.json`: Dagster's record of it names the database's current fingerprint.

Against: no peer, but the quiet period, which the owner asked to wait for. To reach: at most the
quiet period and 10 s. The parts of each time come from Dagster's records.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timing

if TYPE_CHECKING:
    import dagster as dg

    from atx_assets.settings import Settings

LABELS, OVER_SECONDS = 30, 5.0
LIMIT = 10.0
#: Seconds for the servers to come up, and for one change to reach the lists, before we give up.
START, PATIENCE = 300.0, 400.0
LIST = "false_positives"


@dataclass(frozen=True)
class Times:
    """Seconds from the last commit to the lists, and its parts in order."""

    total: float
    until_asked: float
    until_started: float
    until_lists: float


def environment(home: Path) -> dict[str, str]:
    """The environment in which no setting is set but where the home is and what ports it has."""
    from dotenv import dotenv_values

    from atx_assets.settings import ROOT
    from atx_assets.web.processes import free_port

    ours = ("PG_", "ATX_", "MLFLOW_", "DAGSTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Empty counts as not set, and hides what the developer's own `.env` says.
    kept |= dict.fromkeys(dotenv_values(ROOT / ".env"), "")
    ports = {"ATX_UI_PORT": free_port(3900), "MLFLOW_PORT": free_port(5900)}
    places = {"ATX_HOME": home, "ATX_DATA_DIR": home / "data"}
    return kept | {name: str(value) for name, value in (ports | places).items()}


@contextlib.contextmanager
def atx(words: Sequence[str], values: dict[str, str], log: Path) -> Iterator[subprocess.Popen[Any]]:
    """Run the program in a process group of its own that is gone when the block ends."""
    command = [sys.executable, "-m", "atx_assets.cli", *words]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=values, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        # Asked first: `atx up` then ends its children, which lead groups of their own.
        for sent, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break


def finish(words: Sequence[str], values: dict[str, str], log: Path) -> None:
    """Run the program to its end."""
    print(f"atx {' '.join(words)} ...", file=sys.stderr)
    with atx(words, values, log) as process:
        if process.wait(1800):
            raise SystemExit(f"atx {words[0]} failed:\n{tail(log)}")


@contextlib.contextmanager
def running(values: dict[str, str], log: Path) -> Iterator[subprocess.Popen[Any]]:
    """`atx up`, ready to be used."""
    print("atx up ...", file=sys.stderr)
    with atx(["up"], values, log) as process:
        until(lambda: "Ctrl-C ends everything" in log.read_text(), process, START, log)
        yield process


def until(
    condition: Callable[[], Any], process: subprocess.Popen[Any], seconds: float, log: Path
) -> Any:
    """Wait for something true to be told, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if process.poll() is not None:
            raise SystemExit(f"atx up has ended:\n{tail(log)}")
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {seconds:.0f} s:\n{tail(log)}")
        time.sleep(0.1)
    return found


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


class Bench:
    """The library of a running home, and Dagster's records."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        import psycopg

        self.settings, self.instance = settings, instance
        database = settings.database
        self.connection = psycopg.connect(
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            password=database.password or None,
            autocommit=True,
        )
        self.file = settings.data_dir / f"{LIST}.json"
        self.chosen = self._choose()

    def _choose(self) -> list[str]:
        """Films of one release, half of them a keep."""
        rows = self.connection.execute(
            """SELECT hash FROM (
                 SELECT min(hash) AS hash, min(rejection_status::text) AS status,
                        row_number() OVER (PARTITION BY min(rejection_status) = 'override'
                                           ORDER BY min(hash)) AS place
                 FROM atp.media WHERE media_type = 'movie' AND imdb_id LIKE 'tt%%'
                 GROUP BY imdb_id HAVING count(*) = 1) titles
               WHERE status IN ('override', 'rejected') ORDER BY place, hash LIMIT %s""",
            (LABELS,),
        ).fetchall()
        if len(rows) < LABELS:
            raise SystemExit("the library has too few labelled films")
        return [key for (key,) in rows]

    def change_labels(self) -> float:
        """Turn each chosen verdict over, spread over some seconds; the time of the last commit."""
        begun = time.monotonic()
        for at, key in enumerate(self.chosen):
            pause = begun + at * OVER_SECONDS / (LABELS - 1) - time.monotonic()
            time.sleep(max(pause, 0))
            self.connection.execute(
                """UPDATE atp.media SET rejection_reason = NULL, rejection_status =
                   (CASE rejection_status WHEN 'override' THEN 'rejected' ELSE 'override'
                    END)::atp.rejection_status WHERE hash = %s""",
                (key,),
            )
        return time.time()

    def settled(self) -> bool:
        """Whether the lists are made from the labels there are, and nothing is under way."""
        from atx_assets.automation.observe import runs_in_flight

        return not runs_in_flight(self.instance) and self._told() == self._labels()

    def looked(self) -> bool:
        """Whether the label sensor has looked at the database."""
        for state in self.instance.all_instigator_state():
            if state.instigator_name == "label_sensor":
                return bool(
                    self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
                )
        return False

    def once(self, process: subprocess.Popen[Any], log: Path) -> Times:
        """Change the labels and wait for the lists."""
        before = self.file.stat()
        committed = self.change_labels()
        wanted = self._labels()

        def replaced() -> float:
            nonlocal before
            now = self.file.stat()
            if (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns):
                return 0.0
            before = now
            return time.time()

        while True:
            there = until(replaced, process, PATIENCE, log)
            # The record follows the file; one of another state is of a run that began too early.
            end = time.monotonic() + 10
            while self._told() != wanted and time.monotonic() < end:
                time.sleep(0.1)
            if self._told() == wanted:
                break
            print("  (a run that had not seen all of them)", file=sys.stderr)
        record = self._run()
        asked, started = record.create_timestamp.timestamp(), record.start_time
        times = Times(there - committed, asked - committed, started - asked, there - started)
        until(self.settled, process, PATIENCE, log)
        return times

    def _labels(self) -> str:
        from atx_assets.automation.observe import fingerprints_now

        return fingerprints_now(self.settings).labels

    def _told(self) -> str:
        """The labels that the list was made from."""
        value = self._latest().asset_materialization.metadata["atx/labels"].value
        return str(value)

    def _run(self) -> Any:
        return self.instance.get_run_record_by_id(self._latest().run_id)

    def _latest(self) -> Any:
        import dagster as dg

        return self.instance.fetch_materializations(dg.AssetKey(LIST), limit=1).records[0]


def measure(values: dict[str, str], times: int, process: Any, log: Path) -> list[Times]:
    """Change labels so many times, each once all has come to rest."""
    import dagster as dg

    from atx_assets.home.home import exports, running_home
    from atx_assets.settings import read_settings

    settings = running_home(read_settings(values))
    # Dagster reads the address of its storage from the environment.
    os.environ.update(exports(settings))
    found = []
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        bench = Bench(settings, instance)
        with bench.connection:
            until(bench.looked, process, START, log)
            until(bench.settled, process, PATIENCE, log)
            for turn in range(times):
                found.append(bench.once(process, log))
                print(f"  {turn + 1}/{times}: {found[-1].total:.1f} s", file=sys.stderr)
    return found


def main() -> None:
    """Set up a home, measure, and compare the median with the quiet period."""
    from atx_assets.settings import ROOT, read_settings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument(
        "--file",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "media.parquet",
        help="an export in the media layout",
    )
    options = parser.parse_args()
    if not options.file.is_file():
        parser.error(f"there is no {options.file}: name an export of the media layout with --file")
    # So that all is ended and removed then too.
    for sent in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="atx-bench-", ignore_cleanup_errors=True) as folder:
        home, log = Path(folder, "home"), Path(folder, "log")
        values = environment(home)
        try:
            finish(["load", str(options.file.resolve())], values, log)
            finish(["run"], values, log)
            with running(values, log) as process:
                found = measure(values, options.times, process, log)
        finally:
            # Runs on only if `atx up` had to be killed.
            with atx(["stop"], values, log) as stopping:
                stopping.wait(60)
    quiet = read_settings({}).automation.label_quiet_seconds
    medians = [statistics.median(part) for part in zip(*map(astuple, found), strict=True)]
    rows = [(str(turn + 1), *astuple(one)) for turn, one in enumerate(found)]
    print(f"\n{LABELS} labels over {OVER_SECONDS:.0f} s, quiet period {quiet} s; seconds:")
    timing.print_table(
        ("", "last commit to lists", "until asked", "queue and start", "until the lists"),
        (
            (name, *(f"{part:.1f}" for part in parts))
            for name, *parts in (*rows, ("median", *medians))
        ),
    )
    print(timing.verdict("median", medians[0], quiet + LIMIT, " s"))


if __name__ == "__main__":
    main()
