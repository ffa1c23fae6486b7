"""A terminal of some width, on which the program runs as a person sees it."""

import contextlib
import os
import pty
import subprocess
from collections.abc import Callable
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

import pytest

from atx_assets_tests.builders.program import ATX


@pytest.fixture
def on_terminal() -> Callable[..., tuple[int, str]]:
    """Runs the program on a terminal of some width; returns its status and all that came there."""
    return _on_terminal


def _on_terminal(*words: str, width: int, **settings: str) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, width, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    running = subprocess.Popen(
        [*ATX, *words],
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
