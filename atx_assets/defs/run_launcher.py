"""Starts runs as Dagster does, and sees when the process of one is gone.

Dagster's default launcher has no such look: a run whose process was killed together with its
code server would be taken for one under way, and keep the next ones waiting for ever. Dagster's
run monitoring asks this one at every round (`run_monitoring` in `dagster.yaml`).
"""

from __future__ import annotations

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

from atx_assets.automation.dead_runs import boot_tag, process_is_gone


class WatchfulRunLauncher(dg.DefaultRunLauncher):
    """Dagster's default launcher, with a check whether a run's process is there."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Say that `check_run_worker_health` can be asked."""
        return True

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch a run, with what tells later whether its process is still the same."""
        self._instance.add_run_tags(context.dagster_run.run_id, boot_tag())
        super().launch_run(context)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Say whether the process of a run that has started is there."""
        if process_is_gone(self._instance, run):
            return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone: killed?")
        return CheckRunHealthResult(WorkerStatus.RUNNING)
