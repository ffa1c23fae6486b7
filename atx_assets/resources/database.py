"""Connections to PostgreSQL, and its failures in one line with the mend.

Not here: what is read or written through them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atx_assets.errors import AtxError
from atx_assets.settings import Database

if TYPE_CHECKING:
    import psycopg

_CONNECT_SECONDS = 10


def connect(
    database: Database, *, statement_timeout: int, read_only: bool = False
) -> psycopg.Connection:
    """Connect to a database.

    Args:
        database: where it is.
        statement_timeout: seconds that a statement may take.
        read_only: make each transaction read-only, and show it one moment of the database.

    Raises:
        AtxError: it cannot be reached; the line says which setting to look at.
    """
    import psycopg

    try:
        connection = psycopg.connect(
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            password=database.password or None,
            connect_timeout=_CONNECT_SECONDS,
            application_name="atx",
            options=f"-c timezone=UTC -c statement_timeout={statement_timeout * 1000}",
        )
    except psycopg.OperationalError as error:
        raise AtxError(f"cannot connect to {database}: {_why(error, database)}") from error
    if read_only:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    return connection


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Turn PostgreSQL's failures inside the block into one line with the mend.

    Raises:
        AtxError: a statement took too long, a permission is missing, the connection was lost.
    """
    import psycopg
    from psycopg import errors

    try:
        yield
    except errors.QueryCanceled as error:
        raise AtxError(
            f"a statement on {database} took longer than ATX_STATEMENT_TIMEOUT allows: raise it, "
            "or see what keeps the server busy"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise AtxError(
            f"{database}: {_first_line(error)}; GRANT what is missing to {database.user}"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise AtxError(
            f"the connection to {database} was lost ({_first_line(error)}): is the server up? "
            "Nothing was changed; run it again"
        ) from error


def _why(error: psycopg.OperationalError, database: Database) -> str:
    text = _first_line(error)
    # psycopg gives no code for what fails before the session begins.
    for sign, mend in (
        ("password authentication failed", "wrong password or user; check PG_USER and PG_PASS"),
        ("no password supplied", "it wants a password; set PG_PASS"),
        (
            f'database "{database.name}" does not exist',
            f"there is no such database; check PG_DB, or make it with `createdb {database.name}`",
        ),
        ("does not exist", "there is no such user; check PG_USER"),
        ("too many", "it has no connection free; try again, or raise max_connections"),
        ("starting up", "it is starting up; try again in a moment"),
    ):
        if sign in str(error):
            return mend
    return f"{text}; is it up? Check PG_HOST and PG_PORT"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
