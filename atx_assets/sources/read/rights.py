"""What the user of a connection sees of the media database, and may do beyond what atx needs.

Not here: what is missing (`sources/layouts.py`, `sources/correct/corrections.py`). The scripts in
`sql/` create roles with exactly the rights needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from atx_assets.errors import AtxError
from atx_assets.sources.layouts import SCHEMA, SourceTable, find_source

_ROLE = """
    SELECT rolsuper, rolcreaterole, has_database_privilege(current_database(), 'CREATE'),
           (SELECT string_agg(nspname, ', ' ORDER BY nspname) FROM pg_catalog.pg_namespace
            WHERE nspname NOT LIKE 'pg\\_%' AND has_schema_privilege(oid, 'CREATE'))
    FROM pg_catalog.pg_roles WHERE rolname = current_user
"""

# Views and foreign tables too. INSERT and UPDATE may be granted on single columns.
_WRITES = """
    SELECT asked, string_agg(n.nspname || '.' || c.relname, ', ' ORDER BY c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
        unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) asked
    WHERE n.nspname = %s AND c.relname IN ('media', 'training')
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND CASE WHEN asked IN ('INSERT', 'UPDATE') THEN EXISTS (
            SELECT FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              AND has_column_privilege(c.oid, a.attnum, asked)
              AND NOT (asked = 'UPDATE' AND c.relname = %s AND a.attname = ANY (%s)))
          ELSE has_table_privilege(c.oid, asked) END
    GROUP BY asked ORDER BY asked
"""

# Not what an extension has created for everybody to read.
_OTHERS = """
    SELECT n.nspname || '.' || c.relname
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'
      AND n.nspname NOT LIKE 'pg\\_%%'
      AND NOT (n.nspname = %s AND c.relname IN ('media', 'training'))
      AND has_schema_privilege(n.oid, 'USAGE')
      AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')
           OR has_table_privilege(c.oid, 'DELETE, TRUNCATE'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1
"""


def filters_rows(connection: psycopg.Connection, source: SourceTable) -> bool:
    """Return whether row-level security decides which rows of the table the user reads."""
    asked = "SELECT row_security_active(%s)"
    name = f"{SCHEMA}.{source.layout.table}"
    return connection.execute(asked, (name,)).fetchone() == (True,)


def find_visible_source(connection: psycopg.Connection, wanted: str = "") -> SourceTable:
    """Find the table to read from, and check that some of its rows are visible.

    Raises:
        AtxError: see `find_source`; or row-level security shows the user no rows.
    """
    source = find_source(connection, wanted)
    table = sql.Identifier(SCHEMA, source.layout.table)
    some = sql.SQL("SELECT FROM {} LIMIT 1").format(table)
    if filters_rows(connection, source) and connection.execute(some).fetchone() is None:
        raise AtxError(
            f"row-level security hides every row of {SCHEMA}.{source.layout.table} from user "
            f"{connection.info.user}: {policy(connection, source)}"
        )
    return source


def policy(connection: psycopg.Connection, source: SourceTable) -> str:
    """Return how the owner of the table lets the user read all of its rows."""
    user = sql.Identifier(connection.info.user).as_string(connection)
    table = f"{SCHEMA}.{source.layout.table}"
    name = sql.Identifier(f"{connection.info.user}_reads").as_string(connection)
    return f"let its owner run CREATE POLICY {name} ON {table} FOR SELECT TO {user} USING (true)"


def more_than_needed(
    connection: psycopg.Connection, table: str = "", columns: Sequence[str] = ()
) -> str:
    """Say what the user may do besides reading media and labels; usually nothing.

    Args:
        connection: of the user.
        table: the table in which the user needs to UPDATE columns, `media` or `training`.
        columns: these columns.
    """
    ((superuser, roles, database, schemas),) = connection.execute(_ROLE).fetchall()
    if superuser:
        return "do anything, as a superuser"
    writes = connection.execute(_WRITES, (SCHEMA, table, list(columns)))
    found = [f"{what} in {where}" for what, where in writes]
    found += ["make schemas in this database"] * bool(database)
    found += [f"make tables in {schemas}"] * bool(schemas)
    found += ["make roles"] * bool(roles)
    if others := [name for (name,) in connection.execute(_OTHERS, (SCHEMA,))]:
        named = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        found.append(f"use {len(others):,} other table{'s' * (len(others) > 1)} ({named})")
    return "; ".join(found)
