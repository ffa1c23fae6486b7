"""Replacing a file in one step: written beside its place, put on the disk, and renamed.

Not here: the sums that are kept of some files (`replacing.py`), nor words for a disk that is full
(`disk_errors.py`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_one_step(path: Path, *, alone: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` when the block ends.

    When the block fails, what was there stays, and nothing is left beside it. Whatever the umask
    is, nobody but its owner may read it.

    Args:
        path: what is replaced, or made.
        alone: whoever writes it holds a lock. What a process that was killed has left is then
            written over. Else several may write at once, each beside a name of its own.

    Raises:
        OSError: it cannot be written.
    """
    beside = _beside(path, alone=alone)
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, *, alone: bool = True) -> None:
    """Make `content` all that a file holds, see `in_one_step`."""
    with in_one_step(path, alone=alone) as beside:
        beside.write_bytes(content)


def _beside(path: Path, *, alone: bool) -> Path:
    name = f".{path.name.removeprefix('.')}.new"
    if not alone:
        fd, made = tempfile.mkstemp(dir=path.parent, prefix=f"{name}-")
        os.close(fd)
        return Path(made)
    beside = path.with_name(name)
    beside.unlink(missing_ok=True)  # a mode is only given to a file that is made
    beside.touch(mode=0o600, exist_ok=False)
    return beside
