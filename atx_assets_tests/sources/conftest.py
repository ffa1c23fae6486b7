"""Builders of source rows, in memory and in a real database, for the tests of the sources."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from atx_assets import schemas
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database
from atx_assets.sources.contract import sort_rows
from atx_assets.sources.layouts import LAYOUTS, Layout, SourceTable, find_source
from atx_assets.sources.read.database import connect
from atx_assets.sources.read.extract import extract
from atx_assets.sources.read.fingerprints import Fingerprints, read_fingerprints
from atx_assets.sources.titles import titles
from atx_assets_tests.builders.corrections import media, place, training  # noqa: F401 fixtures

Row = dict[str, Any]
DAY = datetime(2025, 4, 1, tzinfo=UTC)
ENUMS = {
    "media_type": (*schemas.MEDIA_TYPES, "tv_episode_pack"),
    "pipeline_status": schemas.PIPELINE_STATUSES,
    "rejection_status": schemas.REJECTION_STATUSES,
    "rss_source": schemas.RSS_SOURCES,
    "label": schemas.LABELS,
}


def make_release(number: int, **known: Any) -> Row:
    """One row of `atp.media`: an unlabelled film whose hash ends in `number`."""
    assert known.keys() <= {c.name for c in schemas.MEDIA}, known
    return {
        **dict.fromkeys(c.name for c in schemas.MEDIA),
        "hash": f"{number:040x}",
        "media_type": "movie",
        "media_title": f"Film {number}",
        "release_year": 2001,
        "rejection_status": "unfiltered",
        "original_title": f"Film.{number}.2001.1080p",
        "imdb_id": f"tt{number:07}",
        "created_at": DAY,
        "updated_at": DAY,
        **known,
    }


def make_entry(number: int, **known: Any) -> Row:
    """One row of `atp.training`: an unlabelled film whose id ends in `number`."""
    assert known.keys() <= {c.name for c in schemas.TRAINING}, known
    return {
        **dict.fromkeys(c.name for c in schemas.TRAINING),
        "imdb_id": f"tt{number:07}",
        "human_labeled": False,
        "anomalous": False,
        "media_type": "movie",
        "media_title": f"Film {number}",
        "release_year": 2001,
        "created_at": DAY,
        "updated_at": DAY,
        "reviewed": False,
        **known,
    }


@pytest.fixture(scope="session")
def release() -> Callable[..., Row]:
    return make_release


@pytest.fixture(scope="session")
def entry() -> Callable[..., Row]:
    return make_entry


@pytest.fixture(scope="session")
def titles_of() -> Callable[..., pa.Table]:
    """Rows of a layout, in the order of their key, made into titles; sorted first if asked."""

    def made(
        layout: str, rows: Sequence[Row], without: Sequence[str] = (), *, is_sorted: bool = False
    ) -> pa.Table:
        known = LAYOUTS[layout]
        in_order = sorted(rows, key=lambda row: row[known.key].encode())
        table = pa.Table.from_pylist(in_order, schemas.arrow_schema(known.columns))
        table = table.drop_columns(list(without))
        if not is_sorted:
            return titles(table, known)
        found = sort_rows(table, known)
        return titles(found.rows, known, found.verdicts)

    return made


@pytest.fixture
def real_rows(shared_data: Path) -> Callable[[str], pa.Table]:
    """An export of a real library, as extraction would have read it."""

    def read(layout: str) -> pa.Table:
        table = pq.read_table(shared_data / f"{layout}.parquet")
        known = [c for c in LAYOUTS[layout].columns if c.name in table.column_names]
        table = table.select([c.name for c in known]).cast(schemas.arrow_schema(tuple(known)))
        return table.sort_by(LAYOUTS[layout].key)

    return read


@dataclass(frozen=True)
class Library:
    """A media database that a test may fill and change, and that atx reads as `atx_reader`.

    `database` is as its owner sees it; `as_reader` makes of it what the role sees.
    """

    database: Database
    connection: psycopg.Connection
    as_reader: Callable[[Database], Database]

    def execute(self, query: str, values: Sequence[Any] = ()) -> None:
        self.connection.execute(query, values)  # type: ignore[call-overload]

    def create(
        self,
        layout: str,
        rows: Sequence[Row] = (),
        *,
        without: Sequence[str] = (),
        types: Mapping[str, str] | None = None,
    ) -> None:
        """Make the table of a layout and fill it."""
        self.create_types()
        known: Layout = LAYOUTS[layout]
        kinds = {c.name: c.sql for c in known.columns if c.name not in without} | dict(types or {})
        columns = [sql.SQL("{} " + kind).format(sql.Identifier(n)) for n, kind in kinds.items()]
        self.connection.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
                sql.Identifier("atp", known.table),
                sql.SQL(", ").join(columns),
                sql.Identifier(known.key),
            )
        )
        self.insert(layout, rows)

    def create_types(self) -> None:
        self.execute("CREATE SCHEMA IF NOT EXISTS atp")
        for name, values in ENUMS.items():
            found = self.connection.execute("SELECT to_regtype(%s)", (f"atp.{name}",)).fetchone()
            if found == (None,):
                self.connection.execute(
                    sql.SQL("CREATE TYPE {} AS ENUM ({})").format(
                        sql.Identifier("atp", name), sql.SQL(", ").join(map(sql.Literal, values))
                    )
                )

    def insert(self, layout: str, rows: Sequence[Row]) -> None:
        for row in rows:
            self.connection.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    sql.Identifier("atp", layout),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(row)),
                ),
                list(row.values()),
            )

    @contextmanager
    def reading(
        self, wanted: str = "", timeout: int = 60
    ) -> Iterator[tuple[psycopg.Connection, SourceTable]]:
        """The transaction in which atx reads, and the table it finds there."""
        reader = self.as_reader(self.database)
        connection = connect(reader, statement_timeout=timeout, read_only=True)
        with connection:
            yield connection, find_source(connection, wanted)

    def extract(self, path: Path) -> pa.Table:
        """Extract the table to `path`, and read it back."""
        with self.reading() as (connection, source):
            rows = extract(connection, source, path, {})
        table = pq.read_table(path)
        assert table.num_rows == rows
        return table

    def fingerprints(self) -> Fingerprints:
        with self.reading() as (connection, source):
            return read_fingerprints(connection, source)

    def changes_made_by(self, query: str, values: Sequence[Any] = ()) -> set[str]:
        """Name the fingerprints that a statement changes."""
        before = asdict(self.fingerprints())
        self.execute(query, values)
        after = asdict(self.fingerprints())
        return {name for name in before if before[name] != after[name]}


@pytest.fixture
def library(database: Database, as_reader: Callable[[Database], Database]) -> Iterator[Library]:
    """An empty database, and a connection that commits each statement."""
    with _connected(database, as_reader) as made:
        yield made


@pytest.fixture(scope="session")
def library_named(
    postgres: EmbeddedPostgres, as_reader: Callable[[Database], Database]
) -> Callable[[str], AbstractContextManager[Library]]:
    """A way to an empty database that tests of one module share; it goes with the server."""

    def made(name: str) -> AbstractContextManager[Library]:
        postgres.ensure_database(name)
        database = Database(postgres.host, postgres.port, name, postgres.user)
        return _connected(database, as_reader)

    return made


@contextmanager
def _connected(database: Database, as_reader: Callable[[Database], Database]) -> Iterator[Library]:
    where = psycopg.conninfo.make_conninfo(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        dbname=database.name,
    )
    with psycopg.connect(where, autocommit=True) as connection:
        yield Library(database, connection, as_reader)
