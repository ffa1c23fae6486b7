"""Dumps databases of an embedded server to files and restores them, with pg_dump and pg_restore.

A dump outlives a major version of PostgreSQL; the server's own files do not. Not here: the server
(`server.py`), what counts as code (`database_code.py`), nor databases on the owner's servers.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.home.postgres.cluster import programs, worst_line
from atx_assets.home.postgres.database_code import code_in
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.plain_text import shown

#: The role that fills a database from a dump.
_RESTORER = "atx_restoring"

#: Nothing of the caller's environment: PGOPTIONS or PGSSLMODE may be set for another server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


def server_version(server: EmbeddedPostgres) -> str:
    """Return the version of a running server, such as 18.6."""
    import psycopg

    with psycopg.connect(server.address("postgres")) as connection:
        return str(connection.execute("SHOW server_version").fetchone()[0])  # type: ignore[index]


def databases(server: EmbeddedPostgres) -> list[str]:
    """Return the names of all databases of a running server, without its templates."""
    import psycopg

    query = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
    with psycopg.connect(server.address("postgres")) as connection:
        return [name for (name,) in connection.execute(query)]


def dump(server: EmbeddedPostgres, database: str, file: Path) -> None:
    """Write everything in a database to `file`, as of one moment.

    Raises:
        AtxError: the database cannot be read, or the file cannot be written.
    """
    _run("pg_dump", "--format=custom", f"--file={file}", server.address(database))


def code_inside(server: EmbeddedPostgres, database: str) -> list[str]:
    """Name the code in a database that is not atx's own; see `code_in`."""
    import psycopg

    with psycopg.connect(server.address(database)) as connection:
        return code_in(connection)


def restore(
    server: EmbeddedPostgres, database: str, file: Path, *, trust_code: bool = False
) -> None:
    """Fill a database, created if missing, with what `dump` wrote; all of it or nothing.

    A dump is a program: its statements are run, and the objects they create may hold more code. So
    a role that may only create objects in this database runs them, and the result is checked before
    the superuser, as which atx works, uses or owns any of it. The role is dropped afterwards.
    Owners and grants are not restored: the roles that they name may not exist.

    Args:
        server: discarded by the caller if this fails.
        database: its name.
        file: the dump.
        trust_code: run the whole dump as the superuser, and accept code.

    Raises:
        AtxError: the dump cannot be read or written, or holds code.
    """
    server.ensure_database(database)
    plain = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    if trust_code:
        _run("pg_restore", *plain, f"--dbname={server.address(database)}", str(file))
        return
    with _restorer(server, database):
        into = server.address(database, user=_RESTORER)
        _run("pg_restore", *plain, f"--dbname={into}", str(file))
        if found := code_inside(server, database):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise AtxError(
                f"it holds code that would run as you when database {shown(database)} is used: "
                f"{shown(found[0])}{more}; if you made this backup yourself and know what that is, "
                "restore it with --trust-code"
            )


@contextmanager
def _restorer(server: EmbeddedPostgres, database: str) -> Iterator[None]:
    """Create a role that may create objects in one database; at the end the superuser owns them."""
    import psycopg
    from psycopg import sql

    # Not the database's owner, who could change the settings of every later session.
    before = sql.SQL(
        "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {database} TO {role};"
        " GRANT CREATE ON SCHEMA public TO {role}"
    )
    after = sql.SQL(
        "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
    )
    names = {"role": sql.Identifier(_RESTORER), "database": sql.Identifier(database)}
    with psycopg.connect(server.address(database)) as connection:
        connection.execute(before.format(**names))
    yield
    with psycopg.connect(server.address(database)) as connection:
        connection.execute(after.format(**names))


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
        raise AtxError(f"{program} failed: {shown(worst_line(done.stderr), 300)}")
