"""`atx run`: materialise assets without the UI, with progress, on the instance the UI shows.

Not here: what the assets do, nor what is said of the results (`summary.py`).
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from atx_assets.automation.failures import cause_of
from atx_assets.errors import AtxError
from atx_assets.local.dagster_storage import reach_storage
from atx_assets.local.home import exports
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

Say = Callable[[str], None]


def run_job(settings: Settings, say: Say, *, job: str = "full_rebuild", select: str = "") -> None:
    """Run a job, or the assets that `select` names, to the end.

    Args:
        settings: of an open home.
        say: takes a line of progress.
        job: the name of one of the graph's jobs.
        select: assets in Dagster's selection syntax, instead of a job.

    Raises:
        AtxError: the selection is empty, or an asset or a blocking check failed: the line says
            which, and why.
    """
    # The resources read their settings where a Dagster process finds them: in the environment.
    os.environ.update(exports(settings))
    import dagster as dg

    from atx_assets.definitions import build_defs

    definitions = build_defs()
    with _instance(settings) as instance:
        run_id = str(uuid.uuid4())
        progress = _Progress(instance, run_id, say)
        with progress.shown():
            result = _job(definitions, job, select).execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=instance,
                run_id=run_id,
                raise_on_error=False,
                asset_selection=_selected(dg, definitions, select) if select else None,
            )
        if progress.interrupted:
            raise KeyboardInterrupt
        if progress.failure or not result.success:
            raise AtxError(progress.failure or f"run {run_id} failed: see its page in the UI")


@contextmanager
def _instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    import dagster as dg

    reach_storage(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield instance


def _job(definitions: dg.Definitions, job: str, select: str) -> dg.JobDefinition:
    if select:
        return definitions.resolve_implicit_global_asset_job_def()
    return definitions.resolve_job_def(job)


def _selected(dg: Any, definitions: dg.Definitions, select: str) -> list[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    names = ", ".join(k.to_user_string() for k in sorted(graph.materializable_asset_keys))
    try:
        found = dg.AssetSelection.from_string(select).resolve(graph)
    except dg.DagsterError as error:  # not written in the syntax, or names nothing
        raise AtxError(
            f"--select {select!r} cannot be used ({_first_line(error)}); write for instance "
            f"'key:scored_results+'; the assets are {names}"
        ) from error
    keys = sorted(found & graph.materializable_asset_keys)
    if not keys:
        raise AtxError(f"--select {select!r} names no asset of atx; they are {names}")
    return keys


class _Progress:
    """Tells of a run's events while they happen, and keeps why it failed."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str, say: Say) -> None:
        self._instance, self._run_id, self._say = instance, run_id, say
        self._cursor: str | None = None
        self._started: dict[str, float] = {}
        self._ended = threading.Event()
        self.failure = ""
        self.interrupted = False

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Tell of the events until the block ends, and of the last of them after it."""
        thread = threading.Thread(target=self._follow, name="atx-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            self._tell()

    def _follow(self) -> None:
        while not self._ended.wait(0.5):
            self._tell()

    def _tell(self) -> None:
        while True:
            page = self._instance.get_records_for_run(self._run_id, cursor=self._cursor)
            self._cursor = page.cursor
            for record in page.records:
                self._tell_of(record.event_log_entry)
            if not page.has_more:
                return

    def _tell_of(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            # A line that an asset logged, and not one of Dagster's own.
            if entry.step_key and entry.level == logging.INFO:
                self._say(f"    {entry.user_message}")
            return
        kind = event.event_type_value
        if kind == "ASSET_MATERIALIZATION":
            seconds = entry.timestamp - self._started.get(event.step_key or "", entry.timestamp)
            asset = event.asset_key.to_user_string() if event.asset_key else ""
            told = _told(event.step_materialization_data.materialization.metadata)
            self._say(f"  {asset:<18}{seconds:6.1f} s  {told}")
        elif kind == "STEP_START":
            self._started[event.step_key or ""] = entry.timestamp
        elif kind == "ASSET_CHECK_EVALUATION":
            self._tell_of_check(event.asset_check_evaluation_data)
        elif kind == "STEP_FAILURE" and not self.failure:
            error: Any = event.step_failure_data.error
            self.interrupted = error.cls_name == "DagsterExecutionInterruptedError"
            self.failure = f"{event.step_key}: {cause_of(error)}"
        elif kind in ("RUN_FAILURE", "RESOURCE_INIT_FAILURE") and not self.failure:
            error = getattr(event.event_specific_data, "error", None)
            self.failure = cause_of(error) if error else ""

    def _tell_of_check(self, check: Any) -> None:
        if check.passed:
            return
        if check.severity.value == "WARN":
            self._say(f"    warning: {check.check_name}: {check.description}")
            return
        line = f"{check.asset_key.to_user_string()}: {check.check_name}: {check.description}"
        self._say(f"    failed check: {check.check_name}: {check.description}")
        self.failure = self.failure or line


#: The figures told of an asset in its line of progress.
_FIGURES = (
    "note",
    "rows of films",
    "films",
    "judged films",
    "keeps",
    "skips",
    "features",
    "combinations",
    "version",
    "out-of-fold pr_auc",
    "unjudged films",
    "mistakes",
    "to judge",
    "to judge again",
)


def _told(metadata: Any) -> str:
    shown = [(name, metadata[name].value) for name in _FIGURES if name in metadata]
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown
    )


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
