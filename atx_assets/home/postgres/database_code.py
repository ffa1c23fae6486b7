"""What in a database runs code whenever its tables are used, beyond what atx itself makes there.

A database is data only as long as nobody has put a function, a trigger or a view into it: atx is
the superuser of its embedded server, and whatever a table's rules call runs as that. Not here:
restoring (`dumps.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

from psycopg import sql

from atx_assets.sources.load.tables import TOUCH_BODY, TOUCH_NAME

if TYPE_CHECKING:
    import psycopg

#: The first number that PostgreSQL gives to what it did not bring along itself.
_FIRST_OF_USERS = 16384

#: Catalogs that the statement below judges row by row, or whose rows are data and run nothing. A
#: row of anybody's in any other catalog is code, or tells PostgreSQL to run some: also in one that
#: a later PostgreSQL adds.
_JUDGED = [
    *("pg_attrdef", "pg_class", "pg_constraint", "pg_enum", "pg_largeobject_metadata"),
    *("pg_namespace", "pg_proc", "pg_rewrite", "pg_trigger", "pg_type"),
]

#: Parts of an expression that only combine values; what they call is a FUNCEXPR.
_PARTS = [
    *("ARRAYCOERCEEXPR", "ARRAYEXPR", "BOOLEANTEST", "BOOLEXPR", "CASEEXPR", "CASETESTEXPR"),
    *("CASEWHEN", "COALESCEEXPR", "COERCETODOMAIN", "COERCETODOMAINVALUE", "COERCEVIAIO"),
    *("COLLATEEXPR", "CONST", "DISTINCTEXPR", "FUNCEXPR", "MINMAXEXPR", "NEXTVALUEEXPR"),
    *("NULLIFEXPR", "NULLTEST", "OPEXPR", "RELABELTYPE", "SCALARARRAYOPEXPR", "VAR"),
    "SQLVALUEFUNCTION",
]

#: PostgreSQL's own functions that are neither immutable nor stable and change nothing but a
#: sequence. Of the others some read files, write them, or run a text as SQL.
_HARMLESS = ["clock_timestamp", "gen_random_uuid", "nextval", "random", "uuidv4", "uuidv7"]

# Rules of SELECT are those of views, which are named themselves. Relations may be tables, indexes,
# sequences, and what belongs to them; types may be enums, domains, arrays, and those of tables.
# What any of them computes is in one of the expressions.
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
    """Name all in a database that runs code, but for what atx makes itself; in order of names.

    Expressions of PostgreSQL's own functions that can do nothing but compute are no code.

    Args:
        connection: of the superuser, to the database; nothing of the database is run by this.
    """
    with connection.transaction():
        # Else a function of the database that is called like one of PostgreSQL's might be taken.
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
