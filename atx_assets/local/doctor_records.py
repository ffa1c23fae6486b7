"""`atx doctor` on what is recorded: versions of tables, the age of results, lost runs, the clock.

The servers of the home run while this looks. Not here: whether they can be reached (`doctor.py`).
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import TYPE_CHECKING

from atx_assets.local.doctor_note import Note
from atx_assets.local.home import exports
from atx_assets.local.schema_upgrade import Age, check_stores, dagster_age, mlflow_age
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

#: Seconds that two clocks may differ by.
_CLOCK = 300


def check_tables(settings: Settings) -> str:
    """Say whether the tables of Dagster and the embedded MLflow store are those of our versions."""
    check_stores(settings)
    ages = {"Dagster's": dagster_age(settings), "MLflow's": mlflow_age(settings)}
    told = ", ".join(f"{name} are {age.value}" for name, age in ages.items())
    if Age.OLDER in ages.values():
        return Note(
            f"{told}: the next `atx up` or `atx run` brings them up to date; `atx backup` first"
        )
    return told


def check_history(settings: Settings) -> str:
    """Say how old the results are, and whether runs have lost their process or the clock is odd."""
    if dagster_age(settings) is not Age.CURRENT:
        return "no runs yet" if dagster_age(settings) is Age.NONE else "see the tables above"
    os.environ.update(exports(settings))
    import dagster as dg

    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        lost = _lost(instance)
        record = instance.get_latest_materialization_event(dg.AssetKey("scored_results"))
    if record is None:
        told = "no results yet"
    else:
        at = datetime.fromtimestamp(record.timestamp).astimezone()
        told = f"the last results are of {at:%Y-%m-%d %H:%M}"
        if record.timestamp > time.time() + _CLOCK:
            return Note(
                f"{told}, and this clock says {datetime.now().astimezone():%Y-%m-%d %H:%M}: one of "
                "them is wrong; set the clock (`timedatectl`), and the results will follow"
            )
    if lost:
        return Note(
            f"{told}; run {', '.join(lost)} has lost its process: the next `atx up` marks it as "
            "failed and goes on"
        )
    return told


def _lost(instance: dg.DagsterInstance) -> list[str]:
    import dagster as dg

    from atx_assets.automation.dead_runs import process_is_gone

    started = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(statuses=started))
    return [run.run_id[:8] for run in runs if process_is_gone(instance, run)]
