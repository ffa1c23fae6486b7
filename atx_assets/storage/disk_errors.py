"""Why a file cannot be read or written, and how to fix it, in words for a person.

Not here: writing (`in_one_step.py`, `replacing.py`), nor what a file should hold.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets.errors import FileError

#: Why a file cannot be written, and how to fix it. Other causes have no words here.
_UNWRITABLE = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "your disk quota is used up: make room",
    errno.EFBIG: "the file is larger than the limit: raise the limit (`ulimit -f`)",
    errno.EROFS: "the disk is read-only: mount it for writing",
    errno.EACCES: "permission denied: change the owner of the folder",
    errno.EPERM: "permission denied: change the owner of the folder",
    errno.ENOENT: "its folder is gone: run it again",
    errno.ENOTDIR: "a file is in the place of its folder: move it away",
    errno.EEXIST: "a file is in the place of its folder: move it away",
    errno.EIO: "the disk fails: check it",
}


def why_unusable(error: OSError) -> str:
    """Return why a file cannot be written, and how to fix it; else the system's own words."""
    return _UNWRITABLE.get(error.errno or 0) or error.strerror or type(error).__name__


def why_unreadable(error: OSError) -> str:
    """Return why a file cannot be read, and how to fix it. The file may still be whole."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied: change its owner"
    if error.errno == errno.EIO:
        return _UNWRITABLE[errno.EIO]
    return f"{error.strerror}: check what is there"


@contextmanager
def writable(path: Path, setting: str = "ATX_DATA_DIR") -> Iterator[None]:
    """Raise a one-line error if the block cannot write `path`, a file or a folder.

    Raises:
        FileError: see `_UNWRITABLE`.
    """
    try:
        yield
    except OSError as error:
        fix = _UNWRITABLE.get(error.errno or 0)
        if fix is None:
            raise
        raise FileError(
            f"{path} cannot be written ({fix}, or set {setting}); what was there stays in place"
        ) from error
