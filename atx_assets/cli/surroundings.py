"""What a shell, cron or a service manager leaves a command: its streams, its folder.

Not here: its settings, nor its environment (`process_environment.py`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

import click


def open_closed_streams() -> None:
    """Give the streams that were closed (`>&-`) the null device.

    Python has none in their place, which every question whether it is a terminal would break; and
    the next files that are opened would get their numbers, and what C libraries print with them.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one, as those below are open by now.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            if getattr(sys, name) is None:
                setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", closefd=False))


def explain_failure(error: Exception) -> str:
    """Return the line for a failure of the surroundings, empty for one of anything else."""
    if not isinstance(error, OSError):
        return ""
    if isinstance(error, FileNotFoundError) and _folder_is_gone():
        return "the current folder is gone: `cd` to one that is there"
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
    """Whether it was click that failed to print: the error itself names no file."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is click.echo.__code__
