"""`atx doctor` on records: versions of tables, age and inputs of the results, runs, clock.

The servers of the home are running meanwhile. Not here: whether they can be reached (`doctor.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from atx_assets.errors import AtxError, Note
from atx_assets.home.dagster_records import dagster_records
from atx_assets.home.schema_upgrade import Age, check_stores, dagster_age, mlflow_age
from atx_assets.settings import Settings

if TYPE_CHECKING:
    from atx_assets.automation.results import Made
    from atx_assets.sources.read.fingerprints import Fingerprints

#: Seconds that two clocks may differ by.
_CLOCK = 300


def check_tables(settings: Settings) -> str:
    """Say whether the tables of Dagster and of the embedded MLflow fit the installed versions."""
    check_stores(settings)
    ages = {"Dagster's": dagster_age(settings), "MLflow's": mlflow_age(settings)}
    named = ", ".join(f"{name} are {age.value}" for name, age in ages.items())
    if Age.OLDER in ages.values():
        return Note(
            f"{named}: the next `atx up` or `atx run` brings them up to date; `atx backup` first"
        )
    return named


def check_history(settings: Settings) -> str:
    """Say how old the results are, whether a run lost its process, and if the clock is wrong."""
    if none := _no_records(settings):
        return none
    from atx_assets.automation.dead_runs import is_gone

    with dagster_records(settings) as records:
        lost = [run.run_id[:8] for run in records.under_way() if is_gone(run.tags, run.began)]
        last = records.latest("scored_results")
    if last is None:
        age = "no results are recorded"
    else:
        at = datetime.fromtimestamp(last.at).astimezone()
        age = f"the last results are from {at:%Y-%m-%d %H:%M}"
        if last.at > time.time() + _CLOCK:
            return Note(
                f"{age}, and this clock says {datetime.now().astimezone():%Y-%m-%d %H:%M}: one of "
                "them is wrong; set the clock (`timedatectl`), and the results will follow"
            )
    if lost:
        return Note(
            f"{age}; run {', '.join(lost)} has lost its process: the next `atx up` marks it as "
            "failed and goes on"
        )
    return age


def check_labels(settings: Settings, now: Fingerprints) -> str:
    """Check that labels and films are still there, by the rule of the sensors.

    Args:
        settings: where the records are, and the share of labels that may disappear.
        now: the fingerprints of the labels and films in the database.

    Raises:
        AtxError: so many are gone that nothing is rebuilt; the line is that of the sensors.
    """
    from atx_assets.automation.held import held_before
    from atx_assets.automation.losses import gone_at_once

    none = _no_records(settings)
    with _latest(settings) as latest:
        held = held_before(latest, settings.data_dir)
    if lost := gone_at_once(held, now, settings.automation):
        raise AtxError(lost)
    if not held.labels:
        return none or "no results yet to compare with"
    return "labels and films are there as before"


def missing_data(settings: Settings) -> str:
    """Return a line with the fix if the data folder has lost its data; else an empty string."""
    from atx_assets.automation.held import data_gone

    with _latest(settings) as latest:
        return data_gone(latest, settings.data_dir)


@contextmanager
def _latest(settings: Settings) -> Iterator[Callable[[str], Made | None]]:
    """Yield a function that returns an asset's last record, or None if there are no records."""
    if _no_records(settings):
        yield lambda _asset: None
        return
    with dagster_records(settings) as records:
        yield records.latest


def _no_records(settings: Settings) -> str:
    """Return why the installed Dagster cannot read its records; empty if it can."""
    age = dagster_age(settings)
    if age is Age.CURRENT:
        return ""
    return "no runs yet" if age is Age.NONE else "see the tables above"
