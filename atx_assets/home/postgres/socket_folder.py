"""The folder of the PostgreSQL server's Unix socket, ours alone. Its path: `embedded.py`."""

import contextlib
import os
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.home.postgres.server_user import ServerUser, user_name


def make_private(folder: Path, user: ServerUser) -> None:
    """Make `folder` for `user` alone.

    Raises:
        AtxError: somebody else has made it.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if os.geteuid() == 0 and found.st_uid == 0 and folder.is_dir() and not folder.is_symlink():
        user.own(folder)
        found = folder.lstat()
    # Anybody can make a folder under /tmp: one who waits there would be taken for our server.
    if folder.is_symlink() or not folder.is_dir() or found.st_uid != user.uid:
        raise AtxError(
            f"{folder}, where the socket of PostgreSQL belongs, is somebody else's "
            f"({user_name(found.st_uid)}'s): set ATX_HOME to a shorter path, or have that user "
            "remove it"
        )
    folder.chmod(0o700)


def is_private(folder: Path, data: Path) -> bool:
    """Whether `folder` is a true folder of the data's owner, so that its socket is our server's."""
    try:
        return not folder.is_symlink() and folder.lstat().st_uid == data.stat().st_uid
    except OSError:
        return False
