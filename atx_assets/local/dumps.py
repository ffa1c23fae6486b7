"""Databases of an embedded server to files and back, by pg_dump and pg_restore.

A dump outlives a major version of PostgreSQL, which the server's own files do not. Not here:
the server (`postgres.py`), nor databases on servers of the owner's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.local.cluster import programs, worst_line
from atx_assets.local.postgres import EmbeddedPostgres

#: Nothing of the caller's, who may have PGOPTIONS or PGSSLMODE for another server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


def server_version(server: EmbeddedPostgres) -> str:
    """Return the version of a running server, such as 18.6."""
    import psycopg

    with psycopg.connect(server.address("postgres")) as connection:
        return str(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]


def databases(server: EmbeddedPostgres) -> list[str]:
    """Return the names of all databases of a running server, but for its templates."""
    import psycopg

    asked = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
    with psycopg.connect(server.address("postgres")) as connection:
        return [name for (name,) in connection.execute(asked)]


def dump(server: EmbeddedPostgres, database: str, file: Path) -> None:
    """Write all that is in a database to `file`, as it is at one moment.

    Raises:
        AtxError: it cannot be read, or the file not be written.
    """
    _run("pg_dump", "--format=custom", f"--file={file}", server.address(database))


def restore(server: EmbeddedPostgres, database: str, file: Path) -> None:
    """Fill a database, made if missing, with what `dump` wrote; all of it or nothing.

    Owners and grants are not in it: the roles that they name may not be there.

    Raises:
        AtxError: it cannot be read or written.
    """
    server.ensure_database(database)
    plain = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    _run("pg_restore", *plain, f"--dbname={server.address(database)}", str(file))


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(programs() / program), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=_ENVIRONMENT,
        check=False,
    )
    if done.returncode:
        raise AtxError(f"{program} gave up: {worst_line(done.stderr)}")
