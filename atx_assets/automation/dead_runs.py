"""Finds runs that Dagster believes to be running although their process is gone.

Not here: runs that are alive, whoever started them, and when to look (`defs/run_launcher.py` while
Dagster is running, `web/healing.py` before it starts). `atx doctor` imports this module, and must
not import Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

#: A run's tag: the id and the time of the machine's last boot, when the run started.
BOOT_TAG = "atx/boot"
#: Seconds by which the clock may change between the start of a process and that of its run.
_CLOCK = 5.0


def process_is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether the process that started the run is gone."""
    import dagster as dg

    begun = dg.DagsterEventType.RUN_START
    page = instance.get_records_for_run(run.run_id, of_type=begun, limit=1)
    entries = [record.event_log_entry for record in page.records]
    pids = [(e.dagster_event.pid, e.timestamp) for e in entries if e.dagster_event]
    began = next(((pid, at) for pid, at in pids if pid is not None), None)
    return is_gone(run.tags, began)


def is_gone(tags: Mapping[str, str], began: tuple[int, float] | None) -> bool:
    """Return whether the process of a run with these tags is gone.

    Every event of a run carries the pid of its process. A process with that pid that started after
    the run is another one: pids are reused, and after a power cut all are new. Both times are
    converted to the clock of the run's start; otherwise a run would seem dead after the clock is
    set forward. A run without a start event has not got that far; the start timeout handles it.

    Args:
        tags: of the run.
        began: the pid and the time, in seconds since 1970, of the run's start event.
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
    """Return the tag for a run that starts now; empty if the system has no boot id.

    Linux stores a process's start relative to the boot, and converts both with the current clock.
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
    """Mark runs as failed if their process is gone.

    Args:
        instance: has the runs.
        starting_too: no Dagster of this home is running yet, so nothing will start the runs that
            have not begun: they are dead as well.

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
    """Return the line about a run that was marked as failed."""
    return f"run {lost.run_id[:8]} ({lost.job_name}) had lost its process: marked as failed"
