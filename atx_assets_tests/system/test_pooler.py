"""Behind a transaction pooler: what a transaction leaves in its connection, another client gets."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from atx_assets.automation import pruning
from atx_assets.automation.observe import fingerprints_now
from atx_assets.commands.doctor.media import MediaDatabase as DoctorsLook
from atx_assets.defs.resources.media_database import MediaDatabase
from atx_assets.settings import Database, Settings, read_settings
from atx_assets.sources.correct.correction import check_permission, correct, undo
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect
from atx_assets.sources.read.extract import extract
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.environment import as_settings
from atx_assets_tests.builders.pooler import pooled
from atx_assets_tests.builders.postgres import CORRECTOR, READER, grant_reader

# Name and encoding of a client PgBouncer itself hands on to those that come without them.
_STATE = """
    SELECT (SELECT count(*) FROM pg_prepared_statements),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
           (SELECT array_agg(relname ORDER BY 1) FROM pg_class WHERE relpersistence = 't'),
           (SELECT jsonb_object_agg(name, setting) FROM pg_settings
            WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding'))
"""


class Pool:
    """A library behind the pooler, with what its other clients see of their connections."""

    def __init__(self, owner: Database, library: Path, settings: Settings) -> None:
        self.owner, self.library, self.settings = owner, library, settings
        self.before: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """What another client of the pool finds in its connection, by user."""
        found = {}
        for user in (self.owner.user, READER, CORRECTOR):
            with opened(replace(self.owner, user=user)) as other:
                found[user] = other.execute(_STATE).fetchone()
        return found

    def load(self) -> None:
        with connect(self.owner, statement_timeout=60) as connection:
            load_file(connection, self.library)

    def ids(self) -> list[str]:
        with opened(self.owner) as connection:
            found = connection.execute(
                "SELECT DISTINCT imdb_id FROM atp.media WHERE rejection_status = 'unfiltered'"
                " AND imdb_id IS NOT NULL ORDER BY 1 LIMIT 12"
            )
            return [row[0] for row in found]


@pytest.fixture
def pool(
    database: Database, small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pool]:
    with pooled(database, READER, CORRECTOR) as through:
        made = Pool(through, small_library, read_settings({}))
        made.before = made.state()
        made.load()
        grant_reader(database)
        values = as_settings(replace(through, user=READER)) | {
            "ATX_HOME": str(tmp_path / "home"),
            "ATX_CORRECTION_PG_USER": CORRECTOR,
            "ATX_STATEMENT_TIMEOUT": "77",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        made.settings = read_settings(values)
        yield made


def _read(pool: Pool, folder: Path) -> None:
    with MediaDatabase().reading(pool.settings) as (connection, source):
        assert extract(connection, source, folder / "media.parquet", {}) == 1500


def _correct(pool: Pool, folder: Path) -> None:
    """Two corrections at once as others see them, each of more rows than psycopg prepares after."""
    first, second = pool.ids()[:6], pool.ids()[6:]
    for ids in (first, second):
        done = correct(pool.settings, ids, "keep", write=True, via="a test")
        assert done.number
        assert undo(pool.settings, done.number, write=True, via="a test").number


def _prune(pool: Pool, folder: Path) -> None:
    """As runs of Dagster's would be: rows go in batches, by one statement again and again."""
    where = f"{pool.owner.host}:{pool.owner.port}/{pool.owner.name}"
    with pruning._tables(f"postgresql+psycopg2://{pool.owner.user}@{where}") as tables:
        tables.execute("CREATE TABLE IF NOT EXISTS old (id serial)")
        tables.execute("INSERT INTO old SELECT FROM generate_series(1, 45_000)")
        batch = "DELETE FROM old WHERE id IN (SELECT id FROM old LIMIT %(rows)s)"
        assert pruning._prune_rows(tables, batch, datetime.now(UTC)) == 45_000


ACTIONS: dict[str, Callable[[Pool, Path], object]] = {
    "doctor": lambda pool, _: DoctorsLook(pool.settings).check(),
    "a look for permission": lambda pool, _: check_permission(pool.settings),
    "a tick": lambda pool, _: fingerprints_now(pool.settings),
    "reading": _read,
    "loading": lambda pool, _: pool.load(),
    "correcting": _correct,
    "pruning": _prune,
}


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_left_for_the_next_client_of_the_pool(
    pool: Pool, tmp_path: Path, action: str
) -> None:
    """Kept out: another program that got our statement_timeout, and a second `atx correct` that
    met the first one's prepared statement."""
    for _ in range(2):
        ACTIONS[action](pool, tmp_path)
        assert pool.state() == pool.before
