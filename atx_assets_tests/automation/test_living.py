"""The real thing: `atx up` with its daemon, while labels change and processes are killed.

Every test ends as it must in life, by itself: what a person reads agrees with the labels in the
database, no run is left under way, and the sensor has nothing to do.
"""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from atx_assets.local.cluster import Cluster
from atx_assets_tests.house import ATX, House, kill, open_house, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def opened(small_library: Path, end_all_of: Callable[[Path], None]) -> Iterator[House]:
    """The small library with everything run once, and `atx up` on it; MLflow has no part in it."""
    with open_house(small_library, end_all_of, ATX_MLFLOW="off") as house:
        yield house


@pytest.fixture
def house(opened: House) -> House:
    return opened.ready()


def test_the_lists_follow_labels_that_are_changed_from_outside(house: House) -> None:
    before = (house.data / "false_positives.json").read_bytes()
    listed = json.loads(before)
    with house.database() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL"
            " WHERE imdb_id = %s",
            [listed[0]["imdb_id"]],
        )
    wait_until(lambda: (house.data / "false_positives.json").read_bytes() != before, "the new list")
    after = json.loads((house.data / "false_positives.json").read_text())
    assert listed[0]["imdb_id"] not in {record["imdb_id"] for record in after}
    house.check_agreement()


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


# -- Dagster's own processes


def in_the_middle(house: House) -> tuple[str, int]:
    """Change labels and wait until a run trains on them: the run and its process."""
    before = house.runs()
    house.changes_labels()
    run = house.next_run(before)
    return run, house.reaches(run, BEGUN, "tuned_classifier")


def test_a_code_server_that_is_killed_with_its_run_is_started_again(house: House) -> None:
    """Kept out: `dagster dev` does not see that it is gone, and no sensor ever ticks again."""
    run, worker = in_the_middle(house)
    kill(house.code_server().pid, worker)
    wait_until(lambda: house.status(run) == dg.DagsterRunStatus.FAILURE, "the end of the run", 40)
    house.check_agreement()


def test_a_daemon_that_is_killed_is_started_again(house: House) -> None:
    in_the_middle(house)
    kill(house.processes("dagster._daemon run")[0].pid)
    house.check_agreement()
    assert house.processes("dagster._daemon run")


def test_postgres_that_is_killed_is_started_again(house: House) -> None:
    in_the_middle(house)
    killed = house.postmaster()
    kill(killed)
    house.check_agreement()
    assert house.postmaster() != killed
    assert "PostgreSQL was gone: started again" in house.lines


# -- all at once


def test_after_a_power_cut_the_next_start_makes_up_for_it(house: House) -> None:
    run, worker = in_the_middle(house)
    assert house.up
    below = psutil.Process(house.up.pid).children(recursive=True)
    kill(house.up.pid)
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert worker in {process.pid for process in below}
    house.up.wait()
    wait_until(lambda: not Cluster(house.home).lives, "the end of PostgreSQL", 20)
    house.open()
    assert house.status(run) == dg.DagsterRunStatus.FAILURE
    house.check_agreement()
    assert any(line.startswith(f"run {run[:8]} (refresh) had lost") for line in house.lines)


def test_ctrl_c_in_the_middle_of_a_run_is_made_up_for_at_the_next_start(house: House) -> None:
    """Kept out: a run that was ended with the house counts as one that a person canceled."""
    in_the_middle(house)
    assert house.up
    house.up.send_signal(signal.SIGINT)
    assert house.up.wait(30) == 0
    house.open()
    house.check_agreement()


# -- many changes at once

#: Label changes a second, for so many seconds.
PACE, SECONDS = 100, 60


@pytest.fixture
def patient(house: House) -> Iterator[House]:
    """The house, opened anew with a quiet period longer than the time between two looks."""
    before = house.environment

    def close() -> None:
        assert house.up
        house.up.send_signal(signal.SIGINT)
        house.up.wait(30)

    close()
    house.environment = before | {"ATX_LABEL_QUIET_SECONDS": "10"}
    house.open()
    yield house
    close()  # the next test that wants it opens it
    house.environment = before


def judge_without_end(house: House) -> int:
    """Change labels at an even pace, a commit each; return the most connections there were."""
    connections = 0
    with house.database() as connection:
        rows = connection.execute(
            "SELECT imdb_id FROM atp.media WHERE media_type = 'movie' AND imdb_id IS NOT NULL"
            " AND rejection_status <> 'unfiltered' GROUP BY 1 HAVING count(*) = 1"
            " ORDER BY 1 LIMIT 150"
        ).fetchall()
        started = time.monotonic()
        for number in range(PACE * SECONDS):
            keep = (number // len(rows)) % 2 == 0
            connection.execute(
                "UPDATE atp.media SET rejection_status = %s::atp.rejection_status,"
                " rejection_reason = NULL WHERE imdb_id = %s",
                ("override" if keep else "rejected", *rows[number % len(rows)]),
            )
            if number % PACE == 0:
                found = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                ).fetchone()
                connections = max(connections, found[0] if found else 0)
            time.sleep(max(0.0, started + number / PACE - time.monotonic()))
    return connections


def test_labels_that_change_a_hundred_times_a_second_cost_a_run_and_not_a_hundred(
    patient: House,
) -> None:
    """Kept out: a run for every look, a sensor that falls behind, connections that pile up."""
    run, _ = in_the_middle(patient)
    before, since = patient.runs(), time.time()
    connections = judge_without_end(patient)
    assert patient.status(run) == dg.DagsterRunStatus.SUCCESS
    # The labels were never quiet, and the longest wait is five minutes.
    assert patient.runs() == before
    patient.check_agreement()
    assert len(patient.runs() - before) <= 2
    told = patient.ticks_since(since)
    assert len(told) > SECONDS / 10
    assert not [reason for reason in told if "FAILURE" in reason or "nothing concluded" in reason]
    assert connections < 40
