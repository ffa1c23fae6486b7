"""Reads the database and Dagster's records, from which decisions are made.

Not here: the decisions (`decide.py`). It writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets.automation.decide import (
    CANCELED,
    FAILED,
    STOPPED,
    SUCCEEDED,
    Attempt,
    Request,
    Results,
    Seen,
    State,
)
from atx_assets.automation.failures import failed_blocking_check
from atx_assets.automation.held import Held, data_gone, held_before
from atx_assets.automation.results import Made, results_from
from atx_assets.automation.tags import CORRECTIONS, HOUSEKEEPING, RUN_KEY, SENSOR, asked_by
from atx_assets.settings import Settings
from atx_assets.sources.read.database import connect, explained

if TYPE_CHECKING:
    from atx_assets.sources.read.fingerprints import Fingerprints

#: The asset that records which labels, films and recipe the search used.
SEARCHED = "hyperparameters"

#: The number of its latest runs that a sensor looks at; pruning keeps them.
ATTEMPTS_READ = 20

#: Seconds that reading the database may take: Dagster ends a tick after 60.
LOOK_SECONDS = 30

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def look(
    instance: dg.DagsterInstance, settings: Settings, sensor: str, seen: Seen, now: float
) -> State:
    """Read the database and the records of one sensor's runs.

    Runs are read before their results, and results before the database: a run that ends meanwhile
    counts as still running, never as one that left its work undone.

    Raises:
        AtxError: the database cannot be reached or read, or takes too long.
    """
    in_flight = runs_in_flight(instance)
    attempts, latest = attempts_of(instance, sensor), cache(_latest_of(instance))
    results, held = results_from(latest), held_before(latest, settings.data_dir)
    return State(now, fingerprints_now(settings), results, in_flight, attempts, seen, held)


def fingerprints_now(settings: Settings) -> Fingerprints:
    """Read the fingerprints of labels and films that an extraction would have at this moment.

    Raises:
        AtxError: see `look`.
    """
    from atx_assets.sources.observed_record import observed
    from atx_assets.sources.read.fingerprints import read_fingerprints
    from atx_assets.sources.read.rights import find_visible_source

    database = settings.database
    timeout = min(LOOK_SECONDS, settings.statement_timeout)
    connection = connect(database, statement_timeout=timeout, read_only=True)
    with explained(database), connection:  # also explains a failure at the end of the transaction
        visible = find_visible_source(connection, settings.source)
        source, _ = observed(connection, visible, settings.home, settings.data_dir)
        return read_fingerprints(connection, source)


def results_of(instance: dg.DagsterInstance) -> Results | None:
    """Return what the results were made from; None if one of them was never made."""
    return results_from(_latest_of(instance))


def held_of(instance: dg.DagsterInstance, folder: Path) -> Held:
    """Return what labels and films there were, even if a record is missing."""
    return held_before(_latest_of(instance), folder)


def gone_from(instance: dg.DagsterInstance, folder: Path) -> str:
    """Return a line with the fix if the data are gone from the data folder; else empty."""
    return data_gone(_latest_of(instance), folder)


def learned_from(instance: dg.DagsterInstance, asset: str) -> tuple[str, ...]:
    """Return labels, films and recipe of the last search or training; empty if there was none."""
    made = _latest(instance, asset)
    if made is None:
        return ()
    return tuple(made.told.get(f"atx/{name}", "") for name in ("labels", "media", "recipe"))


def runs_in_flight(instance: dg.DagsterInstance) -> list[str]:
    """Return a name for each run that is queued or running and may write results."""
    records = instance.get_run_records(dg.RunsFilter(statuses=_IN_FLIGHT))
    return [
        f"run {record.dagster_run.run_id[:8]} ({record.dagster_run.job_name})"
        for record in records
        if record.dagster_run.job_name not in (*CORRECTIONS, HOUSEKEEPING)
    ]


def attempts_of(instance: dg.DagsterInstance, sensor: str) -> list[Attempt]:
    """Return the ended runs that a sensor asked for, the newest first."""
    records = records_asked_by(instance, sensor)
    ended = [_attempt(instance, r) for r in records if r.dagster_run.is_finished]
    return [attempt for attempt in ended if attempt is not None]


def records_asked_by(instance: dg.DagsterInstance, sensor: str) -> list[dg.RunRecord]:
    """Return the records of the last `ATTEMPTS_READ` runs that a sensor asked for, newest first.

    A run that a person re-executed has the sensor's tags as well, but is not one of its attempts.
    """
    tagged = dg.RunsFilter(tags={SENSOR: sensor})
    records: list[dg.RunRecord] = []
    cursor: str | None = None
    while page := instance.get_run_records(tagged, limit=ATTEMPTS_READ, cursor=cursor):
        records += [record for record in page if asked_by(record.dagster_run) == sensor]
        if len(records) >= ATTEMPTS_READ or len(page) < ATTEMPTS_READ:
            break
        cursor = page[-1].dagster_run.run_id
    return records[:ATTEMPTS_READ]


def _attempt(instance: dg.DagsterInstance, record: Any) -> Attempt | None:
    run = record.dagster_run
    request = Request.from_key(run.tags.get(RUN_KEY, ""))
    if request is None:
        return None
    outcome = _OUTCOMES.get(run.status, FAILED)
    if outcome == FAILED and failed_blocking_check(instance, run.run_id):
        outcome = STOPPED
    ended = record.end_time or record.update_timestamp.timestamp()
    return Attempt(run.run_id, request, outcome, ended)


_OUTCOMES = {
    dg.DagsterRunStatus.SUCCESS: SUCCEEDED,
    dg.DagsterRunStatus.CANCELED: CANCELED,
}


def _latest_of(instance: dg.DagsterInstance) -> Callable[[str], Made | None]:
    return lambda asset: _latest(instance, asset)


def _latest(instance: dg.DagsterInstance, asset: str) -> Made | None:
    records: Sequence[Any] = instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
    if not records:
        return None
    record = records[0]
    metadata = record.asset_materialization.metadata
    told = {name: str(value.value) for name, value in metadata.items() if name.startswith("atx/")}
    return Made(record.storage_id, record.run_id, record.timestamp, told)
