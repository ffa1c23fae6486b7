"""A home with a small library and a real `atx up` on it, for the tests that break things there.

Not here: what is broken, and houses that are opened in another way.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import dagster as dg
import psutil
import psycopg
import pyarrow.parquet as pq
import pytest

from atx_assets.automation.observe import fingerprints_now, results_of, runs_in_flight
from atx_assets.home.home import exports, running_home
from atx_assets.settings import read_settings
from atx_assets_tests.builders.environment import (
    NO_PERSON,
    PATIENCE,
    bare_environment,
    unused_port,
    wait_until,
)
from atx_assets_tests.builders.once import copy_folder, made_once
from atx_assets_tests.builders.program import ATX, end_processes_of

#: What a tick says that has not reached the server of our code.
UNREACHABLE = "DagsterUserCodeUnreachableError"

#: Attempts in the tests follow after seconds, and not after 1, 5 and 25 minutes.
SOONER = """
from atx_assets.automation import decide
decide.RETRY_MINUTES = (0.05, 0.05, 0.05)
"""
#: Under a clock that is set by libfaketime, which does not know of the call that sleep makes, nor
#: that the kernel tells since when it is up by that clock, and from there a process's start.
SLEEPS = """
import os, select, time
if os.environ.get("FAKETIME_TIMESTAMP_FILE"):
    from psutil import _pslinux as linux
    linux.boot_time = lambda: time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""

#: A label is what the contract says it is: a person's keep, a person's skip, a rule's.
LABELS = """
    SELECT imdb_id, CASE
        WHEN bool_or(rejection_status = 'override') THEN true
        WHEN bool_or(rejection_status = 'rejected' AND rejection_reason IS NULL) THEN false
        WHEN bool_or(rejection_status = 'accepted') THEN true
        WHEN bool_or(rejection_status = 'rejected') THEN false END
    FROM atp.media WHERE media_type = 'movie' AND imdb_id IS NOT NULL GROUP BY imdb_id
"""


