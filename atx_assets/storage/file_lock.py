"""One flock(2) lock on an open file, without waiting; the kernel gives it back however we end.

Not here: how long whoever wants it waits, nor what it guards.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from atx_assets.errors import NoLocksError


def take_lock(fd: int, path: Path, *, shared: bool = False) -> None:
    """Lock the open file `fd`, which lies at `path`.

    For an exclusive lock it must be open for writing: NFS refuses it otherwise.

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
            f"{path} cannot be locked ({error.strerror}), and two that write at once would damage "
            "what is there: mount that share with locks (NFS: without nolock; SMB: with nobrl), or "
            "keep it on a disk of this machine"
        ) from error
