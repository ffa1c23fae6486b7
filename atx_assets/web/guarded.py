"""Dagster's and MLflow's web applications behind the guard, as `atx up` starts them.

Dagster's is served from here, because its own program cannot put another application in front.
MLflow's program accepts one by name, like a plugin (`mlflow.app` in `pyproject.toml`).
`atx up` sends each server a stranger's request before it reports it as started: a version that
serves its application in another way does not go unnoticed. Not here: who is refused (`guard.py`),
and when they are started (`dagster_processes.py`, `up.py`).
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

#: The limits of Dagster's own webserver for its storage: milliseconds for a statement, seconds
#: until a connection is replaced, and connections beyond the pool.
_STATEMENT, _RECYCLE, _OVERFLOW = 15_000, 3600, 20


def dagster_command(workspace: Path, code_server: Path | None = None) -> list[str]:
    """Return the command line that serves Dagster's UI for the code locations of a file.

    Args:
        workspace: the file, in the format of Dagster's own programs.
        code_server: a socket that must accept connections before the locations are loaded.
    """
    words = [str(workspace), *([str(code_server)] if code_server else [])]
    return [sys.executable, "-m", "atx_assets.web.guarded", *words]


def mlflow_app() -> Guard:
    """Return MLflow's app behind the guard, for uvicorn."""
    from mlflow.server.fastapi_app import app

    settings = read_settings()
    return Guard(app, Hosts.of(settings, settings.mlflow_port))


def main() -> None:
    """Serve Dagster's UI until a signal ends it; `dagster_command` builds the command line."""
    # Imported here, while the code server loads our code: both take seconds.
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
