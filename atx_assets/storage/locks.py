"""Locks between processes, held on files of the home. Not here: what they guard.

They are flock(2) locks: the kernel lets go of them when their holder dies, however it dies,
so no lock is ever stale and no list of process ids has to be believed.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.storage.file_lock import take_lock

logger = logging.getLogger(__name__)


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Lock `path` without waiting and return the open file that holds the lock, or None.

    The file is close-on-exec: a program started meanwhile does not share the lock.

    Raises:
        AtxError: the file is somebody else's, or its disk has no locks.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise AtxError(
            f"{path} is not ours to open, perhaps made by another user or by root: run atx as the "
            "owner of that folder, or set ATX_HOME to a folder of your own"
        ) from error
    try:
        take_lock(fd, path, shared=shared)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def made_exclusive(fd: int) -> bool:
    """Turn the shared lock of `fd` into an exclusive one; False if others share it.

    Either way the shared lock is gone: this is for those who are about to leave.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Let go of the lock of `fd`, for forked copies of this process too, and close it."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


@contextmanager
def locked(path: Path, *, waiting_for: str, timeout: float | None = None) -> Iterator[None]:
    """Hold the exclusive lock of `path`, waiting for it; say so if that takes seconds.

    Raises:
        AtxError: `timeout` seconds have passed.
    """
    started, told = time.monotonic(), False
    while (fd := try_lock(path)) is None:
        waited = time.monotonic() - started
        if timeout is not None and waited > timeout:
            raise AtxError(f"waited {timeout:.0f} s for {waiting_for}, which has not ended")
        if waited > 5 and not told:
            logger.info("waiting for %s", waiting_for)
            told = True
        time.sleep(0.02)
    try:
        yield
    finally:
        unlock(fd)
