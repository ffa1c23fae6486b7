"""Dagster's and MLflow's web applications behind the guard, as `atx up` starts them.

Dagster's is served from here: its own program has no place for another application in front.
MLflow's program takes one by name, as its plugins do (`mlflow.app` in `pyproject.toml`).
`atx up` asks each server as a stranger before it calls it open, so that a version that serves its
application in another way cannot go unnoticed. Not here: who is refused (`guard.py`), and when
they are started (`dagster_processes.py`, `up.py`).
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from atx_assets.settings import read_settings
from atx_assets.web.guard import Guard, Hosts
from atx_assets.web.processes import accepts

if TYPE_CHECKING:
    import dagster as dg

#: What Dagster's own webserver asks of its storage: milliseconds for a statement, seconds for
#: which a connection is used, and connections beyond the pool.
_STATEMENT, _RECYCLE, _OVERFLOW = 15_000, 3600, 20


def dagster_command(workspace: Path, code_server: Path | None = None) -> list[str]:
    """Return the command line that serves Dagster's UI for the code locations of a file.

    Args:
        workspace: the file, as Dagster's own programs take it.
        code_server: a socket that has to take connections before the locations are asked for.
    """
    words = [str(workspace), *([str(code_server)] if code_server else [])]
    return [sys.executable, "-m", "atx_assets.web.guarded", *words]


def mlflow_app() -> Guard:
    """Return MLflow's app behind the guard, as uvicorn takes it."""
    from mlflow.server.fastapi_app import app

    settings = read_settings()
    return Guard(app, Hosts.of(settings, settings.mlflow_port))


def main() -> None:
    """Serve Dagster's UI until a signal ends it; the command line is `dagster_command`'s."""
    # Imported while the code server loads our code, with which each of them takes seconds.
    import dagster as dg
    import dagster_webserver.app  # noqa: F401
    import uvicorn  # noqa: F401

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    workspace, *code_server = map(Path, sys.argv[1:])
    while code_server and not accepts(code_server[0]):
        time.sleep(0.1)
    with dg.DagsterInstance.get() as instance:
        _serve(instance, workspace)


def _serve(instance: dg.DagsterInstance, workspace: Path) -> None:
    import uvicorn
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    settings = read_settings()
    instance.optimize_for_webserver(_STATEMENT, _RECYCLE, _OVERFLOW)
    locations = WorkspaceFileTarget(paths=[str(workspace)])
    with WorkspaceProcessContext(instance, locations, version=__version__) as context:
        app = create_app_from_workspace_process_context(context)
        guarded = Guard(app, Hosts.of(settings, settings.ui_port))
        uvicorn.run(guarded, host=settings.bind, port=settings.ui_port, log_level="warning")


if __name__ == "__main__":
    main()
