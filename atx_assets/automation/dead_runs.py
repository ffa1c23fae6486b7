"""Runs that Dagster believes to be under way though their process is gone.

Not here: runs that are alive, whoever started them, and when to look (`defs/run_launcher.py` while
Dagster runs, `web/healing.py` before it starts). `atx doctor` comes through here, and does
without Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

#: A run's tag: since when the machine was up, and which of its starts that was, as the run began.
BOOT_TAG = "atx/boot"
#: Seconds by which the clock may have been set between a process's start and its run's.
_CLOCK = 5.0


def process_is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that started the run is there no more."""
    import dagster as dg

    begun = dg.DagsterEventType.RUN_START
    page = instance.get_records_for_run(run.run_id, of_type=begun, limit=1)
    entries = [record.event_log_entry for record in page.records]
    pids = [(e.dagster_event.pid, e.timestamp) for e in entries if e.dagster_event]
    began = next(((pid, at) for pid, at in pids if pid is not None), None)
    return is_gone(run.tags, began)


def is_gone(tags: Mapping[str, str], began: tuple[int, float] | None) -> bool:
    """Whether the process of a run with these tags is there no more.

    Every event of a run carries the number of its process. A process of that number which began
    after the run did is another one: numbers are given again, and after a power cut all are new.
    Both times are told by the clock as it stood when the run began, or a run would seem dead once
    the clock is set forward. A run that has no such event has not got as far; it is for the start
    timeout.

    Args:
        tags: of the run.
        began: the process and the time, in seconds since 1970, of the event that it began with.
    """
    import psutil

    boot, _, since = tags.get(BOOT_TAG, "").partition(" ")
    if boot and boot != _boot_id():
        return True
    if began is None:
        return False
    pid, at = began
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        set_since = psutil.boot_time() - float(since) if since else 0.0
        return bool(process.create_time() - set_since > at + _CLOCK)
    except psutil.NoSuchProcess:
        return True


def boot_tag() -> dict[str, str]:
    """Return the tag for a run that begins now; none where the system has no number of its start.

    Linux counts a process's start from the machine's own, and tells both by the clock as it is now.
    """
    import psutil

    boot = _boot_id()
    return {BOOT_TAG: f"{boot} {psutil.boot_time():.0f}"} if boot else {}


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def fail_dead_runs(
    instance: dg.DagsterInstance, *, starting_too: bool = True
) -> list[dg.DagsterRun]:
    """Mark the runs as failed whose process is gone.

    Args:
        instance: has the runs.
        starting_too: no Dagster of this home runs yet, so that nobody is there to start those
            that have not begun: they are dead as well.

    Returns:
        The runs that were marked.
    """
    import dagster as dg

    starting = dg.DagsterRunStatus.STARTING
    under_way = [starting, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    marked = []
    for run in instance.get_runs(dg.RunsFilter(statuses=under_way)):
        begins = run.status == starting
        dead = starting_too if begins else process_is_gone(instance, run)
        if dead:
            instance.report_run_failed(run, "its process is gone: it was killed, or power was lost")
            marked.append(run)
    return marked


def in_words(lost: dg.DagsterRun) -> str:
    """Say of a run that was marked as failed why it was."""
    return f"run {lost.run_id[:8]} ({lost.job_name}) had lost its process: marked as failed"
