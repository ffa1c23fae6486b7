"""Replacing a file in one step: written beside its place, synced to the disk, and renamed.

Not here: the sums that some files have (`replacing.py`), nor words for a full disk
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
    """Yield a path beside `path` to write to; it replaces `path` when the block ends.

    If the block fails, the previous file stays, and nothing is left beside it. Whatever the umask
    is, only the owner may read the file.

    Args:
        path: the file that is replaced or created.
        alone: the caller holds a lock: what a killed process has left is overwritten.
            Otherwise several may write in parallel, each beside a name of its own.

    Raises:
        OSError: it cannot be written.
    """
    new_file = _beside(path, alone=alone)
    try:
        yield new_file
        with new_file.open("rb") as written:
            os.fsync(written.fileno())
        new_file.replace(path)
    finally:
        new_file.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, *, alone: bool = True) -> None:
    """Replace the whole content of a file by `content`, see `in_one_step`."""
    with in_one_step(path, alone=alone) as new_file:
        new_file.write_bytes(content)


def _beside(path: Path, *, alone: bool) -> Path:
    name = f".{path.name.removeprefix('.')}.new"
    if not alone:
        fd, made = tempfile.mkstemp(dir=path.parent, prefix=f"{name}-")
        os.close(fd)
        return Path(made)
    new_file = path.with_name(name)
    new_file.unlink(missing_ok=True)  # a mode applies only to a new file
    new_file.touch(mode=0o600, exist_ok=False)
    return new_file
