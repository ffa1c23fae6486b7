"""The log files in `<home>/logs`: kept small, and read back for the cause of a failure."""

import contextlib
import os
import re
import shutil
from pathlib import Path

_LARGEST = 5_000_000


def trim(log: Path, largest: int = _LARGEST) -> None:
    """Move what is in a log of more than `largest` bytes to `<log>.1`.

    The file itself is emptied and not renamed: whoever writes to it (appending) goes on. Where
    there is no room for `<log>.1`, it is emptied all the same.
    """
    # What cannot be trimmed grows on: that ends nothing.
    with contextlib.suppress(OSError):
        if log.stat().st_size <= largest:
            return
        before = log.with_name(log.name + ".1")
        before.unlink(missing_ok=True)  # on a full disk it makes room for the copy
        try:
            shutil.copyfile(log, before)
        except OSError:
            before.unlink(missing_ok=True)
        os.truncate(log, 0)


def last_lines(log: Path, count: int = 3) -> str:
    """Return the last lines of `log` that are not blank, in one line of at most 500 characters."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the colours of a terminal
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:])[-500:] or "(empty)"
