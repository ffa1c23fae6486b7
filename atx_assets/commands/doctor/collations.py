"""`atx doctor` on collations: has the operating system changed the order of texts under an index?

Not here: the warnings that such a database gives at each connection (`defs/notices.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atx_assets.errors import Note, SettingError
from atx_assets.home.dagster_storage import connect_storage
from atx_assets.settings import Settings
from atx_assets.sources.read.database import connect, explained

if TYPE_CHECKING:
    import psycopg

#: The name of a database, the version it was made with, and the one its server has, if any.
_Changed = tuple[str, str, str | None]

#: Before, a database did not remember the version.
_FIRST_VERSION = 150_000
#: Of this database alone on a server that is somebody's.
_CHANGED = """
    SELECT datname, datcollversion, pg_database_collation_actual_version(oid) FROM pg_database
    WHERE datallowconn AND datcollversion IS NOT NULL
        AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)
        AND (datname = current_database() OR %s)
    ORDER BY datname COLLATE "C"
"""


def check_collations(settings: Settings) -> str:
    """Say which databases were made with another collation version than the server has now.

    Their indexes of texts may be out of order, so that a row is not found, or is there twice.
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
            changed += [found for found in _changed(storage, False) if found not in changed]
    except (SettingError, psycopg.Error):  # it has a line of its own
        pass
    if not changed:
        return "as they were when the databases were made"
    told = "; ".join(
        f"{name} was made with version {before}, and its server has {now or 'none'}"
        for name, before, now in changed
    )
    mends = "; ".join(_mend(sql.Identifier(name).as_string(None), now) for name, _, now in changed)
    return Note(f"{told}: an index of texts may be out of order; as the owner of each: {mends}")


def _mend(name: str, now: str | None) -> str:
    """Return what to do about a database, whose name is as SQL has it."""
    if now is None:  # another C library, as Alpine's, for which REFRESH is refused
        return f"`REINDEX DATABASE {name}`, then move it to a new database (`pg_dump`) in time"
    return f"`REINDEX DATABASE {name}`, then `ALTER DATABASE {name} REFRESH COLLATION VERSION`"


def _changed(connection: psycopg.Connection, every: bool) -> list[_Changed]:
    if connection.info.server_version < _FIRST_VERSION:
        return []
    return [(name, then, now) for name, then, now in connection.execute(_CHANGED, (every,))]
