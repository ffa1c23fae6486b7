"""Connections to PostgreSQL, and its failures in one line with the mend.

Not here: what is read or written through them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atx_assets.errors import DatabaseError
from atx_assets.libpq import obeyed_names, unasked
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
        DatabaseError: it cannot be reached; the line says which setting to look at.
    """
    import psycopg
    from psycopg.conninfo import make_conninfo

    from atx_assets.sources.read.session import TransactionBound

    try:
        # Without `options`: poolers between us and the server refuse those.
        connection = TransactionBound.connect(
            make_conninfo(**unasked(database.host)) if database.embedded else "",
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            password=database.password or None,
            connect_timeout=_CONNECT_SECONDS,
            application_name="atx",
            # Behind a pooler the next client would meet what this one has prepared.
            prepare_threshold=None,
            client_encoding="UTF8",
            # A server whose machine or network is gone, and that says nothing, is given up after
            # a minute; one that is merely busy is waited for.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=60_000,
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(f"cannot connect to {database}: {_why(error, database)}") from error
    connection.statement_timeout = statement_timeout
    if read_only:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    return connection


@contextmanager
def explained(database: Database) -> Iterator[None]:
    """Turn PostgreSQL's failures inside the block into one line with the mend.

    Raises:
        DatabaseError: a statement took too long, a permission is missing, the connection was lost,
            or the server could not do it, just now or ever.
    """
    import psycopg
    from psycopg import errors

    try:
        with _limits_explained(database):
            yield
    except errors.QueryCanceled as error:
        raise DatabaseError(
            f"a statement on {database} was ended ({_told(error)}): raise ATX_STATEMENT_TIMEOUT "
            "(seconds), or see what keeps the server busy"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{database}: {_told(error)}; GRANT what is missing to {database.user}"
        ) from error
    except errors.ReadOnlySqlTransaction as error:
        raise DatabaseError(
            f"{database} may only be read ({_told(error)}): name its primary server in PG_HOST, "
            "or a user who may write in PG_USER"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if not _is_lost(error):
            raise DatabaseError(
                f"{database} could not do it: {_told(error)}; run it again"
            ) from error
        raise DatabaseError(
            f"the connection to {database} was lost ({_told(error)}): is the server up? "
            "Nothing was changed; run it again"
        ) from error
    except psycopg.Error as error:
        if error.sqlstate in (None, errors.SyntaxError.sqlstate):  # a mistake of ours
            raise
        raise DatabaseError(  # a view that divides by zero, a damaged page, bytes that are no text
            f"{database} answered with an error: {_told(error)}; its log says more"
        ) from error


@contextmanager
def _limits_explained(database: Database) -> Iterator[None]:
    """Say of a limit of the server's what lifts it: to run again meets the same limit.

    Raises:
        DatabaseError: the server has ended a statement or a session for such a limit.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        told = _told(error)
        for sign, fix in _LIMITS:
            if sign in told or sign == error.sqlstate:
                fix = fix.format(user=_quoted(database.user))
                raise DatabaseError(f"{database} could not do it ({told}): {fix}") from error
        raise


def _quoted(name: str) -> str:
    """Return a name as SQL has it."""
    from psycopg import sql

    plain = re.fullmatch("[a-z_][a-z0-9_]*", name)
    return name if plain else sql.Identifier(name).as_string(None)


#: What a server says, or its code where it has one of its own, and the cheapest fix.
_LIMITS = (
    ("25P03", "raise ATX_STATEMENT_TIMEOUT (seconds), which bounds an idle transaction, too"),
    (
        "25P04",
        "a run takes longer than it lets a transaction take: "
        "`ALTER ROLE {user} SET transaction_timeout = '1h'`",
    ),
    # Where the embedded server keeps it: in its data folder.
    ('could not resize shared memory segment "pg_dynshmem/', "make room on the disk of its data"),
    (
        "could not resize shared memory segment",
        "the shared memory of its container is full, not its disk: start the container with "
        "`--shm-size=256m`, or `ALTER ROLE {user} SET max_parallel_workers_per_gather = 0`",
    ),
    (
        "could not open shared memory segment",
        "something removed its shared memory while it ran: restart it; systemd does that at a "
        "logout, and RemoveIPC=no in /etc/systemd/logind.conf stops it",
    ),
    (
        "due to conflict with recovery",
        "it is a standby, whose primary removed what was being read: run it again, or set "
        "hot_standby_feedback = on there",
    ),
)


def _is_lost(error: psycopg.Error) -> bool:
    """Whether the server went away; a full disk or a deadlock are operational errors, too."""
    state = error.sqlstate or "08"
    return state.startswith(("08", "57P"))


def _why(error: psycopg.OperationalError, database: Database) -> str:
    """Say why there is no connection, and what to do.

    A failure before the session begins has no code, so it is known by its words; those of a
    server that speaks another language are given as they are.
    """
    told = str(error)
    name = database.name
    for sign, mend in (
        ("password authentication failed", "wrong password or user; check PG_USER and PG_PASS"),
        ("no password supplied", "it wants a password; set PG_PASS"),
        (
            f'database "{name}" does not exist',
            f"there is no such database; check PG_DB, or make it with `createdb {name}`",
        ),
        ('" does not exist', "there is no such user; check PG_USER"),
        ("too many", "it has no connection free; try again, or raise max_connections"),
        ("connection slots", "it has no connection free; try again, or raise max_connections"),
        ("starting up", "it is starting up; try again in a moment"),
        ("shutting down", "it is shutting down; try again when it is up"),
        ("no pg_hba.conf entry", "it lets nobody in from here; add a line to its pg_hba.conf"),
        ("resolve host", "no host is known by that name; check PG_HOST"),
        ("permission denied for database", f"GRANT CONNECT ON DATABASE {name} to PG_USER"),
    ):
        if sign in told:
            return mend
    names = "" if database.embedded else obeyed_names()
    if "FATAL" in told:
        return f"{_told(error)}; check PG_USER, PG_PASS and PG_DB"
    if names:
        return f"{_told(error)}; is it up? Check PG_HOST and PG_PORT, and {names}, which hold too"
    return f"{_told(error)}; is it up? Check PG_HOST and PG_PORT"


def _told(error: psycopg.Error) -> str:
    """What the server or the client library said, without its position, hint and advice."""
    if error.diag.message_primary:
        return error.diag.message_primary
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Of several addresses of a host, the last one tried; advice is on lines of its own.
    said = [line for line in lines if "failed:" in line] or lines
    return said[-1].rpartition("failed: ")[2] if said else type(error).__name__
