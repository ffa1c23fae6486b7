"""Ticks of sensors at a time that is still to come: the clock was set back since.

Dagster's daemon waits from a sensor's last tick on, by the clock, and the label sensor would see
nothing until it is right again. Not here: seeing that the clock was set (`local/healing.py`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.scheduler.instigation import SensorInstigatorData

#: Seconds that are no matter: no sensor looks more often.
_NO_MATTER = 5.0


def forget_later_ticks(instance: dg.DagsterInstance, now: float) -> list[str]:
    """Have each sensor of which the last tick is after `now` tick at once; its cursor stays.

    Called while no Dagster of this home runs.

    Returns:
        The names of the sensors.
    """
    found = []
    for state in instance.all_instigator_state():
        data = state.instigator_data
        if not isinstance(data, SensorInstigatorData):
            continue
        last = max(data.last_tick_timestamp or 0.0, data.last_tick_start_timestamp or 0.0)
        if last > now + _NO_MATTER:
            changed = data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
            instance.update_instigator_state(state.with_data(changed))
            found.append(state.name)
    return found
