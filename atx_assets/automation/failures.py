"""Why a run failed, in one line, and whether a person is to be told.

Who repeats what is decided in one place: sensors try their runs again (`decide.py`), Dagster
repeats none, and a run that a check stopped is not repeated at all. What is left is told of here.
Not here: sending (`alerts/alerts.py`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import dagster as dg

from atx_assets.alerts.messages import Alert
from atx_assets.automation.decide import LAST_ATTEMPT, Request
from atx_assets.automation.losses import GONE, LOST
from atx_assets.automation.tags import (
    HOUSEKEEPING,
    LABELS_STILL_THERE,
    NIGHTLY,
    RUN_KEY,
    asked_by,
)

#: The beginnings of causes, by what heals them: any run that ends well, a nightly run and a
#: housekeeping that end well. LOST and GONE heal when labels or data are there again.
CHECK_FAILED, NIGHT_FAILED, NOT_PRUNED = "check:", "nightly:", "housekeeping:"

#: The titles of what is found alike by whoever looks.
LABELS_GONE, DATA_GONE = "atx: labels are gone", "atx: the data are gone"


#: How Dagster writes an error of ours, of whatever class.
_OURS = re.compile(r"atx_assets\.errors\.\w+: ")


def alert_of(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> Alert | None:
    """Say what to tell of a failed run; None where it is tried again, or a person started it.

    Args:
        instance: where the run's events are.
        run: the run.
        message: what Dagster said of the failure, for a run of which no step failed.
    """
    alert = _alert_of(instance, run, message)
    return _with_mend(alert) if alert else None


def _alert_of(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> Alert | None:
    where = f"job {run.job_name}, run {run.run_id}"
    if check := failed_blocking_check(instance, run.run_id):
        if check.check_name == LABELS_STILL_THERE:
            return Alert(LOST, LABELS_GONE, check.description or "")
        name = f"{check.asset_key.to_user_string()}: {check.check_name}"
        return Alert(
            f"{CHECK_FAILED}{name}: {check.description}",
            "atx: a check stopped the graph",
            f"{name}: {check.description}\nThe results stay as they were ({where}).",
        )
    error = _error_of(instance, run.run_id) or message
    sensor = asked_by(run)
    request = Request.from_key(run.tags.get(RUN_KEY, "")) if sensor else None
    if request and request.attempt == LAST_ATTEMPT:
        return Alert(
            f"{sensor}:{request.wanted}",
            "atx: the results cannot be brought up to date",
            f"{LAST_ATTEMPT} attempts failed, the last with: {error}\n"
            f"Left until something changes, or the nightly run ({where}).",
        )
    if is_nightly(run):
        return Alert(
            f"{NIGHT_FAILED}{error}",
            "atx: the nightly run failed",
            f"{error}\nThe results stay as they were; the next night tries again ({where}).",
        )
    if run.job_name == HOUSEKEEPING and started_by_itself(run):
        return Alert(
            f"{NOT_PRUNED}{error}",
            "atx: old runs could not be pruned",
            f"{error}\nNothing is lost, but the disk fills by and by; the next day tries again "
            f"({where}).",
        )
    return None


def refusal(text: str, cause: str = LOST) -> Alert:
    """Say that a sensor, the schedule or a check refuses to rebuild: one cause, whoever finds it.

    Args:
        text: why, with the mend.
        cause: LOST or GONE.
    """
    return _with_mend(Alert(cause, DATA_GONE if cause == GONE else LABELS_GONE, text))


def _with_mend(alert: Alert) -> Alert:
    """Say in the last line where a person who is woken by it reads what to do."""
    place = alert.title.removeprefix("atx: ").lower().replace(" ", "-")
    return replace(alert, text=f"{alert.text}\nWhat to do: docs/operations.md#{place}")


def started_by_itself(run: dg.DagsterRun) -> bool:
    """Whether a sensor or the schedule asked for the run, and no person did."""
    return bool(asked_by(run))


def is_nightly(run: dg.DagsterRun) -> bool:
    """Whether the schedule asked for the run."""
    return asked_by(run) == NIGHTLY


def failed_blocking_check(
    instance: dg.DagsterInstance, run_id: str
) -> dg.AssetCheckEvaluation | None:
    """Return the blocking check that stopped a run, if one did."""
    page = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    for record in page.records:
        event = record.event_log_entry.dagster_event
        check = event.asset_check_evaluation_data if event else None
        stops = check and check.blocking and check.severity == dg.AssetCheckSeverity.ERROR
        if check and stops and not check.passed:
            return check
    return None


def cause_of(error: Any) -> str:
    """Find the line worth telling: ours if there is one, else the innermost error's."""
    while error.cause is not None and not _OURS.match(error.message):
        error = error.cause
    return _OURS.sub("", error.message.strip().splitlines()[0])


def _error_of(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the first failed step with its cause in one line; empty if no step failed."""
    page = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for record in page.records:
        event = record.event_log_entry.dagster_event
        error: Any = event.step_failure_data.error if event else None
        if event and error:
            return f"{event.step_key}: {cause_of(error)}"
    return ""
