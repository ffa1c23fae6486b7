"""Sensors and schedules of which a tick is still to come, on a real Dagster instance."""

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
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from atx_assets.automation.later_ticks import forget_later_ticks

NOW = time.time()


def state(
    name: str,
    data: SensorInstigatorData | ScheduleInstigatorData | None,
    kind: InstigatorType = InstigatorType.SENSOR,
) -> InstigatorState:
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="atx_assets"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), name)
    return InstigatorState(origin, kind, InstigatorStatus.RUNNING, data)


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
        instance.add_instigator_state(state("label_sensor", data))
        instance.add_instigator_state(state("new_sensor", None))
        assert forget_later_ticks(instance, NOW) == ["label_sensor"] * forgotten
        (now,) = (s for s in instance.all_instigator_state() if s.name == "label_sensor")
        assert now.instigator_data.cursor == "the cursor"
        assert now.instigator_data.last_run_key == "a key"
        assert (now.instigator_data.last_tick_start_timestamp is None) == forgotten
        assert (now.instigator_data.last_tick_timestamp is None) == forgotten


@pytest.mark.parametrize("by", ["its last tick", "its last look", "its start"])
@pytest.mark.parametrize("ahead", [3600, 30 * 86_400], ids=["an hour", "a month"])
def test_a_schedule_that_is_a_month_ahead_goes_on_from_now_and_keeps_its_ticks(
    by: str, ahead: float, tmp_path: Path
) -> None:
    """Kept out: no night for a month. Within the day it waits: an hour that comes twice is one."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        late = NOW + ahead
        data = ScheduleInstigatorData(
            "0 4 * * *",
            late if by == "its start" else NOW - 99,
            late if by == "its last look" else NOW - 9,
        )
        nightly = state("nightly", data, InstigatorType.SCHEDULE)
        instance.add_instigator_state(nightly)
        times = [NOW - 99, late if by == "its last tick" else NOW - 9]
        for at in times:
            instance.create_tick(
                TickData(
                    nightly.instigator_origin_id,
                    nightly.name,
                    InstigatorType.SCHEDULE,
                    TickStatus.SUCCESS,
                    at,
                    run_ids=[],
                    run_keys=[],
                    selector_id=nightly.selector_id,
                )
            )
        put_right = ahead > 86_400
        assert forget_later_ticks(instance, NOW) == ["nightly"] * put_right
        ticks = instance.get_ticks(nightly.instigator_origin_id, nightly.selector_id)
        (after,) = instance.all_instigator_state()
        found = after.instigator_data
        latest = max(
            found.start_timestamp, found.last_iteration_timestamp, *(t.timestamp for t in ticks)
        )
        assert (latest <= NOW) == put_right
        assert len(ticks) == len(times)
        assert found.cron_schedule == "0 4 * * *"
        assert forget_later_ticks(instance, NOW) == []
