"""Runs that Dagster believes to be under way though their process is gone.

Dagster's default launcher cannot see that a run was killed, and such a run would keep the next
ones waiting for ever. Not here: runs that are alive, whoever started them.
"""

import os
from collections.abc import Callable

from atx_assets.settings import Settings

#: On the runs of `atx run`: the process that they are in, as `process_name` writes it.
TAG = "atx/process"


def process_name(pid: int) -> str:
    """Name a process so that a later one of the same number is not taken for it."""
    import psutil

    return f"{pid} {psutil.Process(pid).create_time():.2f}"


def fail_dead_runs(settings: Settings, say: Callable[[str], None]) -> None:
    """Mark the runs as failed whose process is gone; called before a Dagster of this home starts.

    The runs of the UI are children of its servers, and the home has one `atx up` at a time: at its
    start none of them can be alive. A run of `atx run` says in a tag which process it is in.
    """
    import dagster as dg

    under_way = [
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for run in instance.get_runs(dg.RunsFilter(statuses=under_way)):
            if _alive(run.tags.get(TAG, "")):
                continue
            instance.report_run_failed(run, "its process is gone: it was killed, or power was lost")
            say(f"run {run.run_id[:8]} ({run.job_name}) had lost its process: marked as failed")


def _alive(process: str) -> bool:
    import psutil

    pid = process.partition(" ")[0]
    try:
        return bool(pid) and process_name(int(pid)) == process and int(pid) != os.getpid()
    except psutil.Error:
        return False
