"""The one place where `os.environ` is written: for what libraries read from nowhere else.

`settle_process` does so where a process of ours begins: `atx` before each command, and whatever
loads the definitions or opens Dagster's storage (code server, run, step, daemon). Two variables
cannot be settled then, and have a function each, with the reason. Nothing is written to pass it
on: settings are arguments, and a child process gets an environment of its own.

Not here: which variables count (`libpq.py`, `mlflow_environment.py`), who is asked without a
proxy (`direct.py`).
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
    """Settle the variables that libraries read; return the names of those that do not count.

    Before anything connects, and before MLflow or Arrow is imported: they read theirs when they
    are. A second call changes nothing more.

    Args:
        bounded_memory: the process will limit its memory (`home/memory.py`). Arrow must then take
            no gigabyte in advance, as it does unless its pool is the system's.

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
    """Have the libraries of this process that read no_proxy ask `host` without a proxy, too.

    Only when `host` is about to be asked, and not at the start of the process. Its name has to be
    looked up, and no other command should wait for that. And a child that inherited the rule could
    not tell it from one of the person's, beside which ours do not count (`direct.is_direct`).
    """
    if rules := direct.rules_with(host):
        os.environ["no_proxy"] = rules


@contextmanager
def impatient_after(seconds: float) -> Iterator[None]:
    """In the block, have MLflow's client wait no longer than a second for an answer, after a while.

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
        hurry.join()  # else it may fire after what comes next
        os.environ[_TIMEOUT] = before


def _have_home() -> None:
    """Give a user whom /etc/passwd does not name the home that containers give such a one.

    Libraries ask for it when they are imported, and would fail in the middle of a run.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"
