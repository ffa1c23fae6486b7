"""Locks between processes, held on files. Not here: what they protect.

They are flock(2) locks: the kernel releases them when their holder dies, in whatever way,
so no lock is ever stale and atx need not trust a list of process ids.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets.errors import AtxError, NoLocksError

logger = logging.getLogger(__name__)


def take_lock(fd: int, path: Path, *, shared: bool = False) -> None:
    """Lock the open file `fd`, whose path is `path`.

    For an exclusive lock it must be open for writing: otherwise NFS refuses.

    Raises:
        BlockingIOError: another process holds it.
        NoLocksError: files on that disk cannot be locked, as on some network shares.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise NoLocksError(
            f"{path} cannot be locked ({error.strerror}), and processes that write in parallel "
            "would damage what is there: mount that share with locks (NFS: without nolock; SMB: "
            "with nobrl), or keep it on a disk of this machine"
        ) from error


def wait_for_lock(
    fd: int,
    path: Path,
    *,
    seconds: float | None = None,
    waiting: Callable[[], None] = lambda: None,
    patience: float = 0.0,
    pause: float = 0.02,
) -> bool:
    """Lock the open file `fd` exclusively, see `take_lock`; False if others held it too long.

    Args:
        fd: is open for writing.
        path: its path.
        seconds: how long to wait; forever if None.
        waiting: is called once, if it takes longer than `patience` seconds.
        patience: seconds.
        pause: seconds between two tries.

    Raises:
        NoLocksError: files on that disk cannot be locked.
    """
    started, called = time.monotonic(), False
    while True:
        try:
            take_lock(fd, path)
        except BlockingIOError:
            waited = time.monotonic() - started
            if seconds is not None and waited > seconds:
                return False
            if waited >= patience and not called:
                called = True
                waiting()
            time.sleep(pause)
        else:
            return True


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Lock `path` without waiting and return the open file that holds the lock, or None.

    The file is close-on-exec: a program started meanwhile does not share the lock.

    Raises:
        AtxError: the file belongs to somebody else, or its disk has no locks.
    """
    fd = _opened(path)
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

    In both cases the shared lock is gone: only for callers that are about to end.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Release the lock of `fd`, for forked copies of this process too, and close it."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


@contextmanager
def locked(path: Path, *, waiting_for: str, timeout: float | None = None) -> Iterator[None]:
    """Hold the exclusive lock of `path`, waiting for it; log it if that takes seconds.

    Raises:
        AtxError: `timeout` seconds have passed.
    """

    def log_waiting() -> None:
        logger.info("waiting for %s", waiting_for)

    fd = _opened(path)
    try:
        if not wait_for_lock(fd, path, seconds=timeout, waiting=log_waiting, patience=5):
            raise AtxError(f"waited {timeout:.0f} s for {waiting_for}, which has not ended")
    except BaseException:
        os.close(fd)
        raise
    try:
        yield
    finally:
        unlock(fd)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise AtxError(
            f"{path} cannot be opened, perhaps because another user or root made it: run atx as "
            "the owner of that folder, or set ATX_HOME to a folder of your own"
        ) from error
