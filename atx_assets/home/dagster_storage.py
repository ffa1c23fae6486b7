"""Dagster's own storage: opening it, checking that it can be reached, explaining its failures.

Not here: bringing it back (`commands/storage_watch.py`, `web/healing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atx_assets.errors import DatabaseError, SettingError
from atx_assets.home.home import own_databases
from atx_assets.libpq import obeyed_names
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg
    import psycopg
    from sqlalchemy.engine import URL


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the Dagster instance of an open home, on the storage that the settings name.

    Dagster's own `from_config` would read its address from the environment of this process.
    """
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    storage = {
        "module": "atx_assets.defs.dagster_storage",
        "class": "SettledPostgresStorage",
        "config": {"postgres_url": settings.dagster_postgres_url},
    }
    folder, overrides = str(settings.dagster_home), {"storage": {"custom": storage}}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(folder, overrides=overrides))


def reach_storage(settings: Settings) -> str:
    """Check that Dagster can use its storage, and return its name.

    Dagster itself would retry a server that is down for a minute, and then show a traceback.

    Raises:
        DatabaseError: it cannot be reached, or the user may not create tables there.
    """
    import psycopg

    url = _url(settings)
    try:
        with connect_storage(settings) as connection:
            may = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
            if connection.execute(may).fetchone() != (True,):
                raise DatabaseError(
                    f"user {connection.info.user} may not create tables in "
                    f"{connection.info.dbname}: make it the owner of that database"
                )
            return f"database {connection.info.dbname}"
    except psycopg.Error:
        raise DatabaseError(
            f"Dagster's storage cannot be reached ({_place(url)}): is the server up? Check "
            "DAGSTER_POSTGRES_URL, its user and its password (with @, : and / written as %40, "
            f"%3A and %2F){_obeyed(settings)}"
        ) from None


def _obeyed(settings: Settings) -> str:
    """Name the libpq variables that also apply to a connection to the owner's server."""
    names = "" if own_databases(settings)[1] else obeyed_names()
    return f", and {names} in the environment, which apply to it too" if names else ""


@contextmanager
def storage_explained(settings: Settings, is_back: Callable[[], None]) -> Iterator[None]:
    """Turn a failure of the storage during a run into one line.

    Args:
        settings: of an open home.
        is_back: called if the storage went away and answers again, before the error is raised.

    Raises:
        DatabaseError: instead of SQLAlchemy's error, which shows the statement and its values.
    """
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except Exception as error:
        if is_storage_failure(error):
            reach_storage(settings)
            is_back()
            raise DatabaseError(
                "Dagster's storage went away during the run and is back: run it again; what was "
                "made stays in place"
            ) from error
        if not isinstance(error, DBAPIError):
            raise
        said = (str(error.orig).splitlines() or [""])[0]
        full = "No space left" in said or "File too large" in said
        fix = "make room on its disk" if full else "is the server up? `atx doctor` checks it"
        raise DatabaseError(
            f"Dagster's storage ({_place(_url(settings))}) failed during the run ({said}): {fix}; "
            "what was there before stays in place"
        ) from error


def connect_storage(settings: Settings) -> psycopg.Connection:
    """Connect to Dagster's storage, to read from it.

    Raises:
        SettingError: `DAGSTER_POSTGRES_URL` is not an address.
        psycopg.Error: it cannot be reached.
    """
    import psycopg

    address = _url(settings).render_as_string(hide_password=False)
    # No prepared statements: behind a transaction pooler the next one would meet another client's.
    return psycopg.connect(address, connect_timeout=10, prepare_threshold=None)


def is_storage_failure(error: BaseException | None) -> bool:
    """Return whether a failure inside Dagster means that its storage is away."""
    from dagster_postgres.utils import DagsterPostgresException
    from sqlalchemy.exc import DBAPIError

    while error is not None:
        if isinstance(error, DagsterPostgresException):
            return True
        if isinstance(error, DBAPIError):
            # No code: there was no connection. 57P: the server is shutting down or starting up.
            state = getattr(error.orig, "pgcode", None) or "08"
            return state.startswith(("08", "57P"))
        error = error.__cause__
    return False


def _url(settings: Settings) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(settings.dagster_postgres_url).set(drivername="postgresql")
    except (ArgumentError, ValueError):
        # The message would repeat the address, and the password in it.
        raise SettingError(
            "DAGSTER_POSTGRES_URL is not the address of a database: write it as "
            "postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None


def _place(url: URL) -> str:
    """Say where a database is, without the part of a password that an unescaped @ puts there."""
    host = (url.host or str(url.query.get("host", ""))).rpartition("@")[2]
    return f"{(url.database or '').rpartition('@')[2]} on {host}:{url.port or 5432}"
