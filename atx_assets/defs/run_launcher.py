"""Starts runs as Dagster does, and notices if the process of one is gone.

Dagster's default launcher has no such check: a run whose process was killed together with its code
server would count as running, and keep the next ones waiting for ever. Dagster's run monitoring
calls this check in every round (`run_monitoring` in `dagster.yaml`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

from atx_assets.automation.dead_runs import boot_tag, process_is_gone


class WatchfulRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, with a check that a run's process exists."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Whether `check_run_worker_health` works: it does."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run, with a tag that later tells whether its process is still the same."""
        self._instance.add_run_tags(context.dagster_run.run_id, boot_tag())
        super().launch_run(context)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a started run exists."""
        if process_is_gone(self._instance, run):
            return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone: killed?")
        return CheckRunHealthResult(WorkerStatus.RUNNING)
