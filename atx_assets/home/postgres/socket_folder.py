"""The private folder of the PostgreSQL server's Unix socket. Not here: its path (`embedded.py`)."""

import contextlib
import os
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.home.postgres.server_user import ServerUser, user_name


def make_private(folder: Path, user: ServerUser) -> None:
    """Create `folder`, which only `user` can enter.

    Raises:
        AtxError: another user has created it.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if os.geteuid() == 0 and status.st_uid == 0 and folder.is_dir() and not folder.is_symlink():
        user.own(folder)
        status = folder.lstat()
    # Anybody can create a folder under /tmp, and clients would take a server there for ours.
    if folder.is_symlink() or not folder.is_dir() or status.st_uid != user.uid:
        raise AtxError(
            f"{folder}, the folder of PostgreSQL's socket, belongs to another user "
            f"({user_name(status.st_uid)}): set ATX_HOME to a shorter path, or have that user "
            "remove it"
        )
    folder.chmod(0o700)


def is_private(folder: Path, data: Path) -> bool:
    """Return whether the data's owner also owns `folder`, so that its socket is our server's."""
    try:
        return not folder.is_symlink() and folder.lstat().st_uid == data.stat().st_uid
    except OSError:
        return False
