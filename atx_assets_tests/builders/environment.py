"""The environment of a process that a test starts, and what every test of processes needs."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from atx_assets.settings import Database
from atx_assets_tests.programs import missing, package_of

#: Seconds to wait for what must come, on a busy machine.
PATIENCE = 400

#: By these a program knows that no person runs it; MLflow then tells its makers nothing.
NO_PERSON = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")

_SETTINGS = ("PG_", "ATX_", "MLFLOW_", "DAGSTER_")
_NAMES = ("PG_HOST", "PG_PORT", "PG_DB", "PG_USER", "PG_PASS", "MLFLOW_HOST", "MLFLOW_PORT")


def bare_environment() -> dict[str, str]:
    """Return the environment of a child process in which no setting of the project is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    # Empty counts as not set, and hides what a developer's own `.env` says.
    return kept | dict.fromkeys((*_NAMES, "DAGSTER_POSTGRES_URL", "ATX_SOURCE"), "")


@contextmanager
def own_logging() -> Iterator[None]:
    """Undo where the program, called in this process, leads what we say."""
    logger = logging.getLogger("atx_assets")
    before = logger.handlers, logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before


def as_settings(server: Database) -> dict[str, str]:
    """Return what the environment says of a database."""
    return {
        "PG_HOST": server.host,
        "PG_PORT": str(server.port),
        "PG_DB": server.name,
        "PG_USER": server.user,
        "PG_PASS": server.password,
    }


def require(program: str) -> None:
    """Skip a test that needs a program which this machine does not have; under CI, fail it."""
    if missing([program]):
        reason = f"{program} is missing: Debian's package {package_of(program)} has it"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def unused_port() -> int:
    """Return a port of this machine at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], Any],
    what: str,
    seconds: float = PATIENCE,
    state: Callable[[], object] = str,
) -> Any:
    """Return what `condition` answers once that is true; fail after some seconds.

    Args:
        condition: is asked again and again.
        what: names what is waited for, in the failure.
        seconds: how long to wait.
        state: answers what helps to find out why it never came.
    """
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"waited in vain for {what} {state()}"
        time.sleep(0.05)
    return answer
