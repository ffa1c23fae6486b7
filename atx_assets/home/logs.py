"""Keeps the log files in `<home>/logs` small, and reads the cause of a failure from them."""

import contextlib
import os
import re
import shutil
from pathlib import Path

_LARGEST = 5_000_000


def trim(log: Path, largest: int = _LARGEST) -> None:
    """Move the content of a log of more than `largest` bytes to `<log>.1`.

    The file itself is emptied, not renamed: whoever appends to it goes on. It is emptied even if
    the disk has no room for `<log>.1`.
    """
    # A log that cannot be trimmed only grows: that must not end anything.
    with contextlib.suppress(OSError):
        if log.stat().st_size <= largest:
            return
        before = log.with_name(log.name + ".1")
        before.unlink(missing_ok=True)  # on a full disk this makes room for the copy
        try:
            shutil.copyfile(log, before)
        except OSError:
            before.unlink(missing_ok=True)
        os.truncate(log, 0)


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last non-blank lines of `log`, joined into one of at most 500 characters."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the colours of a terminal
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:])[-500:] or "(empty)"
