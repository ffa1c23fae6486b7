"""Replacing a file whose sum is kept, in one step; a disk that is full is said in a line.

Not here: the step itself (`in_one_step.py`), the sums (`checksums.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from atx_assets.storage.checksums import announce
from atx_assets.storage.disk_errors import writable
from atx_assets.storage.in_one_step import in_one_step


@contextmanager
def replacing(
    path: Path, setting: str, made_from: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` in one step.

    See `in_one_step`. Only one run at a time holds the folder.

    Args:
        path: what is replaced, or made.
        setting: the one that says where it is.
        made_from: the sums of what it is made from, by name, which its file of sums keeps.

    Raises:
        FileError: the disk is full or read-only, or the folder is gone.
    """
    with writable(path, setting):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with in_one_step(path) as beside:
            yield beside
            announce(path, beside, made_from)
