"""Dagster's own storage as Dagster does not tell of it: can it be reached, and what failed there.

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
    """Open Dagster's records of an open home, on the storage that the settings name.

    Dagster's own `from_config` would look for its address in the environment of this process.
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
    """Make sure that Dagster can keep its storage where the settings say; return its name.

    Left to itself, Dagster tries a server that is down for a minute, and then shows a traceback.

    Raises:
        DatabaseError: it cannot be reached, or no table may be made there.
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
    """Name what else a connection to somebody's server must do justice to."""
    names = "" if own_databases(settings)[1] else obeyed_names()
    return f", and {names} of the environment, which hold for it too" if names else ""


@contextmanager
def storage_explained(settings: Settings, is_back: Callable[[], None]) -> Iterator[None]:
    """Make a line of a storage that failed in the middle of a run.

    Args:
        settings: of an open home.
        is_back: called where the storage went away and answers again, before the line is said.

    Raises:
        DatabaseError: instead of SQLAlchemy's, which shows the statement and all that was to be
            written.
    """
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except Exception as error:
        if is_storage_failure(error):
            reach_storage(settings)
            is_back()
            raise DatabaseError(
                "Dagster's storage went away in the middle of the run, and is back: run it again; "
                "what was made stays in place"
            ) from error
        if not isinstance(error, DBAPIError):
            raise
        said = (str(error.orig).splitlines() or [""])[0]
        full = "No space left" in said or "File too large" in said
        mend = "make room on its disk" if full else "is the server up? `atx doctor` looks"
        raise DatabaseError(
            f"Dagster's storage ({_place(_url(settings))}) failed in the middle ({said}): {mend}; "
            "what was there before stays in place"
        ) from error


def connect_storage(settings: Settings) -> psycopg.Connection:
    """Connect to Dagster's storage, to read from it.

    Raises:
        SettingError: `DAGSTER_POSTGRES_URL` is no address.
        psycopg.Error: it cannot be reached.
    """
    import psycopg

    address = _url(settings).render_as_string(hide_password=False)
    # Nothing is prepared: behind a pooler of transactions the next would meet somebody else's.
    return psycopg.connect(address, connect_timeout=10, prepare_threshold=None)


def is_storage_failure(error: BaseException | None) -> bool:
    """Whether a failure inside Dagster comes from its storage being away."""
    from dagster_postgres.utils import DagsterPostgresException
    from sqlalchemy.exc import DBAPIError

    while error is not None:
        if isinstance(error, DagsterPostgresException):
            return True
        if isinstance(error, DBAPIError):
            # Without a code: there was no connection. 57P: the server is going down, or coming up.
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
            "DAGSTER_POSTGRES_URL is no address of a database: write it as "
            "postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None


def _place(url: URL) -> str:
    """Say where a database is, without what of a password an unescaped @ has put there."""
    host = (url.host or str(url.query.get("host", ""))).rpartition("@")[2]
    return f"{(url.database or '').rpartition('@')[2]} on {host}:{url.port or 5432}"
