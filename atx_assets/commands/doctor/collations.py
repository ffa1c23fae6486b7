"""`atx doctor` on collations: has the operating system changed the sort order under an index?

Not here: the warnings that such a database sends at each connection (`defs/notices.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atx_assets.errors import Note, SettingError
from atx_assets.home.dagster_storage import connect_storage
from atx_assets.settings import Settings
from atx_assets.sources.read.database import connect, explained

if TYPE_CHECKING:
    import psycopg

#: A database's name, the collation version it was created with, and its server's, if there is one.
_Changed = tuple[str, str, str | None]

#: Servers before PostgreSQL 15 do not record the version.
_FIRST_VERSION = 150_000
#: All databases of the embedded server; on the owner's server only the current one.
_CHANGED = """
    SELECT datname, datcollversion, pg_database_collation_actual_version(oid) FROM pg_database
    WHERE datallowconn AND datcollversion IS NOT NULL
        AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
        AND (datname = current_database() OR %s)
    ORDER BY datname COLLATE "C"
"""


def check_collations(settings: Settings) -> str:
    """Name the databases created with another collation version than the server has now.

    Their text indexes may be out of order: a row is then not found, or is there twice.
    """
    import psycopg
    from psycopg import sql

    embedded = settings.database.embedded
    with (
        explained(settings.database),
        connect(settings.database, statement_timeout=settings.statement_timeout) as media,
    ):
        changed = _changed(media, embedded)
    try:
        with connect_storage(settings) as storage:
            changed += [change for change in _changed(storage, False) if change not in changed]
    except (SettingError, psycopg.Error):  # the storage has a line of its own
        pass
    if not changed:
        return "as they were when the databases were created"
    changes = "; ".join(
        f"{name} was created with version {before}, and its server has {now or 'none'}"
        for name, before, now in changed
    )
    fixes = "; ".join(_fix(sql.Identifier(name).as_string(None), now) for name, _, now in changed)
    return Note(f"{changes}: a text index may be out of order; as the owner of each: {fixes}")


def _fix(name: str, now: str | None) -> str:
    """Return how to fix a database; `name` is quoted for SQL."""
    if now is None:  # another C library, such as Alpine's, for which REFRESH is refused
        return f"`REINDEX DATABASE {name}`, then move it to a new database (`pg_dump`) in time"
    return f"`REINDEX DATABASE {name}`, then `ALTER DATABASE {name} REFRESH COLLATION VERSION`"


def _changed(connection: psycopg.Connection, every: bool) -> list[_Changed]:
    if connection.info.server_version < _FIRST_VERSION:
        return []
    return [(name, then, now) for name, then, now in connection.execute(_CHANGED, (every,))]
