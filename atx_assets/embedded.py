"""Where the embedded PostgreSQL of a home listens: a Unix socket with a short, plain path.

By this path the settings tell our own server from others. Not here: the server (`home/postgres/`).
"""

import hashlib
import os
import re
from pathlib import Path

#: The number in the socket's name.
PORT = 5432

#: sun_path holds 104 bytes on macOS and 108 on Linux, its closing zero included.
_LONGEST_SOCKET = 100


def data_folder(home: Path) -> Path:
    """Return the folder of the server's data, with the home's links resolved."""
    return home.resolve() / "postgres"


def socket_folder(data: Path) -> Path:
    """Return the data folder itself, or a short one if its path cannot hold a socket.

    That is a path that is too long, or has other than plain characters: libpq reads a comma as two
    hosts, and a space or % must be escaped differently in every client's URL.
    """
    socket = data / f".s.PGSQL.{PORT}"
    if len(os.fsencode(socket)) <= _LONGEST_SOCKET and re.fullmatch(r"[A-Za-z0-9/._-]+", str(data)):
        return data
    # Not tempfile.gettempdir(): every process of this home must compute the same folder.
    return Path("/tmp") / f"atx-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"  # noqa: S108
