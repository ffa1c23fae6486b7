"""Creates the source's schema, types and tables if they are missing. Not here: rows."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.schemas import Column
from atx_assets.sources.layouts import SCHEMA, Layout

_ENUMS = {
    "media_type": (*schemas.MEDIA_TYPES, "tv_episode_pack"),
    "pipeline_status": schemas.PIPELINE_STATUSES,
    "rejection_status": schemas.REJECTION_STATUSES,
    "rss_source": schemas.RSS_SOURCES,
    "label": schemas.LABELS,
}

_OTHER_TABLES = """
    SELECT n.nspname || '.' || c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname <> 'information_schema'
      AND n.nspname NOT LIKE 'pg\\_%%'
      AND NOT (n.nspname = %s AND c.relname IN ('media', 'training'))
    ORDER BY 1
"""

#: The only function that atx creates in a database. As in the owner's, any update sets
#: `updated_at`, even one that changes nothing. A restore recognises the function by these words.
TOUCH_NAME = "atp.touch_updated_at"
TOUCH_BODY = "BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END"


def ensure_table(
    connection: psycopg.Connection, layout: Layout, columns: Sequence[Column], beside_others: bool
) -> None:
    """Create the table of a layout with these columns, unless it exists.

    Raises:
        AtxError: the table lacks one of the columns, or would have to be created in a database
            that holds tables atx does not know.
    """
    present = _present_columns(connection, layout)
    if present:
        missing = [c.name for c in columns if c.name not in present]
        if missing:
            raise AtxError(
                f"{SCHEMA}.{layout.table} exists, but lacks the column "
                f"{', '.join(missing)} of the file: add it, or leave it out of the file"
            )
        return
    others = [name for (name,) in connection.execute(_OTHER_TABLES, (SCHEMA,))]
    if others and not beside_others:
        raise AtxError(
            f"database {connection.info.dbname} holds tables that atx does not know "
            f"({', '.join(others[:3])}{', …' if len(others) > 3 else ''}): check PG_DB, or add "
            "--beside-other-tables to create atp's tables as well"
        )
    _create(connection, layout, columns)


def _present_columns(connection: psycopg.Connection, layout: Layout) -> set[str]:
    rows = connection.execute(
        "SELECT attname FROM pg_catalog.pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (f"{SCHEMA}.{layout.table}",),
    )
    return {name for (name,) in rows}


def _create(connection: psycopg.Connection, layout: Layout, columns: Sequence[Column]) -> None:
    # IF NOT EXISTS would need CREATE on the database even if the schema exists.
    if connection.execute("SELECT to_regnamespace('atp')").fetchone() == (None,):
        connection.execute("CREATE SCHEMA atp")
    for column in columns:
        name = column.sql.removeprefix("atp.")
        there = "SELECT to_regtype(%s) IS NOT NULL"
        if column.sql.startswith("atp.") and connection.execute(
            there, (column.sql,)
        ).fetchone() != (True,):
            values = sql.SQL(", ").join(map(sql.Literal, _ENUMS[name]))
            connection.execute(
                sql.SQL("CREATE TYPE {} AS ENUM ({})").format(sql.Identifier(SCHEMA, name), values)
            )
    table = sql.Identifier(SCHEMA, layout.table)
    described = [_definition(column, layout.key) for column in columns]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(described)))
    if any(column.name == "updated_at" for column in columns):
        there = "SELECT to_regprocedure('atp.touch_updated_at()')"
        if connection.execute(there).fetchone() == (None,):
            connection.execute(
                sql.SQL(
                    "CREATE FUNCTION atp.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS {}"
                ).format(sql.Literal(f" {TOUCH_BODY} "))
            )
        connection.execute(
            sql.SQL(
                "CREATE TRIGGER touch_updated_at BEFORE UPDATE ON {}"
                " FOR EACH ROW EXECUTE FUNCTION atp.touch_updated_at()"
            ).format(table)
        )


def _definition(column: Column, key: str) -> sql.Composable:
    """Return one column of CREATE TABLE. The types are our own words, from `schemas.py`."""
    name = sql.Identifier(column.name)
    parts: list[sql.Composable] = [name, sql.SQL(column.sql)]
    if column.name == key:
        parts.append(sql.SQL("PRIMARY KEY"))
    elif not column.nullable:
        parts.append(sql.SQL("NOT NULL"))
    if column.name == "tmdb_id":
        parts.append(sql.SQL("UNIQUE"))
    if column.name in ("human_labeled", "anomalous"):
        parts.append(sql.SQL("NOT NULL DEFAULT false"))
    if column.name in ("created_at", "updated_at"):
        parts.append(sql.SQL("DEFAULT now()"))
    if column.high in (10, 100):
        parts.append(sql.SQL("CHECK ({} BETWEEN 0 AND {})").format(name, int(column.high)))
    if column.pattern:
        unknown = sql.SQL("" if column.name == key else " OR {0} IN ('', 'N/A')").format(name)
        test = sql.SQL("CHECK ({} ~ {}{})").format(name, sql.Literal(column.pattern), unknown)
        parts.append(test)
    return sql.SQL(" ").join(parts)
