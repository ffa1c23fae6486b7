"""Sensors whose last tick is at a time still to come, on a real Dagster instance."""

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from atx_assets.automation.later_ticks import forget_later_ticks

NOW = time.time()


def sensor(name: str, data: SensorInstigatorData | None) -> InstigatorState:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="atx_assets"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), name)
    return InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)


@pytest.mark.parametrize(
    ("last", "forgotten"),
    [(NOW - 5, False), (NOW + 1, False), (NOW + 3600, True)],
    ids=["past", "now", "to come"],
)
def test_only_a_tick_of_a_time_still_to_come_is_forgotten_and_the_cursor_stays(
    last: float, forgotten: bool, tmp_path: Path
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        data = SensorInstigatorData(last, "a key", 4, "the cursor", last, last, None, last)
        instance.add_instigator_state(sensor("label_sensor", data))
        instance.add_instigator_state(sensor("new_sensor", None))
        assert forget_later_ticks(instance, NOW) == ["label_sensor"] * forgotten
        (now,) = (s for s in instance.all_instigator_state() if s.name == "label_sensor")
        assert now.instigator_data.cursor == "the cursor"
        assert now.instigator_data.last_run_key == "a key"
        assert (now.instigator_data.last_tick_start_timestamp is None) == forgotten
        assert (now.instigator_data.last_tick_timestamp is None) == forgotten
