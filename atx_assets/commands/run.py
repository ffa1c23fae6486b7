"""`atx run`: materialise assets without the UI, on the instance the UI shows, and tell of it.

Not here: what the assets do, how a run is followed (`commands/output/progress.py`), nor what is
said of the results (`commands/output/summary.py`).
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from atx_assets.commands.output.display import Display, Output, display
from atx_assets.commands.output.progress import Outcome, Progress
from atx_assets.commands.output.summary import findings, summary
from atx_assets.commands.storage_watch import storage_watched
from atx_assets.errors import STOPPED, AtxError
from atx_assets.home.dagster_storage import open_instance, storage_explained
from atx_assets.home.home import open_home
from atx_assets.home.schema_upgrade import ready_stores
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


@dataclass
class Telling:
    """What a command tells while it runs, and what it has to tell at its end."""

    output: Output
    display: Display
    outcome: Outcome = field(default_factory=Outcome)
    found: dict[str, Any] | None = None

    def summarise(
        self, settings: Settings, *, figures: bool = False, usual_data: Path | None = None
    ) -> None:
        """Tell what was found, all that was measured or the headline; see `summary`."""
        if self.output is Output.JSON:
            self.found = findings(settings)
        elif self.output is Output.SHOWN:
            for line in summary(settings, figures=figures, usual_data=usual_data):
                self.display.say(line)


@contextmanager
def telling(output: Output) -> Iterator[Telling]:
    """Yield what a command tells with; as JSON, print it at the end, however that came."""
    told = Telling(output, display(output))
    if output is not Output.JSON:
        yield told
        return
    error = ""
    try:
        yield told
    except Exception as failure:
        message = " ".join(str(failure).split())
        known = isinstance(failure, AtxError)
        error = message if known else f"{type(failure).__name__}: {message}"
        raise
    except BaseException:  # Ctrl-C, or a signal
        error = STOPPED
        raise
    finally:
        click.echo(json.dumps(_answer(told, error), indent=2, default=str))


def _answer(told: Telling, error: str) -> dict[str, Any]:
    outcome = told.outcome
    return {
        **({"error": error} if error else {}),
        "run_id": outcome.run_id,
        "assets": outcome.assets,
        "checks": outcome.checks,
        "summary": told.found,
    }


def run(
    settings: Settings, told: Telling, *, job: str = "", select: str = "", figures: bool = False
) -> None:
    """Open the home, run a job or what `select` names, and tell what was found.

    Raises:
        AtxError: see `run_job`; or the home cannot be opened.
    """
    with open_home(settings) as ready:
        told.display.say(f"media: {ready.database}")
        run_job(ready, told, job=job or "full_rebuild", select=select)
        told.summarise(ready, figures=figures)


def run_job(
    settings: Settings, told: Telling, *, job: str = "full_rebuild", select: str = ""
) -> None:
    """Run a job, or the assets that `select` names, to the end.

    Args:
        settings: of an open home.
        told: takes what is told, and keeps what was done, also when it fails.
        job: the name of one of the graph's jobs.
        select: assets in Dagster's selection syntax, instead of a job.

    Raises:
        AtxError: the selection is empty, or an asset or a blocking check failed: the line says
            which, and why.
    """
    import dagster as dg

    from atx_assets.automation.dead_runs import boot_tag
    from atx_assets.definitions import build_defs
    from atx_assets.defs.resources.current_settings import given_settings

    definitions, outcome = build_defs({"current_settings": given_settings(settings)}), told.outcome
    with _instance(settings, told) as instance:
        run_id = str(uuid.uuid4())
        made = _job(definitions, job, select)
        selected = _selected(dg, definitions, select) if select else None
        total = len(selected or [*made.asset_layer.executable_asset_keys])
        search = settings.learning.search
        progress = Progress(instance, run_id, total, told.display, outcome, search)
        with (
            storage_explained(settings, is_back=lambda: _end(instance, run_id)),
            _mirrors_apart(),
            _followed(progress, settings, told),
        ):
            result = made.execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=instance,
                run_id=run_id,
                tags=boot_tag(),
                raise_on_error=False,
                asset_selection=selected,
            )
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.failure or not result.success:
            raise AtxError(outcome.failure or f"run {run_id} failed: see its page in the UI")


@contextmanager
def _instance(settings: Settings, told: Telling) -> Iterator[dg.DagsterInstance]:
    from atx_assets.automation.dead_runs import fail_dead_runs, in_words

    ready_stores(settings)
    with open_instance(settings) as instance:
        # Without `atx up`, nobody else does; beside it, runs that have not begun are its own.
        for lost in fail_dead_runs(instance, starting_too=False):
            told.display.say(in_words(lost))
        yield instance


@contextmanager
def _followed(progress: Progress, settings: Settings, told: Telling) -> Iterator[None]:
    def warn(line: str) -> None:
        told.display.warn(f"    {line}")

    # Watched until the last event is told.
    with storage_watched(settings, warn), progress.shown():
        yield


@contextmanager
def _mirrors_apart() -> Iterator[None]:
    """Start what shows a step's output in a session of its own.

    Ctrl-C in a terminal goes to all that we have started there, and Dagster's scripts would each
    show a traceback. Dagster ends them itself with the step, or once we are gone.
    """
    compute_logs: Any = import_module("dagster._core.execution.compute_logs")
    apart = partial(subprocess.Popen, start_new_session=True)
    compute_logs.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": apart})
    try:
        yield
    finally:
        compute_logs.subprocess = subprocess


def _end(instance: dg.DagsterInstance, run_id: str) -> None:
    """Leave no run that seems to be under way where the storage went away under it."""
    run = instance.get_run_by_id(run_id)
    if run and not run.is_finished:
        instance.report_run_failed(run, "Dagster's storage went away under it")


def _job(definitions: dg.Definitions, job: str, select: str) -> dg.JobDefinition:
    if select:
        return definitions.resolve_implicit_global_asset_job_def()
    return definitions.resolve_job_def(job)


def _selected(dg: Any, definitions: dg.Definitions, select: str) -> list[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    names = ", ".join(k.to_user_string() for k in sorted(graph.materializable_asset_keys))
    try:
        found = dg.AssetSelection.from_string(select).resolve(graph)
    except dg.DagsterInvalidSubsetError:
        found = set()
    except dg.DagsterError as error:  # not written in the syntax
        raise AtxError(
            f"--select {select!r} cannot be used ({_first_line(error)}); write for instance "
            f"'key:scored_results+'; the assets are {names}"
        ) from error
    keys = sorted(found & graph.materializable_asset_keys)
    if not keys:
        raise AtxError(f"--select {select!r} names no asset of atx; they are {names}")
    return keys


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
