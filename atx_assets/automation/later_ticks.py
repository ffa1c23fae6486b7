"""Ticks at a time that is still to come: the clock was set back since.

Dagster's daemon waits from the last tick on, by the clock: the label sensor would see nothing, and
no night would come, until it is right again. Starting the daemon again does not help, as the time
of the last tick is in Dagster's storage. Not here: seeing that the clock was set
(`web/healing.py`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

#: Seconds that are no matter: no sensor looks more often.
_NO_MATTER = 5.0
#: Seconds that a schedule may wait: by then it is its turn again, and within them it would run a
#: second time at an hour that comes twice.
_A_DAY = 86_400.0


def forget_later_ticks(instance: dg.DagsterInstance, now: float) -> list[str]:
    """Have each sensor of which the last tick is after `now` tick at once; its cursor stays.

    A schedule's times of more than a day after `now` become `now`: it goes on from there, and what
    it missed is not made up for. Called while no Dagster of this home runs.

    Returns:
        The names of the sensors and schedules.
    """
    return [
        state.name
        for state in instance.all_instigator_state()
        if _forget_sensors(instance, state, now) or _forget_schedules(instance, state, now)
    ]


def _forget_sensors(instance: dg.DagsterInstance, state: InstigatorState, now: float) -> bool:
    data = state.instigator_data
    if not isinstance(data, SensorInstigatorData):
        return False
    last = max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0)
    if last <= now + _NO_MATTER:
        return False
    changed = data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
    instance.update_instigator_state(state.with_data(changed))
    return True


def _forget_schedules(instance: dg.DagsterInstance, state: InstigatorState, now: float) -> bool:
    data, later = state.instigator_data, now + _A_DAY
    if not isinstance(data, ScheduleInstigatorData):
        return False
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=later)
    for tick in ticks:
        instance.update_tick(tick._replace(tick_data=tick.tick_data._replace(timestamp=now)))
    started, looked = data.start_timestamp or 0.0, data.last_iteration_timestamp or 0.0
    if is_later := max(started, looked) > later:
        changed = data._replace(
            start_timestamp=min(started, now), last_iteration_timestamp=min(looked, now)
        )
        instance.update_instigator_state(state.with_data(changed))
    return bool(ticks) or is_later
