"""The only place that writes `os.environ`: for what libraries read from nowhere else.

`settle_process` does so at the start of each process: `atx` before each command, and whatever
loads the definitions or opens Dagster's storage (code server, run, step, daemon). Two variables
cannot be settled then, and have a function each, with the reason. Nothing is written to pass a
value on: settings are arguments, and a child process gets an environment of its own.

Not here: which variables apply (`libpq.py`, `mlflow_environment.py`), which hosts are reached
without a proxy (`direct.py`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets import direct, libpq, mlflow_environment
from atx_assets.settings import environment

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


def settle_process(*, bounded_memory: bool = False) -> tuple[str, ...]:
    """Settle the variables that libraries read; return the names of those without effect.

    Call it before anything connects, and before MLflow or Arrow is imported: they read theirs at
    import. A second call changes nothing more.

    Args:
        bounded_memory: the process will limit its memory (`home/memory.py`). Then Arrow must not
            reserve a gigabyte in advance, so it has to use the system's pool.

    Raises:
        AtxError: `.env` cannot be read.
    """
    _have_home()
    if bounded_memory:
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    of_libpq = libpq.settled(os.environ, environment())
    of_mlflow = mlflow_environment.ignored(os.environ)
    for name in (*of_libpq.removed, *of_mlflow):
        del os.environ[name]
    for name, value in (of_libpq.added | mlflow_environment.DEFAULTS).items():
        os.environ.setdefault(name, value)
    return of_libpq.ignored + of_mlflow


def keep_direct(host: str) -> None:
    """Make libraries of this process that read no_proxy reach `host` without a proxy.

    Call it just before `host` is reached, not at the start of the process. The name has to be
    looked up, and no other command should wait for that. And a child process would take the
    inherited rule for one of the person's, which overrule ours (`direct.is_direct`).
    """
    if rules := direct.rules_with(host):
        os.environ["no_proxy"] = rules


@contextmanager
def impatient_after(seconds: float) -> Iterator[None]:
    """In the block, lower the timeout of MLflow's client to one second after `seconds`.

    The client reads its timeout from the environment at each request. Its store passes none on, so
    there is no argument for it, and MLflow has no other setting.
    """
    before = os.environ.get(_TIMEOUT, str(mlflow_environment.ANSWER))
    hurry = threading.Timer(seconds, os.environ.__setitem__, (_TIMEOUT, "1"))
    hurry.daemon = True
    hurry.start()
    try:
        yield
    finally:
        hurry.cancel()
        hurry.join()  # otherwise it may fire after the next line
        os.environ[_TIMEOUT] = before


def _have_home() -> None:
    """Set HOME to / for a user without an entry in /etc/passwd, as containers do.

    Libraries need a home folder at import, and would fail in the middle of a run.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
