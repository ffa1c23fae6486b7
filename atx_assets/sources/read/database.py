"""Connections to PostgreSQL, and its failures in one line with how to fix them.

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
        read_only: make each transaction read-only, with one consistent snapshot of the database.

    Raises:
        DatabaseError: it cannot be reached; the line says which setting to check.
    """
    import psycopg
    from psycopg.conninfo import make_conninfo

    from atx_assets.sources.read.session import TransactionBound

    try:
        # Without `options`: poolers in between refuse those.
        connection = TransactionBound.connect(
            make_conninfo(**unasked(database.host)) if database.embedded else "",
            host=database.host,
            port=database.port,
            dbname=database.name,
            user=database.user,
            password=database.password or None,
            connect_timeout=_CONNECT_SECONDS,
            application_name="atx",
            # Behind a pooler the next client would get what this one has prepared.
            prepare_threshold=None,
            client_encoding="UTF8",
            # If the server's machine or network is gone and nothing answers, give up after a
            # minute; a busy server is waited for.
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
    """Turn PostgreSQL's failures inside the block into one line with how to fix them.

    Raises:
        DatabaseError: a statement took too long, a permission is missing, the connection was lost,
            or the server failed, temporarily or for good.
    """
    import psycopg
    from psycopg import errors

    try:
        with _limits_explained(database):
            yield
    except errors.QueryCanceled as error:
        raise DatabaseError(
            f"{database} ended a statement ({_message(error)}): raise ATX_STATEMENT_TIMEOUT "
            "(seconds), or see what keeps the server busy"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"{database}: {_message(error)}; GRANT what is missing to {database.user}"
        ) from error
    except errors.ReadOnlySqlTransaction as error:
        raise DatabaseError(
            f"{database} is read-only ({_message(error)}): name its primary server in PG_HOST, "
            "or a user who may write in PG_USER"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if not _is_lost(error):
            raise DatabaseError(
                f"{database} could not do it: {_message(error)}; run it again"
            ) from error
        raise DatabaseError(
            f"the connection to {database} was lost ({_message(error)}): is the server up? "
            "Nothing was changed; run it again"
        ) from error
    except psycopg.Error as error:
        if error.sqlstate in (None, errors.SyntaxError.sqlstate):  # a bug of ours
            raise
        raise DatabaseError(  # a view that divides by zero, a damaged page, invalid bytes in text
            f"{database} answered with an error: {_message(error)}; its log says more"
        ) from error


@contextmanager
def _limits_explained(database: Database) -> Iterator[None]:
    """Say how to raise a limit of the server: running again would only meet the same limit.

    Raises:
        DatabaseError: the server ended a statement or a session because of such a limit.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        message = _message(error)
        for sign, fix in _LIMITS:
            if sign in message or sign == error.sqlstate:
                fix = fix.format(user=_quoted(database.user))
                raise DatabaseError(f"{database} could not do it ({message}): {fix}") from error
        raise


def _quoted(name: str) -> str:
    """Return a name quoted as in SQL."""
    from psycopg import sql

    plain = re.fullmatch("[a-z_][a-z0-9_]*", name)
    return name if plain else sql.Identifier(name).as_string(None)


#: What a server says, or its error code if it has one of its own, and the cheapest fix.
_LIMITS = (
    ("25P03", "raise ATX_STATEMENT_TIMEOUT (seconds), which limits idle transactions, too"),
    (
        "25P04",
        "a run takes longer than the server allows a transaction: "
        "`ALTER ROLE {user} SET transaction_timeout = '1h'`",
    ),
    # The embedded server keeps it in its data folder.
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
    """Return whether the server went away; a full disk or deadlock is an operational error, too."""
    state = error.sqlstate or "08"
    return state.startswith(("08", "57P"))


def _why(error: psycopg.OperationalError, database: Database) -> str:
    """Say why there is no connection, and what to do.

    A failure before the session begins has no code, so its words identify it; messages of a
    server in another language are returned unchanged.
    """
    message = str(error)
    name = database.name
    for sign, fix in (
        ("password authentication failed", "wrong password or user; check PG_USER and PG_PASS"),
        ("no password supplied", "the server wants a password; set PG_PASS"),
        (
            f'database "{name}" does not exist',
            f"no such database; check PG_DB, or make it with `createdb {name}`",
        ),
        ('" does not exist', "no such user; check PG_USER"),
        ("too many", "no connection is free; try again, or raise max_connections"),
        ("connection slots", "no connection is free; try again, or raise max_connections"),
        ("starting up", "the server is starting up; try again in a moment"),
        ("shutting down", "the server is shutting down; try again when it is up"),
        ("no pg_hba.conf entry", "the server refuses this machine; add a line to its pg_hba.conf"),
        ("resolve host", "no such host; check PG_HOST"),
        ("permission denied for database", f"GRANT CONNECT ON DATABASE {name} to PG_USER"),
    ):
        if sign in message:
            return fix
    names = "" if database.embedded else obeyed_names()
    if "FATAL" in message:
        return f"{_message(error)}; check PG_USER, PG_PASS and PG_DB"
    if names:
        names = f", and {names}, which also count"
    return f"{_message(error)}; is it up? Check PG_HOST and PG_PORT{names}"


def _message(error: psycopg.Error) -> str:
    """Return what the server or the client library said, without its position, hint and advice."""
    if error.diag.message_primary:
        return error.diag.message_primary
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # If a host has several addresses, the last one tried; advice is on separate lines.
    said = [line for line in lines if "failed:" in line] or lines
    return said[-1].rpartition("failed: ")[2] if said else type(error).__name__
