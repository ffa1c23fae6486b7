"""What `atx up` has started is killed; it heals it, or its next start does."""

import contextlib
import signal

import dagster as dg
import psutil
import pytest

from atx_assets.home.postgres.cluster import Cluster
from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.house import House, kill

pytestmark = pytest.mark.xdist_group("killed servers")


# -- Dagster's own processes


def test_a_code_server_that_is_killed_with_its_run_is_started_again(house: House) -> None:
    """Kept out: Dagster does not see that it is gone, and no sensor ever ticks again."""
    run, worker = house.trains()
    kill(house.code_server().pid, worker)
    wait_until(lambda: house.status(run) == dg.DagsterRunStatus.FAILURE, "the end of the run", 40)
    house.check_agreement()


def test_a_daemon_that_is_killed_is_started_again(house: House) -> None:
    run, _ = house.trains()
    kill(house.processes("dagster._daemon run")[0].pid)
    house.check_agreement()
    assert house.processes("dagster._daemon run")
    assert house.status(run) == dg.DagsterRunStatus.SUCCESS  # it lives in the code server


@pytest.mark.parametrize("process", ["dagster code-server", "web.guarded"])
def test_another_process_of_dagster_that_is_killed_is_started_again(
    house: House, process: str
) -> None:
    killed = house.processes(process)[0].pid
    kill(killed)
    (again,) = wait_until(lambda: house.lines and house.processes(process), "the process again", 60)
    assert again.pid != killed
    house.changes_labels()
    house.check_agreement(code_server_may_restart=True)
    assert [line.endswith(": started again") for line in house.lines] == [True]


def test_postgres_that_is_killed_is_started_again(house: House) -> None:
    house.trains()
    killed = house.postmaster()
    kill(killed)
    house.check_agreement()
    assert house.postmaster() != killed
    assert "PostgreSQL was gone: started again" in house.lines


# -- all at once


def test_after_a_power_cut_the_next_start_makes_up_for_it(house: House) -> None:
    run, worker = house.trains()
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
    house.trains()
    assert house.up
    house.up.send_signal(signal.SIGINT)
    assert house.up.wait(30) == 0
    house.open()
    house.check_agreement()