class House:
    """A home with a small library and its results, `atx up` on it, and what shows its state."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.home, self.data = folder / "h", folder / "data"
        (folder / "sooner").mkdir()
        (folder / "sooner" / "sitecustomize.py").write_text(SLEEPS + SOONER)
        self.environment = environment | {
            "ATX_HOME": str(self.home),
            "ATX_DATA_DIR": str(self.data),
            "ATX_UI_PORT": str(unused_port()),
            "ATX_REPORT_PORT": str(unused_port()),
            "MLFLOW_PORT": str(unused_port()),
            "ATX_LABEL_QUIET_SECONDS": "1",
            "ATX_RETRAIN_CRON": "0 0 29 2 *",  # else the tests of one moment of the day differ
            "PYTHONPATH": str(folder / "sooner"),
        }
        #: Seconds by which the clock of the house is ahead of ours.
        self.clock = 0.0
        self.lines: list[str] = []
        self.opened_with: list[str] = []
        self.up: subprocess.Popen[str] | None = None
        self.instance: dg.DagsterInstance

    def atx(self, *words: str, **settings: str) -> None:
        done = subprocess.run(
            [*ATX, *words],
            env=self.environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def open(self) -> None:
        """Start `atx up` and wait until it is open."""
        self.lines.clear()
        self.up = subprocess.Popen(
            [*ATX, "up"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=[self.up], daemon=True).start()
        wait_until(self._is_open, "atx up", 240)
        self.opened_with = list(self.lines)

    def _read(self, up: subprocess.Popen[str]) -> None:
        assert up.stdout
        for line in up.stdout:
            self.lines.append(line.rstrip())

    def _is_open(self) -> bool:
        assert self.up
        assert self.up.poll() is None, self.lines
        return "Ctrl-C ends everything" in self.lines

    def lives(self) -> bool:
        return self.up is not None and self.up.poll() is None

    def ready(self) -> Self:
        """The same house for the next test: opened anew after one that failed, and in agreement."""
        if not self.lives():
            self.open()
        wait_until(self.agrees, "agreement beforehand", state=self.tell)
        return self

    # -- its processes

    def processes(self, *words: str) -> list[psutil.Process]:
        """Find what `atx up` has started whose command holds all of `words`."""
        assert self.up
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.up.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    command = " ".join(process.cmdline())
                    if command and all(word in command for word in words):
                        found.append(process)
        return found

    def code_server(self) -> psutil.Process:
        return self.processes("dagster api grpc")[0]

    def postmaster(self) -> int:
        return int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])

    # -- what Dagster says

    def events(self, run: str, kind: dg.DagsterEventType, step: str = "") -> list[Any]:
        """The events of a kind in a run, of one step or of all."""
        records = self.instance.get_records_for_run(run, of_type=kind).records
        events = [record.event_log_entry.dagster_event for record in records]
        return [event for event in events if event and (not step or event.step_key == step)]

    def runs(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def status(self, run: str) -> dg.DagsterRunStatus:
        found = self.instance.get_run_by_id(run)
        assert found
        return found.status

    def next_run(self, before: set[str]) -> str:
        return str(wait_until(lambda: self.runs() - before, "a run", 60).pop())

    def reaches(self, run: str, kind: dg.DagsterEventType, step: str = "") -> int:
        """Wait for an event of a run; return the process that reported it."""
        events = wait_until(lambda: self.events(run, kind, step), f"{kind} of {step}", 90)
        return int(events[0].pid)

    # -- labels

    def database(self) -> psycopg.Connection[Any]:
        host = self.environment["PG_HOST"] or self.home / "postgres"
        where = f"host={host} port=5432 user=postgres dbname=media"
        return psycopg.connect(where, autocommit=True)

    def changes_labels(self) -> str:
        """Turn the label of the next title from a rule's skip into a person's keep; name it."""
        with self.database() as connection:
            row = connection.execute(
                "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL"
                " WHERE imdb_id = (SELECT min(imdb_id) FROM atp.media"
                " WHERE rejection_status = 'rejected') RETURNING imdb_id"
            ).fetchone()
        assert row
        return str(row[0])

    def trains(self) -> tuple[str, int]:
        """Change labels and wait until a run trains on them: the run and its process."""
        before = self.runs()
        self.changes_labels()
        run = self.next_run(before)
        return run, self.reaches(run, dg.DagsterEventType.STEP_START, "tuned_classifier")

    # -- whether all agree

    def agrees(self) -> bool:
        """Whether Dagster's records agree with the database, and nothing is under way."""
        assert self.lives(), self.tell()
        try:
            if runs_in_flight(self.instance) or (results := results_of(self.instance)) is None:
                return False
            now = fingerprints_now(running_home(read_settings(self.environment)))
        except Exception:  # the server is just down
            return False
        return results.labels == {now.labels} and results.media == {now.media}

    def check_agreement(self, *, code_server_may_restart: bool = False) -> None:
        """Wait until all agrees by itself; then check what a person reads, title by title.

        The sensor's next tick must find nothing to do. While the code server restarts, ticks that
        do not reach it are passed over.
        """
        wait_until(self.agrees, "agreement", state=self.tell)
        with self.database() as connection:
            labels = dict(connection.execute(LABELS).fetchall())
        rows = pq.read_table(self.data / "binomial_classifier_results.parquet").to_pylist()
        read = {row["imdb_id"]: row["actual"] for row in rows if row["imdb_id"]}
        assert read == labels
        for name, kind in (("false_positives", "fp"), ("false_negatives", "fn")):
            listed = json.loads((self.data / f"{name}.json").read_text())
            assert {r["media_title"] for r in listed} == {
                row["media_title"] for row in rows if row["cm_value"] == kind
            }
        runs = self.runs()
        since = self.now()

        def next_ticks() -> list[str]:
            ticks = self.ticks_since(since)
            return [t for t in ticks if not (code_server_may_restart and UNREACHABLE in t)]

        patience = PATIENCE if code_server_may_restart else 60
        told = wait_until(next_ticks, "the next tick of the sensor", patience, self.tell)
        assert all(reason.startswith("the results are up to date") for reason in told), told
        assert self.runs() == runs
        assert self.lives(), self.tell()

    def now(self) -> float:
        return time.time() + self.clock

    def ticks_since(self, since: float) -> list[str]:
        """What the label sensor said at each tick, or what failed."""
        for state in self.instance.all_instigator_state():
            if state.name == "label_sensor":
                ticks = self.instance.get_ticks(
                    state.instigator_origin_id,
                    state.selector_id,
                    after=since,
                    before=self.now() + 1,  # those of before the clock was set back are later
                )
                ended = [t for t in ticks if t.status.value != "STARTED"]
                return [t.skip_reason or f"{t.status} {t.run_ids} {t.error}" for t in ended]
        return []

    def tell(self) -> object:
        """What helps to find out why a test failed."""
        if not self.lives():
            return self.up and self.up.returncode, self.lines
        runs = [
            (run.run_id[:8], run.job_name, run.status.value)
            for run in self.instance.get_runs(limit=5)
        ]
        return self.lines, runs, self.ticks_since(self.now() - 60)


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def open_house(library: Path, **settings: str) -> Iterator[House]:
    """The library with everything run once, and `atx up` on it until the block ends.

    Where no setting leads to other servers, the home is a copy of one that is made once.
    """
    environment = {n: v for n, v in bare_environment().items() if n not in NO_PERSON}
    with tempfile.TemporaryDirectory(prefix="atx-living-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder), environment | settings)
        try:
            if settings.keys() & {"PG_HOST", "DAGSTER_POSTGRES_URL"}:
                _run_everything(house, library)
            else:
                made = made_once("house", lambda folder: _fill_home(folder, library))
                copy_folder(made / "h", house.home)
                copy_folder(made / "data", house.data)
            house.open()
            with contextlib.ExitStack() as stack:
                patch = stack.enter_context(pytest.MonkeyPatch.context())
                for name, value in exports(running_home(read_settings(house.environment))).items():
                    patch.setenv(name, value)
                home = str(house.home / "dagster")
                house.instance = stack.enter_context(dg.DagsterInstance.from_config(home))
                yield house
        finally:
            end_processes_of(house.home)


def _fill_home(folder: Path, library: Path) -> None:
    """Make a home and its data in a folder, with the library loaded and everything run."""
    house = House(folder, bare_environment() | {"ATX_MLFLOW": "off"})
    try:
        _run_everything(house, library)
    finally:
        end_processes_of(house.home)


def _run_everything(house: House, library: Path) -> None:
    house.atx("load", str(library))
    house.atx("run", ATX_SEARCH="off")


@pytest.fixture(scope="module")
def opened(small_library: Path) -> Iterator[House]:
    """The small library with everything run once, and `atx up` on it; MLflow has no part in it."""
    with open_house(small_library, ATX_MLFLOW="off") as house:
        yield house


@pytest.fixture
def house(opened: House) -> House:
    """The house that a module has `opened`, in agreement and with nothing said yet."""
    opened.ready().lines.clear()
    return opened
