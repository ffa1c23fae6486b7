"""The process of a run is killed under a real `atx up`, which makes up for it by itself."""

import subprocess
from collections.abc import Callable

import dagster as dg
import pytest

from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.house import House, kill
from atx_assets_tests.builders.program import ATX

pytestmark = pytest.mark.xdist_group("killed runs")


# -- the run's process killed at five moments


def run_process(house: House) -> int:
    """The process of a run that has not told its number yet: another one than the code server's."""

    def found() -> list[int]:
        below = [p for s in house.processes("dagster api grpc") for p in s.children()]
        return [p.pid for p in below if "spawn_main" in " ".join(p.cmdline())]

    return int(wait_until(found, "the process of the run", 60)[0])


def just_launched(house: House, run: str) -> int:
    pid = run_process(house)
    assert not house.events(run, dg.DagsterEventType.RUN_START)
    return pid


def at(kind: dg.DagsterEventType, step: str) -> Callable[[House, str], int]:
    return lambda house, run: house.reaches(run, kind, step)


BEGUN, MADE = dg.DagsterEventType.STEP_START, dg.DagsterEventType.ASSET_MATERIALIZATION


@pytest.mark.parametrize(
    ("moment", "unmade"),
    [
        pytest.param(just_launched, "raw_media", id="just launched"),
        pytest.param(at(BEGUN, "raw_media"), "raw_media", id="reading"),
        pytest.param(at(BEGUN, "tuned_classifier"), "tuned_classifier", id="training"),
        pytest.param(at(MADE, "tuned_classifier"), "false_positives", id="between"),
        pytest.param(at(BEGUN, "analysis_report"), "analysis_report", id="reporting"),
    ],
)
def test_a_run_that_is_killed_is_made_up_for(
    house: House, moment: Callable[[House, str], int], unmade: str
) -> None:
    before = house.runs()
    house.changes_labels()
    run = house.next_run(before)
    kill(moment(house, run))
    wait_until(lambda: house.status(run) == dg.DagsterRunStatus.FAILURE, "the end of the run", 30)
    assert not house.events(run, MADE, unmade)
    house.check_agreement()
    assert "started again" not in " ".join(house.lines)  # nothing but the run was touched


def test_a_run_by_hand_that_is_killed_keeps_no_other_waiting(house: House) -> None:
    """Kept out: nobody but the run launcher sees that such a process is gone."""
    before = house.runs()
    by_hand = subprocess.Popen(
        [*ATX, "run"],
        env=house.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        run = house.next_run(before)
        assert house.reaches(run, BEGUN, "hyperparameters") == by_hand.pid
        house.changes_labels()
    finally:
        by_hand.kill()
        by_hand.wait()
    wait_until(lambda: house.status(run) == dg.DagsterRunStatus.FAILURE, "the end of the run", 25)
    house.check_agreement()
