"""Dagster's and MLflow's own programs, with the guard inside their web servers.

    python -m atx_assets.web.guarded dagster dev ...
    python -m atx_assets.web.guarded mlflow server ...

Both start their web server as a process of its own, by a command line that nothing can change from
outside; here that command is one of ours. `atx up` asks each server as a stranger before it calls
it open, so that a version that starts it otherwise cannot go unnoticed. Not here: who is refused
(`guard.py`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from atx_assets.settings import read_settings
from atx_assets.web.guard import Guard, Hosts

if TYPE_CHECKING:
    from subprocess import Popen

    from starlette.middleware import Middleware

_SELF = "atx_assets.web.guarded"


def command(program: str, *words: str) -> list[str]:
    """Return the command line of `program` (dagster, mlflow) with its web server guarded."""
    return [sys.executable, "-m", _SELF, program, *words]


def main() -> None:
    """Run the program that the command line names, as if it had been called itself."""
    program = _PROGRAMS[sys.argv[1]]
    del sys.argv[0]
    program()


def mlflow_app() -> Guard:
    """Return MLflow's app behind the guard, as uvicorn takes it."""
    from mlflow.server.fastapi_app import app

    settings = read_settings()
    return Guard(app, Hosts.of(settings, settings.mlflow_port))


def _dagster() -> None:
    def guarded(start: Callable[..., Popen[bytes]]) -> Callable[..., Popen[bytes]]:
        def start_guarded(words: Sequence[str], **options: Any) -> Popen[bytes]:
            if list(words[1:3]) == ["-m", "dagster_webserver"]:
                words = command("dagster_webserver", *words[3:])
            return start(words, **options)

        return start_guarded

    _replace("dagster._cli.dev", "open_ipc_subprocess", guarded)
    importlib.import_module("dagster._cli").main()


def _dagster_webserver() -> None:
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.middleware import Middleware

    settings = read_settings()
    first = Middleware(Guard, hosts=Hosts.of(settings, settings.ui_port))
    build = DagsterWebserver.build_middleware

    def build_guarded(self: DagsterWebserver[Any, Any]) -> list[Middleware]:
        return [first, *build(self)]

    DagsterWebserver.build_middleware = build_guarded  # type: ignore[method-assign]
    importlib.import_module("dagster_webserver.cli").main()


def _mlflow() -> None:
    def guarded(start: Callable[..., Any]) -> Callable[..., Any]:
        def start_guarded(words: Sequence[str], **options: Any) -> Any:
            *before, app = words
            if app == "mlflow.server.fastapi_app:app":
                words = [*before, "--factory", f"{_SELF}:mlflow_app"]
            return start(words, **options)

        return start_guarded

    _replace("mlflow.server", "_exec_cmd", guarded)
    importlib.import_module("mlflow.cli").cli()


def _replace(module: str, name: str, change: Callable[[Any], Any]) -> None:
    """Change a function of somebody else's module, which fails if it is not there."""
    found = importlib.import_module(module)
    setattr(found, name, change(getattr(found, name)))


_PROGRAMS = {"dagster": _dagster, "dagster_webserver": _dagster_webserver, "mlflow": _mlflow}

if __name__ == "__main__":
    main()
