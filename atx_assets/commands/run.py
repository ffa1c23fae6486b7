"""`atx run`: materialises assets without the UI, on the Dagster instance that the UI shows.

Not here: what the assets do, how a run is followed (`commands/output/progress.py`), nor how the
results are summarised (`commands/output/summary.py`).
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
    """What a command prints while it runs, and what it reports at its end."""

    output: Output
    display: Display
    outcome: Outcome = field(default_factory=Outcome)
    found: dict[str, Any] | None = None

    def summarise(
        self, settings: Settings, *, figures: bool = False, usual_data: Path | None = None
    ) -> None:
        """Print the results, or keep them for the JSON object. The arguments are `summary`'s."""
        if self.output is Output.JSON:
            self.found = findings(settings)
        elif self.output is Output.SHOWN:
            for line in summary(settings, figures=figures, usual_data=usual_data):
                self.display.say(line)


@contextmanager
def telling(output: Output) -> Iterator[Telling]:
    """Yield what a command prints with. With JSON, print the object at the end, failed or not."""
    run_output = Telling(output, display(output))
    if output is not Output.JSON:
        yield run_output
        return
    error = ""
    try:
        yield run_output
    except Exception as failure:
        message = " ".join(str(failure).split())
        known = isinstance(failure, AtxError)
        error = message if known else f"{type(failure).__name__}: {message}"
        raise
    except BaseException:  # Ctrl-C, or a signal
        error = STOPPED
        raise
    finally:
        click.echo(json.dumps(_answer(run_output, error), indent=2, default=str))


def _answer(run_output: Telling, error: str) -> dict[str, Any]:
    outcome = run_output.outcome
    return {
        **({"error": error} if error else {}),
        "run_id": outcome.run_id,
        "assets": outcome.assets,
        "checks": outcome.checks,
        "summary": run_output.found,
    }


def run(
    settings: Settings,
    run_output: Telling,
    *,
    job: str = "",
    select: str = "",
    figures: bool = False,
) -> None:
    """Open the home, run a job or the assets that `select` names, and print the results.

    Raises:
        AtxError: see `run_job`; or the home cannot be opened.
    """
    with open_home(settings) as ready:
        run_output.display.say(f"media: {ready.database}")
        run_job(ready, run_output, job=job or "full_rebuild", select=select)
        run_output.summarise(ready, figures=figures)


def run_job(
    settings: Settings, run_output: Telling, *, job: str = "full_rebuild", select: str = ""
) -> None:
    """Run a job, or the assets that `select` names, to the end.

    Args:
        settings: of an open home.
        run_output: shows the progress, and records what was done, even by a failed run.
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

    definitions, outcome = (
        build_defs({"current_settings": given_settings(settings)}),
        run_output.outcome,
    )
    with _instance(settings, run_output) as instance:
        run_id = str(uuid.uuid4())
        made = _job(definitions, job, select)
        selected = _selected(dg, definitions, select) if select else None
        total = len(selected or [*made.asset_layer.executable_asset_keys])
        search = settings.learning.search
        progress = Progress(instance, run_id, total, run_output.display, outcome, search)
        with (
            storage_explained(settings, is_back=lambda: _end(instance, run_id)),
            _mirrors_apart(),
            _followed(progress, settings, run_output),
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
def _instance(settings: Settings, run_output: Telling) -> Iterator[dg.DagsterInstance]:
    from atx_assets.automation.dead_runs import fail_dead_runs, in_words

    ready_stores(settings)
    with open_instance(settings) as instance:
        # Without `atx up` nobody else does. With one, runs that have not started belong to it.
        for lost in fail_dead_runs(instance, starting_too=False):
            run_output.display.say(in_words(lost))
        yield instance


@contextmanager
def _followed(progress: Progress, settings: Settings, run_output: Telling) -> Iterator[None]:
    def warn(line: str) -> None:
        run_output.display.warn(f"    {line}")

    # The storage is watched until the last event is shown.
    with storage_watched(settings, warn), progress.shown():
        yield


@contextmanager
def _mirrors_apart() -> Iterator[None]:
    """Start Dagster's scripts that show a step's output in a session of their own.

    Ctrl-C in a terminal reaches every process started there, and each of those scripts would print
    a traceback. Dagster ends them with the step, or when this process is gone.
    """
    compute_logs: Any = import_module("dagster._core.execution.compute_logs")
    apart = partial(subprocess.Popen, start_new_session=True)
    compute_logs.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": apart})
    try:
        yield
    finally:
        compute_logs.subprocess = subprocess


def _end(instance: dg.DagsterInstance, run_id: str) -> None:
    """Mark a run as failed if it lost its storage: it would seem to be running forever."""
    run = instance.get_run_by_id(run_id)
    if run and not run.is_finished:
        instance.report_run_failed(run, "Dagster's storage went away during the run")


def _job(definitions: dg.Definitions, job: str, select: str) -> dg.JobDefinition:
    if select:
        return definitions.resolve_implicit_global_asset_job_def()
    return definitions.resolve_job_def(job)


def _selected(dg: Any, definitions: dg.Definitions, select: str) -> list[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    names = ", ".join(k.to_user_string() for k in sorted(graph.materializable_asset_keys))
    try:
        selected = dg.AssetSelection.from_string(select).resolve(graph)
    except dg.DagsterInvalidSubsetError:
        selected = set()
    except dg.DagsterError as error:  # not valid in the syntax
        raise AtxError(
            f"--select {select!r} cannot be used ({_first_line(error)}); write for instance "
            f"'key:scored_results+'; the assets are {names}"
        ) from error
    keys = sorted(selected & graph.materializable_asset_keys)
    if not keys:
        raise AtxError(f"--select {select!r} names no asset of atx; they are {names}")
    return keys


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
