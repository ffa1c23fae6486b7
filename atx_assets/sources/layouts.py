"""The two layouts in use, and which one a database has.

Not here: reading rows (`sources/read/extract.py`), what a label is (`titles.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from atx_assets import schemas
from atx_assets.errors import SourceError

if TYPE_CHECKING:
    import psycopg

SCHEMA = "atp"
#: The media type of a film.
FILM = "movie"


@dataclass(frozen=True)
class Layout:
    """One layout: its table, its key, and which columns are features of which kind.

    A film's name is the first of `names` that is known.
    """

    name: str
    table: str
    key: str
    columns: tuple[schemas.Column, ...]
    names: tuple[str, ...]
    numeric: tuple[str, ...]
    lists: tuple[str, ...]
    singles: tuple[str, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The source columns that features are made from."""
        return (*self.numeric, *self.lists, *self.singles)

    @property
    def zero_is_unknown(self) -> frozenset[str]:
        """The numeric features in which 0 means unknown."""
        return frozenset(column.name for column in self.columns if column.zero_is_unknown)


MEDIA = Layout(
    name="media",
    table="media",
    key="hash",
    columns=schemas.MEDIA,
    names=("media_title", "original_title"),
    numeric=("release_year", "metascore", "rt_score", "imdb_rating", "imdb_votes"),
    lists=("genre", "language"),
    singles=(),
)

TRAINING = Layout(
    name="training",
    table="training",
    key="imdb_id",
    columns=schemas.TRAINING,
    names=("media_title",),
    numeric=(
        "release_year",
        "metascore",
        "rt_score",
        "imdb_rating",
        "imdb_votes",
        "budget",
        "revenue",
        "runtime",
        "tmdb_rating",
        "tmdb_votes",
    ),
    lists=(
        "genre",
        "spoken_languages",
        "origin_country",
        "production_countries",
        "production_companies",
    ),
    singles=("original_language", "production_status"),
)

LAYOUTS = {layout.name: layout for layout in (MEDIA, TRAINING)}

#: The PostgreSQL types (as `format_type` names them, without length) accepted for each of ours.
_ACCEPTED = {
    schemas.STRING: {"text", "character varying", "character", "enum"},
    schemas.STRINGS: {"text[]", "character varying[]", "character[]"},
    schemas.INT: {"smallint", "integer", "bigint"},
    schemas.FLOAT: {"numeric", "real", "double precision", "smallint", "integer", "bigint"},
    schemas.BOOL: {"boolean"},
    schemas.TIME: {"timestamp with time zone", "timestamp without time zone"},
}

_COLUMNS = """
    SELECT c.relname, a.attname,
           CASE WHEN t.typtype = 'e' THEN 'enum'
                ELSE regexp_replace(format_type(a.atttypid, a.atttypmod), '\\([0-9,]+\\)', '')
           END
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE n.nspname = %s AND c.relname IN ('media', 'training')
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY c.relname, a.attnum
"""


@dataclass(frozen=True)
class SourceTable:
    """A table in a database: its layout, and its columns in order with their PostgreSQL types.

    `by_model` are the keys of reviewed rows whose label the downloader gave anyway (see
    `observed_labels.py`); empty until the labels have been observed.
    """

    layout: Layout
    columns: dict[str, str]
    by_model: frozenset[str] = frozenset()

    @property
    def known(self) -> tuple[schemas.Column, ...]:
        """The layout's columns that the table has, in the table's order."""
        named = {column.name: column for column in self.layout.columns}
        return tuple(named[name] for name in self.columns if name in named)


def find_source(connection: psycopg.Connection, wanted: str = "") -> SourceTable:
    """Find the layout that the database has, and check that it can be used.

    Args:
        connection: an open connection; only the catalogs are read.
        wanted: `media` or `training` to insist on one, otherwise the later one is preferred.

    Raises:
        SourceError: no layout, a missing or mistyped column, or a missing permission; the line
            names it and says how to fix it.
    """
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(_COLUMNS, (SCHEMA,)):
        found.setdefault(table, {})[column] = kind
    layout = _choose(connection, found, wanted)
    columns = found[layout.table]
    _check_columns(layout, columns)
    _check_permission(connection, layout)
    return SourceTable(layout, columns)


def _choose(
    connection: psycopg.Connection, found: dict[str, dict[str, str]], wanted: str
) -> Layout:
    if wanted:
        if LAYOUTS[wanted].table in found:
            return LAYOUTS[wanted]
        raise SourceError(
            f"ATX_SOURCE={wanted}, but there is no table {SCHEMA}.{LAYOUTS[wanted].table} in "
            f"database {connection.info.dbname}: unset ATX_SOURCE, or check PG_DB"
        )
    # The training layout keeps an atp.media without metadata, so the training layout goes first.
    if "label" in found.get("training", {}):
        return TRAINING
    if "rejection_status" in found.get("media", {}):
        _check_metadata(connection, found["media"])
        return MEDIA
    seen = "; ".join(f"{SCHEMA}.{t} has {', '.join(c)}" for t, c in found.items())
    raise SourceError(
        f"database {connection.info.dbname} has neither layout of atx: it needs {SCHEMA}.media "
        f"with rejection_status, or {SCHEMA}.training with label "
        f"({seen or f'no such table in schema {SCHEMA}'}); "
        "fill it with `atx load FILE`, or check PG_DB"
    )


def _check_metadata(connection: psycopg.Connection, media: dict[str, str]) -> None:
    """Refuse the table that the training layout keeps besides its own, if its own is gone.

    Adding the missing columns would make a model learn from years alone.
    """
    metadata = [name for name in MEDIA.features if name != "release_year"]
    if not set(metadata) & set(media):
        raise SourceError(
            f"{SCHEMA}.media in database {connection.info.dbname} has none of "
            f"{', '.join(metadata)}: a migration moves those to {SCHEMA}.training, which does "
            "not exist; let the migration finish, restore that table, or check PG_DB"
        )


def _check_columns(layout: Layout, columns: dict[str, str]) -> None:
    table = f"{SCHEMA}.{layout.table}"
    missing = [c for c in layout.columns if c.required and c.name not in columns]
    if missing:
        raise SourceError(
            f"{table} lacks the column {', '.join(c.name for c in missing)}, which atx needs: "
            f"ALTER TABLE {table} {', '.join(f'ADD COLUMN {c.name} {c.sql}' for c in missing)}; "
            "or check PG_DB and ATX_SOURCE"
        )
    for column in layout.columns:
        kind = columns.get(column.name)
        if kind is not None and kind not in _ACCEPTED[column.type]:
            raise SourceError(
                f"{table}.{column.name} has type {kind}, but atx reads {column.type} from "
                f"{' or '.join(sorted(_ACCEPTED[column.type]))}"
            )


def _check_permission(connection: psycopg.Connection, layout: Layout) -> None:
    table, user = f"{SCHEMA}.{layout.table}", connection.info.user
    # Asked one after the other: has_table_privilege fails if the user may not use the schema.
    for question, name in (
        ("SELECT has_schema_privilege(%s, 'USAGE')", SCHEMA),
        ("SELECT has_table_privilege(%s, 'SELECT')", table),
    ):
        if connection.execute(question, (name,)).fetchone() != (True,):
            raise SourceError(
                f"user {user} may not read {table}: GRANT USAGE ON SCHEMA {SCHEMA} TO {user}; "
                f"GRANT SELECT ON {table} TO {user};"
            )
