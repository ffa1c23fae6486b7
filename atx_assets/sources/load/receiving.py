"""The table that receives an export: created or found, checked, and described.

Not here: the statements that create it (`tables.py`), rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import errors, sql

from atx_assets.errors import AtxError
from atx_assets.schemas import FLOAT, INT, Column
from atx_assets.sources.layouts import SCHEMA, Layout, find_source
from atx_assets.sources.load.tables import ensure_table

# Any number that other programs are unlikely to use.
_LOCK = 7_264_361_002

_KIND = """
    SELECT c.relkind::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
"""

_STORED = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = a.atttypid
                 ORDER BY e.enumsortorder)
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
"""

_UNIQUE = """
    SELECT a.attname FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = %s::regclass AND i.indisunique AND i.indnkeyatts = 1
      AND i.indpred IS NULL AND i.indexprs IS NULL
    ORDER BY a.attnum
"""

_MISSING_VALUES = """
    SELECT wanted FROM unnest(%s::text[]) WITH ORDINALITY AS w (wanted, place)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_enum
                      WHERE enumtypid = to_regtype(%s) AND enumlabel = wanted)
    ORDER BY place
"""


@dataclass(frozen=True)
class Receiver:
    """The table: the export's columns with the types that the table stores them in.

    `unique` names the columns, besides the key, in which each value may occur once. `present` are
    the layout's columns that the table has, whether or not the export has them.
    """

    layout: Layout
    columns: tuple[Column, ...]
    unique: tuple[str, ...]
    present: frozenset[str]

    @property
    def key(self) -> str:
        """The column that identifies rows."""
        return self.layout.key

    @property
    def table(self) -> sql.Identifier:
        """The table's name in SQL."""
        return sql.Identifier(SCHEMA, self.layout.table)


def complete_enums(
    connection: psycopg.Connection, layout: Layout, columns: Sequence[Column], beside: bool
) -> None:
    """Add the layout's values to the enums of a table that does not exist yet.

    PostgreSQL does not allow a new value in the transaction that adds it, so this is a separate
    transaction, before that of the rows. An additional value changes nothing that exists.

    Raises:
        AtxError: the table could not be created, or an enum belongs to somebody else.
    """
    with connection.transaction():
        if not _visible(connection) or _kind(connection, layout):
            return
        missing = [(c.sql, value) for c in columns for value in _missing_values(connection, c)]
    if not missing:
        return
    with connection.transaction(force_rollback=True):
        _ensure(connection, layout, columns, beside)
    for kind, value in missing:
        statement = sql.SQL("ALTER TYPE {} ADD VALUE IF NOT EXISTS {}").format(
            sql.Identifier(*kind.split(".")), sql.Literal(value)
        )
        try:
            with connection.transaction():
                connection.execute(statement)
        except errors.InsufficientPrivilege as error:
            raise AtxError(
                f"the type {kind} lacks the value {value!r}: let its owner run "
                f"{statement.as_string(connection)};"
            ) from error


def ready_receiver(
    connection: psycopg.Connection, layout: Layout, columns: Sequence[Column], beside: bool
) -> Receiver:
    """Create the table if it is missing, and inspect it, inside the transaction of the load.

    Raises:
        AtxError: it cannot be created, lacks a column, has one of another type, or may not be
            written to; the line says what to do.
    """
    # Two loads that both create the table would collide.
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    _ensure(connection, layout, columns, beside)
    source = find_source(connection, layout.name)
    _check_writable(connection, layout)
    name = f"{SCHEMA}.{layout.table}"
    stored = {row[0]: row[1:] for row in connection.execute(_STORED, (name,))}
    unique = [row[0] for row in connection.execute(_UNIQUE, (name,))]
    return Receiver(
        layout,
        tuple(_as_stored(column, *stored[column.name]) for column in columns),
        tuple(c.name for c in columns if c.name in unique and c.name != layout.key),
        frozenset(column.name for column in source.known),
    )


def _ensure(
    connection: psycopg.Connection, layout: Layout, columns: Sequence[Column], beside: bool
) -> None:
    user, grants = _identifier(connection.info.user), _missing_grants(connection)
    try:
        ensure_table(connection, layout, columns, beside)
    except errors.InsufficientPrivilege as error:
        raise AtxError(
            f"user {connection.info.user} may not create {SCHEMA}.{layout.table} in database "
            f"{connection.info.dbname} ({error.diag.message_primary}): "
            f"{grants or f'GRANT what is missing TO {user};'}"
        ) from error


def _missing_grants(connection: psycopg.Connection) -> str:
    """Return the missing GRANTs. Ask before creating: a failed transaction answers nothing."""
    user, database = map(_identifier, (connection.info.user, connection.info.dbname))
    grants = []
    may = (
        "SELECT has_database_privilege(current_database(), 'CREATE')"
        " OR to_regnamespace('atp') IS NOT NULL"
    )
    if connection.execute(may).fetchone() != (True,):
        grants.append(f"GRANT CREATE ON DATABASE {database} TO {user};")
    may = (
        "SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')"
        " FROM pg_catalog.pg_namespace WHERE nspname = %s"
    )
    if connection.execute(may, (SCHEMA,)).fetchone() == (False,):
        grants.append(f"GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {user};")
    return " ".join(grants)


def _visible(connection: psycopg.Connection) -> bool:
    may = (
        "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = %s"
    )
    return connection.execute(may, (SCHEMA,)).fetchone() == (True,)


def _kind(connection: psycopg.Connection, layout: Layout) -> str:
    row = connection.execute(_KIND, (SCHEMA, layout.table)).fetchone()
    return str(row[0]) if row else ""


def _missing_values(connection: psycopg.Connection, column: Column) -> list[str]:
    if not column.values:
        return []
    there = connection.execute("SELECT to_regtype(%s) IS NULL", (column.sql,)).fetchone()
    if there == (True,):
        return []
    found = connection.execute(_MISSING_VALUES, (list(column.values), column.sql))
    return [value for (value,) in found]


def _check_writable(connection: psycopg.Connection, layout: Layout) -> None:
    name, user = f"{SCHEMA}.{layout.table}", connection.info.user
    if _kind(connection, layout) not in ("r", "p"):
        raise AtxError(f"{name} is a view or a foreign table: load into the table behind it")
    for privilege in ("INSERT", "UPDATE"):
        question = "SELECT has_table_privilege(%s, %s)"
        if connection.execute(question, (name, privilege)).fetchone() != (True,):
            raise AtxError(
                f"user {user} may not write to {name}: "
                f"GRANT SELECT, INSERT, UPDATE ON {name} TO {_identifier(user)};"
            )
    question = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
    if connection.execute(question).fetchone() != (True,):
        database = connection.info.dbname
        raise AtxError(
            f"user {user} may not create temporary tables in database {database}: "
            f"GRANT TEMPORARY ON DATABASE {_identifier(database)} TO {_identifier(user)};"
        )


def _as_stored(column: Column, kind: str, not_null: bool, enum: list[str]) -> Column:
    """Return the column as this table has it: an older one may be narrower than the layout."""
    for spelled, ours in (("character varying", "varchar"), ("character", "char")):
        kind = re.sub(rf"^{spelled}\b", ours, kind)
    kind = "int" if kind == "integer" else kind
    held = tuple(v for v in column.values if v in enum) if enum else column.values
    whole = column.type == FLOAT and kind in ("smallint", "int", "bigint")
    return replace(
        column,
        sql=kind,
        type=INT if whole else column.type,
        nullable=column.nullable and not not_null,
        values=held,
    )


def _identifier(name: str) -> str:
    return sql.Identifier(name).as_string(None)
