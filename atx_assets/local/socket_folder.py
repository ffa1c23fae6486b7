"""The folder of the PostgreSQL server's Unix socket: a short, plain path that is ours alone."""

import contextlib
import hashlib
import os
import re
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.local.server_user import ServerUser, user_name

#: sun_path holds 104 bytes on macOS and 108 on Linux, its closing zero included.
_LONGEST_SOCKET = 100


def socket_folder(data: Path, port: int) -> Path:
    """Return the data folder itself, or a short one where its path cannot be a socket's.

    Besides a long path that is one with anything but plain characters: libpq takes a comma for
    two hosts, and a space or % has to be escaped differently in every client's URL.
    """
    socket = data / f".s.PGSQL.{port}"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET and re.fullmatch(r"[A-Za-z0-9/._-]+", str(data)):
        return data
    # Not tempfile.gettempdir(): all who use this home must come to the same folder.
    return Path("/tmp") / f"atx-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"  # noqa: S108


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
