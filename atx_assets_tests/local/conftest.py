"""Homes for the tests of the embedded servers, which end with the test; and a terminal."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

import pytest


@pytest.fixture
def home(server_folder: Path, end_all_of: Callable[[Path], None]) -> Iterator[Path]:
    """A home that does not exist yet, in a plain path."""
    path = server_folder / "h"
    yield path
    end_all_of(path)


@pytest.fixture
def on_terminal() -> Callable[..., tuple[int, str]]:
    """Runs the program on a terminal of some width; returns its status and all that came there."""
    return _on_terminal


def _on_terminal(*words: str, width: int, **settings: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, width, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, "-m", "atx_assets.cli", *words],
        env=kept | {"TERM": "xterm-256color"} | settings,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # what Linux says when the other side is closed
        while part := os.read(ours, 65536):
            text += part
    os.close(ours)
    return running.wait(60), text.decode()
