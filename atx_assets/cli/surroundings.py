"""What a command inherits from a shell, cron or a service manager: its streams, its folder.

Not here: its settings, nor its environment (`process_environment.py`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

import click


def open_closed_streams() -> None:
    """Open the null device for each standard stream that was closed (`>&-`).

    Python sets such a stream to None, on which every `isatty()` fails. And the next file that is
    opened would get the stream's number, and with it whatever C libraries print.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one: those below it are open by now.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", closefd=False))


def explain_failure(error: Exception) -> str:
    """Return the line for a failure of the surroundings; empty for any other failure."""
    if not isinstance(error, OSError):
        return ""
    if isinstance(error, FileNotFoundError) and _folder_is_gone():
        return "the current folder is gone: `cd` to one that exists"
    if _is_of_output(error.__traceback__):
        from atx_assets.storage.disk_errors import why_unusable

        return f"the output cannot be written: {why_unusable(error)}"
    return ""


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _is_of_output(trace: TracebackType | None) -> bool:
    """Return whether click failed to print: the error itself names no file."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is click.echo.__code__
