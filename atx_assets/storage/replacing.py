"""Replacing a file that has a recorded sum, in one step; a full disk gives a one-line error.

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
    """Yield a path beside `path` to write to; it replaces `path` in one step.

    See `in_one_step`. Only one run at a time holds the folder.

    Args:
        path: the file that is replaced or created.
        setting: the setting for its place.
        made_from: the sums of what it is made from, by name, for its file of sums.

    Raises:
        FileError: the disk is full or read-only, or the folder is gone.
    """
    with writable(path, setting):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with in_one_step(path) as new_file:
            yield new_file
            announce(path, new_file, made_from)
