"""Prunes old records and files of Dagster, except those that are still needed.

Dagster's own retention covers ticks (`dagster.yaml`); it keeps runs and events for ever. This
module prunes ended runs, with their events and log files, and whatever else grows with time. It
keeps the runs whose records the pages show and the sensors read as the current state.

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

#: Runs that are read together, and rows that one statement deletes: they bound how long a lock is
#: held, and the memory.
RUNS, ROWS = 200, 5_000

#: Runs between two lines of progress in the log.
_LOG_EVERY = 1_000

#: Runs that hold the current state. Dagster has no call that names them all: the last
#: materialisation and observation of each asset, the last run that was to make it, and the last
#: evaluation and the last planned one of each check.
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

#: Other rows that grow with time, and that no call of Dagster deletes. Each statement deletes a
#: number of rows older than a time, and keeps the latest of its kind.
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
    # Of those events; Dagster deletes the tags of a run's events with them.
    "tags of events": """
        DELETE FROM asset_event_tags WHERE id IN (
            SELECT t.id FROM asset_event_tags t LEFT JOIN event_logs e ON e.id = t.event_id
            WHERE e.id IS NULL AND t.event_timestamp < %(before)s LIMIT %(rows)s)
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
    """What was pruned: runs, rows that belonged to no run, and bytes of log files."""

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
    """Prune what is older than a time, in small steps: if stopped, it goes on the next time.

    Args:
        instance: Dagster's, on PostgreSQL.
        postgres_url: where its tables are, in the form of `DAGSTER_POSTGRES_URL`.
        storage: the folder of its log files.
        before: with a time zone; the age of a run is that of its last change.
        log: gets lines of progress.

    Raises:
        psycopg.Error: the storage is gone, or keeps a statement waiting for minutes.
    """
    with _tables(postgres_url) as tables:
        kept = kept_runs(instance, tables)
        runs = _prune_runs(instance, kept, before, log)
        rows = 0
        for what, statement in _LEFT_OVERS.items():
            pruned = _prune_rows(tables, statement, before)
            if pruned:
                log.info("pruned %s: %s", what, f"{pruned:,}")
            rows += pruned
    return Pruned(runs, rows, _prune_files(instance, storage, before))


def kept_runs(instance: dg.DagsterInstance, tables: psycopg.Connection[Any]) -> set[str]:
    """Return the ids of the runs that are kept whatever their age: they hold the current state."""
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
        # The kept ones come up each time. A cursor is no help: it must be a run that still exists.
        records = instance.get_run_records(old, limit=RUNS + len(kept), ascending=True)
        runs = [record.dagster_run.run_id for record in records]
        runs = [run for run in runs if run not in kept]
        if not runs:
            return pruned
        for run in runs:
            # Dagster deletes the run before its events, which would stay if we were killed then.
            instance.event_log_storage.delete_events(run)
            instance.delete_run(run)
            pruned += 1
            if pruned % _LOG_EVERY == 0:
                log.info("%s runs pruned so far", f"{pruned:,}")


def _prune_rows(tables: psycopg.Connection[Any], statement: str, before: datetime) -> int:
    pruned = 0
    while True:
        values = {"before": before, "rows": ROWS}
        with _bounded(tables):
            deleted = tables.execute(statement, values).rowcount
        pruned += deleted
        if deleted < ROWS:
            return pruned


def _prune_files(instance: dg.DagsterInstance, storage: Path, before: datetime) -> int:
    """Remove old log files of deleted runs and of ticks; return their bytes."""
    if not storage.exists():
        return 0
    bytes_ = 0
    old = [folder for folder in storage.iterdir() if _is_old(folder, before)]
    of_runs = [folder for folder in old if folder.is_dir() and _is_run_id(folder.name)]
    for at in range(0, len(of_runs), RUNS):
        folders = of_runs[at : at + RUNS]
        existing = _existing(instance, [folder.name for folder in folders])
        for folder in folders:
            if folder.name not in existing:
                bytes_ += size_of(folder)
                shutil.rmtree(folder)
    # Those of sensors and schedules: <repository>/<name>/<number of the tick>.err
    for file in storage.glob("__repository__/*/*.*"):
        if file.suffix in (".err", ".out", ".complete") and _is_old(file, before):
            bytes_ += file.stat().st_size
            file.unlink()
    return bytes_


def _existing(instance: dg.DagsterInstance, runs: Sequence[str]) -> set[str]:
    return {run.run_id for run in instance.get_runs(dg.RunsFilter(run_ids=runs))}


def _is_old(path: Path, before: datetime) -> bool:
    return path.stat().st_mtime < before.timestamp()


def _is_run_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; 0 if it does not exist."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _tables(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to Dagster's tables."""
    import psycopg
    from sqlalchemy.engine import make_url

    url = make_url(postgres_url).set(drivername="postgresql")
    address = url.render_as_string(hide_password=False)
    # No prepared statements, and no settings beyond a transaction: a pooler leaks both to others.
    with psycopg.connect(
        address, autocommit=True, connect_timeout=10, prepare_threshold=None
    ) as connection:
        yield connection


@contextmanager
def _bounded(tables: psycopg.Connection[Any]) -> Iterator[None]:
    """Open a transaction whose statements have a time limit."""
    with tables.transaction():
        tables.execute("SET LOCAL statement_timeout = '5min'")
        tables.execute("SET LOCAL lock_timeout = '10s'")
        yield
