"""Finds what in a database runs code when its tables are used, except what atx itself creates.

A database is pure data only without foreign functions, triggers and views: atx is the superuser of
its embedded server, and whatever a table's rules call runs with its rights. Not here: restoring
(`dumps.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from atx_assets.sources.load.tables import TOUCH_BODY, TOUCH_NAME

if TYPE_CHECKING:
    import psycopg

#: The first object id that PostgreSQL gives to objects that users create.
_FIRST_OF_USERS = 16384

#: Catalogs whose rows the statement below judges, or whose rows are data and run nothing. A user's
#: row in any other catalog counts as code, also in one that a later PostgreSQL adds.
_JUDGED = [
    *("pg_attrdef", "pg_class", "pg_constraint", "pg_enum", "pg_largeobject_metadata"),
    *("pg_namespace", "pg_proc", "pg_rewrite", "pg_trigger", "pg_type"),
]

#: Parts of an expression that only combine values; a call is a FUNCEXPR.
_PARTS = [
    *("ARRAYCOERCEEXPR", "ARRAYEXPR", "BOOLEANTEST", "BOOLEXPR", "CASEEXPR", "CASETESTEXPR"),
    *("CASEWHEN", "COALESCEEXPR", "COERCETODOMAIN", "COERCETODOMAINVALUE", "COERCEVIAIO"),
    *("COLLATEEXPR", "CONST", "DISTINCTEXPR", "FUNCEXPR", "MINMAXEXPR", "NEXTVALUEEXPR"),
    *("NULLIFEXPR", "NULLTEST", "OPEXPR", "RELABELTYPE", "SCALARARRAYOPEXPR", "VAR"),
    "SQLVALUEFUNCTION",
]

#: PostgreSQL's own volatile functions that change at most a sequence. Some of the others read or
#: write files, or run a text as SQL.
_HARMLESS = ["clock_timestamp", "gen_random_uuid", "nextval", "random", "uuidv4", "uuidv7"]

# Rules of SELECT belong to views, which are named themselves. Relations may be tables, indexes,
# sequences, and what belongs to them; types may be enums, domains, arrays, and those of tables.
# Whatever one of them computes is in one of the expressions.
_CODE: LiteralString = """
    WITH expression (class, id, tree) AS (
        SELECT 'pg_attrdef'::regclass, oid, adbin::text FROM pg_attrdef
        UNION ALL SELECT 'pg_constraint'::regclass, oid, conbin::text FROM pg_constraint
        UNION ALL SELECT 'pg_type'::regclass, oid, typdefaultbin::text FROM pg_type
        UNION ALL SELECT 'pg_class'::regclass, indexrelid, indexprs::text FROM pg_index
        UNION ALL SELECT 'pg_class'::regclass, indexrelid, indpred::text FROM pg_index
        UNION ALL SELECT 'pg_trigger'::regclass, oid, tgqual::text FROM pg_trigger
    ), touch AS (
        SELECT p.oid FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_language l ON l.oid = p.prolang
        WHERE n.nspname || '.' || p.proname = %(touch)s AND btrim(p.prosrc) = %(body)s
          AND l.lanname = 'plpgsql' AND p.pronargs = 0 AND p.prorettype = 'trigger'::regtype
          AND NOT p.prosecdef AND p.proconfig IS NULL
    )
    SELECT class, id FROM expression WHERE id >= %(first)s AND (
        EXISTS (SELECT FROM regexp_matches(tree, '\\{([A-Z]+)', 'g') part
                WHERE part[1] <> ALL (%(parts)s))
        OR EXISTS (SELECT FROM regexp_matches(tree, ':funcid (\\d+)', 'g') called
                   LEFT JOIN pg_proc p ON p.oid = called[1]::oid AND p.oid < %(first)s
                   WHERE p.oid IS NULL
                      OR p.provolatile = 'v' AND p.proname <> ALL (%(harmless)s)))
    UNION ALL SELECT 'pg_class'::regclass, oid FROM pg_class
    WHERE oid >= %(first)s AND relkind NOT IN ('r', 'i', 'S', 't', 'c')
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
    WHERE oid >= %(first)s AND typtype NOT IN ('c', 'd', 'e')
      AND NOT (typtype = 'b' AND typelem <> 0 AND typcategory = 'A')
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    WHERE oid >= %(first)s AND oid NOT IN (SELECT oid FROM touch)
    UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite
    WHERE oid >= %(first)s AND ev_type <> '1'
    UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
    WHERE NOT tgisinternal AND tgfoid NOT IN (SELECT oid FROM touch)
"""

_CATALOGS = """
    SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared
      AND a.attname = 'oid' AND c.relname <> ALL (%s)
    ORDER BY 1
"""


def code_in(connection: psycopg.Connection) -> list[str]:
    """Name everything in a database that runs code, except what atx creates, ordered by name.

    Expressions of PostgreSQL's own functions that only compute do not count as code.

    Args:
        connection: the superuser's, to the database; this runs no code of the database.
    """
    with connection.transaction():
        # Otherwise a function in the database could shadow one of PostgreSQL's.
        connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        rows = connection.execute(_CATALOGS, [_JUDGED])
        others = sql.SQL(" ").join(
            sql.SQL("UNION ALL SELECT {}::regclass, oid FROM {} WHERE oid >= {}").format(
                sql.Literal(name), sql.Identifier("pg_catalog", name), _FIRST_OF_USERS
            )
            for (name,) in rows
        )
        named = sql.SQL(
            "SELECT DISTINCT pg_describe_object(class, id, 0) FROM ({} {}) found ORDER BY 1"
        ).format(sql.SQL(_CODE), others)
        values = {
            "touch": TOUCH_NAME,
            "body": TOUCH_BODY,
            "first": _FIRST_OF_USERS,
            "parts": _PARTS,
            "harmless": _HARMLESS,
        }
        return [str(name) for (name,) in connection.execute(named, values)]
