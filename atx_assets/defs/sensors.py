"""The sensors: each observes, decides, and asks for a run or says why not.

Not here: the decisions (`automation/decide.py`), what is observed (`automation/observe.py`), which
failures raise an alert (`automation/failures.py`) and how it is sent (`alerts/alerts.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import dagster as dg

from atx_assets.alerts.alerts import clear, heartbeat, raise_alert, send_pending
from atx_assets.automation.decide import (
    RETRY_MINUTES,
    Decision,
    Seen,
    State,
    decide_films,
    decide_labels,
    span,
)
from atx_assets.automation.failures import (
    CHECK_FAILED,
    NIGHT_FAILED,
    NOT_PRUNED,
    alert_of,
    is_nightly,
    refusal,
)
from atx_assets.automation.losses import GONE, LOST
from atx_assets.automation.observe import look
from atx_assets.automation.tags import ATTEMPT, HOUSEKEEPING, WHY
from atx_assets.defs.housekeeping import housekeeping
from atx_assets.defs.jobs import full_rebuild, refresh, score
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.errors import AtxError
from atx_assets.settings import Automation, Settings

#: For lines at every tick: each tick that uses `context.log` leaves a file for ever.
_logger = logging.getLogger(__name__)

#: Seconds between two looks. The rounds of Dagster's daemon are five seconds apart: a sensor that
#: asked for five would sometimes be a moment too early, and wait for the next round.
LABEL_INTERVAL, FILM_INTERVAL = 4, 30
#: If at most this many seconds of quiet are missing, the tick waits for them: the next tick would
#: be late by half a round on average, and by a whole one at worst.
ROUND = 5.0

_QUIET = (
    " To quiet it, switch it off on this page (Automation); it stays off until you switch it on."
)
_TRIES = ", ".join(map(str, RETRY_MINUTES))


def tick(
    context: dg.SensorEvaluationContext,
    current_settings: CurrentSettings,
    sensor: str,
    decide: Callable[[State, Automation], Decision],
    now: float,
    wait: Callable[[float], float] | None = None,
) -> dg.SensorResult:
    """Look, and return a run to start or the reason why there is none.

    A look that fails concludes nothing: the cursor stays unchanged.

    Args:
        context: of the tick.
        current_settings: read once in the tick.
        sensor: its name.
        decide: decides from what was seen.
        now: seconds since 1970.
        wait: waits for some seconds and returns the time afterwards. If given, a tick shortly
            before the end of the quiet time waits for it and looks again.
    """
    seen = Seen.from_cursor(context.cursor)

    def decided(seen: Seen) -> Decision:
        return decide(look(context.instance, settings, sensor, seen, now), settings.automation)

    try:
        settings = current_settings.read()
        decision = decided(seen)
        if wait and 0 < decision.again_in <= ROUND:
            now = wait(decision.again_in)
            # A change meanwhile restarts the quiet time.
            decision = decided(decision.seen)
    except AtxError as error:
        passed = f" for {span(now - seen.looked)}" if 0 < seen.looked <= now else ""
        skipped = f"nothing concluded{passed}: {error}"
        return dg.SensorResult(skip_reason=skipped, cursor=context.cursor)
    for cause in (LOST, GONE):
        if decision.refused == cause:
            raise_alert(settings, refusal(decision.reason, cause), _logger)
        else:
            clear(settings, cause)
    request = decision.request
    if request is None:
        return dg.SensorResult(skip_reason=decision.reason, cursor=decision.seen.cursor())
    tags = {WHY: decision.reason, ATTEMPT: str(request.attempt)}
    return dg.SensorResult(
        run_requests=[dg.RunRequest(request.run_key, tags=tags)],
        cursor=decision.seen.cursor(),
    )


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=LABEL_INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Learns from changed labels. Every 5 seconds it compares the labels in the database with "
        "those that the results were made from. If they differ, it asks for the job refresh, once "
        "they have been quiet for ATX_LABEL_QUIET_SECONDS (20), or after "
        "ATX_LABEL_MAX_WAIT_SECONDS (300) at the latest. For labels that only rules gave, it asks "
        "at most once per ATX_RULE_LABEL_INTERVAL (an hour). It tries a failed run again after "
        f"{_TRIES} minutes, then waits for a change or the nightly run. It refuses, and sends an "
        "alert, if more than half of the labels are gone at once, or if the data folder held "
        "results and is empty now." + _QUIET
    ),
)
def label_sensor(
    context: dg.SensorEvaluationContext, current_settings: CurrentSettings
) -> dg.SensorResult:
    """Ask for `refresh` when labels differ from the results."""
    result = tick(context, current_settings, "label_sensor", decide_labels, time.time(), _wait)
    _quietly(current_settings, _logger, lambda settings: send_pending(settings, _logger))
    return result


@dg.sensor(
    job=score,
    minimum_interval_seconds=FILM_INTERVAL,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Scores new films. Every 30 seconds it compares the films in the database, with everything "
        "that scoring reads of them, with those that the results were made from. If they differ, "
        "it asks for the job score, which trains nothing. It waits for quiet, tries again and "
        "refuses like label_sensor. If labels changed as well, their refresh also scores the "
        "films." + _QUIET
    ),
)
def film_sensor(
    context: dg.SensorEvaluationContext, current_settings: CurrentSettings
) -> dg.SensorResult:
    """Ask for `score` when films differ from the results."""
    return tick(context, current_settings, "film_sensor", decide_films, time.time())


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sends an alert if something needs a person: a blocking check stopped a run, the last "
        "attempt of a sensor failed, the nightly run failed, or old runs could not be pruned. "
        "It sends one message per cause, to ATX_ALERT_URL if that is set, and to the log." + _QUIET
    ),
)
def alert_on_failure(
    context: dg.RunFailureSensorContext, current_settings: CurrentSettings
) -> None:
    """Raise an alert for a failed run that nothing retries."""
    alert = alert_of(context.instance, context.dagster_run, context.failure_event.message or "")
    if alert:
        _quietly(
            current_settings,
            context.log,
            lambda settings: raise_alert(settings, alert, context.log),
        )


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[full_rebuild, refresh, score, housekeeping],
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "After each nightly run that ends well, calls ATX_HEARTBEAT_URL, if that is set, so that a "
        "dead-man switch notices when the call does not come. After any run that ends well, the "
        "causes that it fixed may send an alert again." + _QUIET
    ),
)
def heartbeat_on_success(
    context: dg.RunStatusSensorContext, current_settings: CurrentSettings
) -> None:
    """Call the heartbeat after a successful nightly run, and forget the alerts that are healed."""
    night = is_nightly(context.dagster_run)
    # Even if a person started it: while a cause is recorded, the same failure raises no alert.
    rebuilt = context.dagster_run.job_name == full_rebuild.name
    pruned = context.dagster_run.job_name == HOUSEKEEPING

    def healed(settings: Settings) -> None:
        if pruned:
            clear(settings, NOT_PRUNED)
            return
        clear(settings, CHECK_FAILED)
        if night or rebuilt:
            clear(settings, NIGHT_FAILED)
        if night:
            heartbeat(settings, context.log)

    _quietly(current_settings, context.log, healed)


def _wait(seconds: float) -> float:
    # A little more: the clock may be slightly behind the time slept.
    time.sleep(seconds + 0.05)
    return time.time()


SENSORS = [label_sensor, film_sensor, alert_on_failure, heartbeat_on_success]


def _quietly(
    current_settings: CurrentSettings, log: logging.Logger, act: Callable[[Settings], object]
) -> None:
    """Do what must not fail a tick: invalid settings are reported by the other ticks."""
    try:
        act(current_settings.read())
    except AtxError as error:
        log.warning("%s", error)
