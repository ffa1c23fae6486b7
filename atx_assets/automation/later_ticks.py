"""Removes ticks with a time in the future, which a clock that was set back leaves behind.

Dagster's daemon waits from the time of the last tick: until the clock reaches it, the label sensor
would see nothing and no nightly run would start. Restarting the daemon does not help, because the
time of the last tick is in Dagster's storage. Not here: noticing that the clock was set
(`web/healing.py`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

#: Seconds that can be ignored: no sensor looks more often.
_NO_MATTER = 5.0
#: Seconds that a schedule may wait: by then it is due anyway, and a reset within them would make it
#: run a second time when the clock shows an hour twice.
_A_DAY = 86_400.0


def forget_later_ticks(instance: dg.DagsterInstance, now: float) -> list[str]:
    """Make each sensor whose last tick is after `now` tick immediately; its cursor stays.

    A schedule's times of more than a day after `now` become `now`: it goes on from there, and does
    not catch up on missed ticks. Called while no Dagster of this home is running.

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
