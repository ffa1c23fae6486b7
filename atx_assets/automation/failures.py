"""Why a run failed, in one line, and whether it needs an alert.

Retries are decided in one place: sensors repeat their runs (`decide.py`), Dagster repeats none, and
a run that a check stopped is never repeated. The remaining failures become alerts here. Not here:
sending them (`alerts/alerts.py`).
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

#: The prefixes of causes, by what heals them: any successful run, a successful nightly run, a
#: successful housekeeping. LOST and GONE heal when the labels or data are back.
CHECK_FAILED, NIGHT_FAILED, NOT_PRUNED = "check:", "nightly:", "housekeeping:"

#: The titles of alerts that sensors, schedule and checks share.
LABELS_GONE, DATA_GONE = "atx: labels are gone", "atx: the data are gone"


#: How Dagster writes one of atx's own errors.
_OURS = re.compile(r"atx_assets\.errors\.\w+: ")


def alert_of(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> Alert | None:
    """Return the alert for a failed run; None if it is retried, or a person started it.

    Args:
        instance: where the run's events are.
        run: the run.
        message: Dagster's message about the failure, for a run in which no step failed.
    """
    alert = _alert_of(instance, run, message)
    return _with_fix(alert) if alert else None


def _alert_of(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> Alert | None:
    where = f"job {run.job_name}, run {run.run_id}"
    if check := failed_blocking_check(instance, run.run_id):
        if check.check_name == LABELS_STILL_THERE:
            return Alert(LOST, LABELS_GONE, check.description or "")
        name = f"{check.asset_key.to_user_string()}: {check.check_name}"
        return Alert(
            f"{CHECK_FAILED}{name}: {check.description}",
            "atx: a check stopped the graph",
            f"{name}: {check.description}\nThe results stay unchanged ({where}).",
        )
    error = _error_of(instance, run.run_id) or message
    sensor = asked_by(run)
    request = Request.from_key(run.tags.get(RUN_KEY, "")) if sensor else None
    if request and request.attempt == LAST_ATTEMPT:
        return Alert(
            f"{sensor}:{request.wanted}",
            "atx: the results cannot be brought up to date",
            f"{LAST_ATTEMPT} attempts failed, the last with: {error}\n"
            f"No further attempt until something changes, or the nightly run ({where}).",
        )
    if is_nightly(run):
        return Alert(
            f"{NIGHT_FAILED}{error}",
            "atx: the nightly run failed",
            f"{error}\nThe results stay unchanged; the next night tries again ({where}).",
        )
    if run.job_name == HOUSEKEEPING and started_by_itself(run):
        return Alert(
            f"{NOT_PRUNED}{error}",
            "atx: old runs could not be pruned",
            f"{error}\nNothing is lost, but the disk slowly fills; the next day tries again "
            f"({where}).",
        )
    return None


def refusal(text: str, cause: str = LOST) -> Alert:
    """Return the alert that a sensor, the schedule or a check refuses to rebuild.

    All of them use one cause, so that it is reported once.

    Args:
        text: the reason, with the fix.
        cause: LOST or GONE.
    """
    return _with_fix(Alert(cause, DATA_GONE if cause == GONE else LABELS_GONE, text))


def _with_fix(alert: Alert) -> Alert:
    """Add a last line that says where to read what to do."""
    place = alert.title.removeprefix("atx: ").lower().replace(" ", "-")
    return replace(alert, text=f"{alert.text}\nWhat to do: docs/operations.md#{place}")


def started_by_itself(run: dg.DagsterRun) -> bool:
    """Return whether a sensor or the schedule asked for the run, not a person."""
    return bool(asked_by(run))


def is_nightly(run: dg.DagsterRun) -> bool:
    """Return whether the schedule asked for the run."""
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
    """Return the most useful line: that of atx's own error, or else of the innermost error."""
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
