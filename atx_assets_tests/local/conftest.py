"""Homes for the tests of the embedded servers; whatever still runs in them ends with the test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from atx_assets.local.cluster import Cluster


@pytest.fixture
def home(server_folder: Path) -> Iterator[Path]:
    """A home that does not exist yet, in a plain path."""
    path = server_folder / "h"
    yield path
    end_all_of(path)


def processes_of(home: Path) -> list[psutil.Process]:
    """The processes that have `home` in their command or as ATX_HOME in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = str(home) in " ".join(process.cmdline())
            ours = ours or process.environ().get("ATX_HOME") == str(home)
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_all_of(home: Path) -> None:
    """End every process group of the home and its PostgreSQL server, however the test went."""
    cluster = Cluster(home.resolve())
    if cluster.lives:
        cluster.stop()
    for process in processes_of(home):
        try:
            if os.getpgid(process.pid) != os.getpgid(0):
                os.killpg(os.getpgid(process.pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
