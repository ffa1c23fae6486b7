"""What is pruned of Dagster's records and files once it is old, and what is kept whatever its age.

Dagster's own retention covers ticks (`dagster.yaml`); runs and events it keeps for ever. Pruned are
the runs that have ended, with their events and log files, and what else grows with time. Kept are
the runs that hold what pages and sensors show and read of the present.

Not here: when it is done (`defs/housekeeping.py`), MLflow's store (`models/mlflow_pruning.py`).
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets.automation.observe import records_asked_by
from atx_assets.automation.tags import FOLLOWERS

if TYPE_CHECKING:
    import psycopg

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

#: Runs that are looked at together, and rows that one statement deletes: no lock is held for
#: longer than that takes, and no more is in memory.
RUNS, ROWS = 200, 5_000

#: Runs after which the log says how far it is.
_TOLD = 1_000

#: Runs that hold what is shown of the present. Dagster has no call that names them all: the last
#: materialisation and observation of each asset, the last run that was to make it, and of each
#: check the last evaluation and the last that was planned.
_KEPT_RUNS = """
    SELECT last_run_id FROM asset_keys WHERE last_run_id IS NOT NULL
    UNION
    SELECT run_id FROM event_logs WHERE id IN (
        SELECT max(id) FROM event_logs WHERE asset_key IS NOT NULL
        AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
        GROUP BY asset_key, dagster_event_type)
    UNION
    SELECT run_id FROM asset_check_executions WHERE id IN (
        SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name
        UNION ALL
        SELECT max(id) FROM asset_check_executions WHERE execution_status <> 'PLANNED'
        GROUP BY asset_key, check_name)
