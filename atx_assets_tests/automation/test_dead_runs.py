"""Which runs count as dead: told from real processes, on a real instance of Dagster."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import psutil
import pytest
import yaml
from dagster._daemon import get_default_daemon_logger
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from atx_assets.automation import dead_runs
from atx_assets.automation.dead_runs import BOOT_TAG, fail_dead_runs
from atx_assets.settings import ROOT

pytestmark = pytest.mark.slow

STARTED, FAILED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE

#: A run that never ends, in a process of its own.
WAITS = """
import sys, time
import dagster as dg
from atx_assets.automation.dead_runs import boot_tag

@dg.op
def waits():
    time.sleep(600)

@dg.job
def waiting():
    waits()

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    waiting.execute_in_process(instance=instance, run_id=sys.argv[2], tags=boot_tag())
"""


@dg.op
def nothing():
    pass


@dg.job
def one():
    nothing()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on files, with the project's own launcher and run monitoring."""
    ours = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    kept = {name: ours[name] for name in ("run_launcher", "run_monitoring", "telemetry")}
    (tmp_path / "dagster.yaml").write_text(yaml.dump(kept))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


@dataclass
class Waiting:
    """A run under way, and its process."""

    run_id: str
    process: subprocess.Popen[bytes]


@pytest.fixture
def waiting(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Waiting]:
    run_id = str(uuid.uuid4())
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(tmp_path), run_id], stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while not instance.get_records_for_run(
            run_id, of_type=dg.DagsterEventType.STEP_START
        ).records:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield Waiting(run_id, process)
    finally:
        process.kill()
        process.wait()


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def process_is_gone(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    assert run
    return dead_runs.process_is_gone(instance, run)


def monitor(instance: dg.DagsterInstance) -> None:
    """One round of Dagster's own run monitoring, as its daemon makes it."""
    context = SimpleNamespace(instance=instance, create_request_context=lambda: None)
    logger = get_default_daemon_logger("MonitoringDaemon")
    assert [e for e in execute_run_monitoring_iteration(context, logger) if e] == []  # type: ignore[arg-type]


def test_a_run_whose_process_lives_is_left_alone(
    instance: dg.DagsterInstance, waiting: Waiting
) -> None:
    assert not process_is_gone(instance, waiting.run_id)
    assert fail_dead_runs(instance) == []
    monitor(instance)
    assert status(instance, waiting.run_id) == STARTED


def test_a_run_whose_process_was_killed_is_failed_before_a_start(
    instance: dg.DagsterInstance, waiting: Waiting
) -> None:
    """Kept out: a killed run that keeps every later job waiting for ever."""
    waiting.process.kill()
    waiting.process.wait()
    assert process_is_gone(instance, waiting.run_id)
    assert [run.run_id for run in fail_dead_runs(instance)] == [waiting.run_id]
    assert status(instance, waiting.run_id) == FAILED
    assert fail_dead_runs(instance) == []


def test_dagsters_run_monitoring_fails_a_run_whose_process_was_killed(
    instance: dg.DagsterInstance, waiting: Waiting
) -> None:
    """Kept out: Dagster's default launcher has no such look, whatever monitoring is set."""
    waiting.process.kill()
    waiting.process.wait()
    monitor(instance)
    assert status(instance, waiting.run_id) == FAILED


def test_a_zombie_is_gone(instance: dg.DagsterInstance, waiting: Waiting) -> None:
    """Kept out: a killed child whose parent never asks for its end has its number for ever."""
    waiting.process.kill()
    zombie = psutil.Process(waiting.process.pid)
    end = time.monotonic() + 10
    while zombie.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert process_is_gone(instance, waiting.run_id)


@pytest.mark.parametrize(("seconds_ago", "gone"), [(60, True), (0, False)])
def test_a_process_that_began_after_the_run_is_another_one(
    instance: dg.DagsterInstance, seconds_ago: int, gone: bool
) -> None:
    """Kept out: after a restart of the machine any program may have the number of a dead run."""
    run = instance.create_run_for_job(one, status=STARTED)
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            began = dg.DagsterEvent(
                dg.DagsterEventType.RUN_START.value, "one", message="", pid=process.pid
            )
            instance.report_dagster_event(began, run.run_id, timestamp=time.time() - seconds_ago)
            assert process_is_gone(instance, run.run_id) == gone
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the time of another kernel does not move")
@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_makes_no_run_dead_and_none_alive(
    instance: dg.DagsterInstance,
    waiting: Waiting,
    seconds: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kept out: by a clock set forward every process begins after its run."""
    from psutil import _pslinux

    up_since = _pslinux.boot_time()
    # As the kernel does when the clock is set: all it tells moves along.
    monkeypatch.setattr(_pslinux, "boot_time", lambda: up_since + seconds)
    assert not process_is_gone(instance, waiting.run_id)
    waiting.process.kill()
    waiting.process.wait()
    assert process_is_gone(instance, waiting.run_id)


def test_after_another_start_of_the_machine_every_process_is_another_one(
    instance: dg.DagsterInstance, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.get_run_by_id(waiting.run_id)
    assert run
    assert BOOT_TAG in run.tags
    monkeypatch.setattr(dead_runs, "_boot_id", lambda: "another")
    assert process_is_gone(instance, waiting.run_id)


def test_a_run_that_has_not_begun_is_dead_only_where_nobody_starts_it(
    instance: dg.DagsterInstance,
) -> None:
    run = instance.create_run_for_job(one, status=dg.DagsterRunStatus.STARTING)
    assert not process_is_gone(instance, run.run_id)
    assert [dead.run_id for dead in fail_dead_runs(instance)] == [run.run_id]


def test_a_run_that_was_not_launched_yet_stays_there(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(one, status=dg.DagsterRunStatus.NOT_STARTED)
    assert fail_dead_runs(instance) == []
    assert status(instance, run.run_id) == dg.DagsterRunStatus.NOT_STARTED


def test_a_run_that_was_killed_while_it_was_canceled_is_failed(
    instance: dg.DagsterInstance, waiting: Waiting
) -> None:
    run = instance.get_run_by_id(waiting.run_id)
    assert run
    instance.report_run_canceling(run)
    waiting.process.kill()
    waiting.process.wait()
    assert [dead.run_id for dead in fail_dead_runs(instance)] == [waiting.run_id]
