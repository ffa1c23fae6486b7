"""Whether a file is still the one that was written: its sha256, in a hidden file beside it.

A disk or a copy that turns one bit leaves most files readable, with another number in them.
Parquet's own checksums leave out all but its pages, and JSON has none; so each file has one for
the whole. Reading costs half a second a gigabyte for it. Not here: replacing a file in one step
(`files.py`), the files that make a model (`bundle.py`, which keeps their sums in `bundle.json`).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def sums_of(path: Path) -> Path:
    """Return where the sums of a file are: `.media.parquet.sha256` beside `media.parquet`."""
    return path.with_name(f".{path.name}.sha256")


def announce(path: Path, coming: Path) -> None:
    """Put down the sum of what is about to take the place of `path`.

    Called before it does. The sum of what is there now stays beside it: whoever is killed
    between the two leaves a file that is known, be it the old one or the new. A file that was
    damaged is not made a good one by that.
    """
    known = [_sum(coming)]
    if path.exists() and not is_damaged(path):
        known.append(_sum(path))
    sums = sums_of(path)
    beside = sums.with_name(f"{sums.name}.new")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.writelines(f"{one}\n" for one in dict.fromkeys(known))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(sums)
    finally:
        beside.unlink(missing_ok=True)


def is_damaged(path: Path) -> bool:
    """Say whether a file is another one than was written.

    One that has no sums, of an earlier atx or put there by hand, is taken as it is.

    Raises:
        OSError: it cannot be read.
    """
    # The file first: one that is replaced meanwhile is among the sums that are read then.
    found = _sum(path)
    try:
        known = sums_of(path).read_text(encoding="ascii", errors="replace").split()
    except FileNotFoundError:
        return False
    return found not in known


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