"""

#: What grows besides runs, and Dagster has no call that deletes it; each a statement that deletes
#: a number of rows older than a time. The latest of its kind is kept.
_LEFT_OVERS = {
    # Reported without a run: changes of freshness, and what a person reports in the UI.
    "events without a run": """
        DELETE FROM event_logs WHERE id IN (
            SELECT id FROM event_logs WHERE run_id = '' AND timestamp < %(before)s
            AND dagster_event_type NOT LIKE 'ASSET_CHECK%%' AND id NOT IN (
                SELECT max(id) FROM event_logs WHERE run_id = ''
                GROUP BY asset_key, dagster_event_type)
            LIMIT %(rows)s)
    """,
    # Dagster leaves them when a run is deleted.
    "evaluations of checks": """
        DELETE FROM asset_check_executions WHERE id IN (
            SELECT c.id FROM asset_check_executions c LEFT JOIN runs r ON r.run_id = c.run_id
            WHERE r.run_id IS NULL AND c.create_timestamp < %(before)s AND c.id NOT IN (
                SELECT max(id) FROM asset_check_executions GROUP BY asset_key, check_name
                UNION ALL
                SELECT max(id) FROM asset_check_executions WHERE execution_status <> 'PLANNED'
                GROUP BY asset_key, check_name)
            LIMIT %(rows)s)
    """,
}


@dataclass(frozen=True)
class Pruned:
    """What was pruned: runs, rows that no run held, and bytes of log files."""

    runs: int
    rows: int
    bytes: int


def prune_dagster(
    instance: dg.DagsterInstance,
    postgres_url: str,
    storage: Path,
    before: datetime,
    log: logging.Logger,
) -> Pruned:
    """Prune what is older than a time, in small steps: it may be stopped, and goes on next time.

    Args:
        instance: Dagster's, on PostgreSQL.
        postgres_url: where its tables are, as `DAGSTER_POSTGRES_URL` has it.
        storage: the folder of its log files.
        before: with a time zone; a run is as old as its last change.
        log: is told how far it is.

    Raises:
        psycopg.Error: the storage is gone, or keeps a statement waiting for minutes.
    """
    with _tables(postgres_url) as tables:
        kept = kept_runs(instance, tables)
        runs = _prune_runs(instance, kept, before, log)
        rows = 0
        for what, statement in _LEFT_OVERS.items():
            found = _prune_rows(tables, statement, before)
            if found:
                log.info("%s that nothing holds any more: %s", what, f"{found:,}")
            rows += found
    return Pruned(runs, rows, _prune_files(instance, storage, before))


def kept_runs(instance: dg.DagsterInstance, tables: psycopg.Connection[Any]) -> set[str]:
    """Name the runs that are kept whatever their age: what is shown and read of the present."""
    with _bounded(tables):
        kept = {str(run) for (run,) in tables.execute(_KEPT_RUNS)}
    for sensor in FOLLOWERS:
        kept |= {r.dagster_run.run_id for r in records_asked_by(instance, sensor)}
    return kept


def _prune_runs(
    instance: dg.DagsterInstance, kept: set[str], before: datetime, log: logging.Logger
) -> int:
    old = dg.RunsFilter(statuses=ENDED, updated_before=before)
    pruned = 0
    while True:
        # The kept ones come up again each time. A cursor would have to be a run that is there.
        found = instance.get_run_records(old, limit=RUNS + len(kept), ascending=True)
        runs = [record.dagster_run.run_id for record in found]
        runs = [run for run in runs if run not in kept]
        if not runs:
            return pruned
        for run in runs:
            # Dagster deletes a run first, and its events would be nobody's if we were killed then.
            instance.event_log_storage.delete_events(run)
            instance.delete_run(run)
            pruned += 1
            if pruned % _TOLD == 0:
                log.info("%s runs pruned so far", f"{pruned:,}")


def _prune_rows(tables: psycopg.Connection[Any], statement: str, before: datetime) -> int:
    pruned = 0
    while True:
        values = {"before": before, "rows": ROWS}
        with _bounded(tables):
            found = tables.execute(statement, values).rowcount
        pruned += found
        if found < ROWS:
            return pruned


def _prune_files(instance: dg.DagsterInstance, storage: Path, before: datetime) -> int:
    """Remove the old log files of runs that are not there any more, and of ticks; return bytes."""
    if not storage.exists():
        return 0
    bytes_ = 0
    old = [folder for folder in storage.iterdir() if _is_old(folder, before)]
    of_runs = [folder for folder in old if folder.is_dir() and _is_run_id(folder.name)]
    for at in range(0, len(of_runs), RUNS):
        folders = of_runs[at : at + RUNS]
        there = _that_are_there(instance, [folder.name for folder in folders])
        for folder in folders:
            if folder.name not in there:
                bytes_ += size_of(folder)
                shutil.rmtree(folder)
    # Of sensors and schedules: <repository>/<name>/<number of the tick>.err
    for file in storage.glob("__repository__/*/*.*"):
        if file.suffix in (".err", ".out", ".complete") and _is_old(file, before):
            bytes_ += file.stat().st_size
            file.unlink()
    return bytes_


def _that_are_there(instance: dg.DagsterInstance, runs: Sequence[str]) -> set[str]:
    return {run.run_id for run in instance.get_runs(dg.RunsFilter(run_ids=runs))}


def _is_old(path: Path, before: datetime) -> bool:
    return path.stat().st_mtime < before.timestamp()


def _is_run_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; 0 if it is not there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _tables(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect to the tables of Dagster."""
    import psycopg
    from sqlalchemy.engine import make_url

    url = make_url(postgres_url).set(drivername="postgresql")
    address = url.render_as_string(hide_password=False)
    # Nothing is prepared, or set for longer than a transaction: a pooler hands both to others.
    with psycopg.connect(
        address, autocommit=True, connect_timeout=10, prepare_threshold=None
    ) as connection:
        yield connection


@contextmanager
def _bounded(tables: psycopg.Connection[Any]) -> Iterator[None]:
    """Open a transaction whose statements wait only so long."""
    with tables.transaction():
        tables.execute("SET LOCAL statement_timeout = '5min'")
        tables.execute("SET LOCAL lock_timeout = '10s'")
        yield
