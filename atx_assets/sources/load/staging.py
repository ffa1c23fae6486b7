"""A load's rows in the database: copied into a temporary table, then written by key.

Not here: which rows are good (`load.py`), the table that receives them (`receiving.py`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from pyarrow import csv

from atx_assets.schemas import STRINGS, Column
from atx_assets.sources.load.receiving import Receiver

#: These times do not show whether a row changed.
TIMES = ("created_at", "updated_at")
#: Position of the row in the file; no layout has a column of this name.
ROW = "row_in_file"


def make_incoming(connection: psycopg.Connection, receiver: Receiver) -> None:
    """Create the temporary table, with the types of the receiving table."""
    connection.execute("SET LOCAL work_mem = '64MB'")
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS"
            " SELECT 0::bigint AS {row}, {columns} FROM {table} WITH NO DATA"
        ).format(row=sql.Identifier(ROW), columns=_names(receiver.columns), table=receiver.table)
    )


def copy_rows(connection: psycopg.Connection, rows: pa.Table, columns: Sequence[Column]) -> None:
    """Copy rows as CSV that Arrow writes: ten times as fast as row by row in Python.

    Each batch is its own statement, so the statement timeout does not cover the whole file.
    """
    if not rows.num_rows:
        return
    flat = {ROW: rows[ROW]}
    for column in columns:
        values = rows[column.name]
        flat[column.name] = _array_text(values) if column.type == STRINGS else values
    buffer = io.BytesIO()
    csv.write_csv(pa.table(flat), buffer, csv.WriteOptions(include_header=False))
    query = sql.SQL("COPY incoming ({}, {}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        sql.Identifier(ROW), _names(columns)
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        copy.write(buffer.getbuffer())


def refuse_clashes(
    connection: psycopg.Connection, receiver: Receiver, examples: int
) -> Iterator[tuple[str, int, list[str]]]:
    """Remove rows that repeat a value that may occur once; yield reason, count and some keys.

    The first row of a key in the file stays, later ones go. The same holds for other unique columns
    of the table, which are also compared with rows of other keys in the table.
    """
    key = receiver.key
    # Readers continue; a row that another writer adds after this check would collide.
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(receiver.table))
    connection.execute("ANALYZE incoming")
    yield from _delete(
        connection,
        receiver,
        _REPEATED,
        key,
        f"{key} occurs in an earlier row of the file",
        examples,
    )
    for name in receiver.unique:
        for query, words in (
            (_REPEATED, f"{name} occurs in an earlier row of the file"),
            (_TAKEN, f"{name} belongs to another {key} in the table"),
        ):
            yield from _delete(connection, receiver, query, name, words, examples)


_REPEATED = sql.SQL("""
    WITH gone AS (
        DELETE FROM incoming AS later USING (
            SELECT {column}, min({row}) AS {row} FROM incoming WHERE {column} IS NOT NULL
            GROUP BY {column} HAVING count(*) > 1
        ) AS first
        WHERE later.{column} = first.{column} AND later.{row} > first.{row}
        RETURNING later.{key}::text AS key, later.{row} AS place
    )
    SELECT count(*), (array_agg(key ORDER BY place))[1:%s] FROM gone
""")

_TAKEN = sql.SQL("""
    WITH gone AS (
        DELETE FROM incoming AS new USING {table} AS old
        WHERE new.{column} = old.{column} AND new.{key} <> old.{key}
        RETURNING new.{key}::text AS key, new.{row} AS place
    )
    SELECT count(*), (array_agg(key ORDER BY place))[1:%s] FROM gone
""")


def _delete(
    connection: psycopg.Connection,
    receiver: Receiver,
    query: sql.SQL,
    column: str,
    words: str,
    examples: int,
) -> Iterator[tuple[str, int, list[str]]]:
    statement = query.format(
        column=sql.Identifier(column),
        key=sql.Identifier(receiver.key),
        row=sql.Identifier(ROW),
        table=receiver.table,
    )
    count, keys = connection.execute(statement, (examples,)).fetchone() or (0, None)
    if count:
        yield words, count, keys


@dataclass(frozen=True)
class TakenOver:
    """How many rows were added, how many changed, and which rows the table did not take."""

    added: int
    changed: int
    not_taken: int
    keys: list[str]


def upsert(connection: psycopg.Connection, receiver: Receiver, examples: int) -> TakenOver:
    """Write the rows that `refuse_clashes` left.

    An equal row is not touched: the trigger would set its `updated_at`. Rows that a trigger or
    rule of the table keeps out are counted apart from equal rows.
    """
    key = receiver.key
    compared = [c for c in receiver.columns if c.name not in (key, *TIMES)]
    changes: list[sql.Composable] = [
        sql.SQL("{0} = new.{0}").format(sql.Identifier(c.name)) for c in compared
    ]
    if any(c.name == "updated_at" for c in receiver.columns):
        # A table with the trigger does this, too.
        changes.append(sql.SQL("updated_at = now()"))
    parts = {
        "table": receiver.table,
        "key": sql.Identifier(key),
        "columns": _names(receiver.columns),
        "changes": sql.SQL(", ").join(changes),
        "old": _names(compared, "old"),
        "new": _names(compared, "new"),
    }
    differ, _ = _keys(connection, _DIFFERENT.format(**parts), examples)
    changed = connection.execute(
        sql.SQL(
            "UPDATE {table} AS old SET {changes} FROM incoming AS new"
            " WHERE old.{key} = new.{key} AND ({old}) IS DISTINCT FROM ({new})"
        ).format(**parts)
    ).rowcount
    added = connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming AS new"
            " WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE old.{key} = new.{key})"
        ).format(**parts)
    ).rowcount
    missing, keys = _keys(connection, _ABSENT.format(**parts), examples)
    if changed < differ:
        keys += _keys(connection, _DIFFERENT.format(**parts), examples)[1]
    return TakenOver(added, changed, missing + differ - changed, keys[:examples])


_DIFFERENT = sql.SQL(
    "SELECT new.{key} AS key FROM incoming AS new, {table} AS old"
    " WHERE old.{key} = new.{key} AND ({old}) IS DISTINCT FROM ({new})"
)
_ABSENT = sql.SQL(
    "SELECT new.{key} AS key FROM incoming AS new"
    " WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE old.{key} = new.{key})"
)


def _keys(
    connection: psycopg.Connection, query: sql.Composable, examples: int
) -> tuple[int, list[str]]:
    counted = sql.SQL(
        'SELECT count(*), (array_agg(key::text ORDER BY key COLLATE "C"))[1:%s] FROM ({}) AS rows'
    ).format(query)
    count, keys = connection.execute(counted, (examples,)).fetchone() or (0, None)
    return count, keys or []


def _array_text(lists: pa.ChunkedArray) -> pa.Array:
    """Format lists as PostgreSQL arrays: `{"a","b",NULL}`."""
    flat = lists.combine_chunks()
    words = pc.replace_substring(pc.replace_substring(flat.values, "\\", "\\\\"), '"', '\\"')
    words = pc.coalesce(pc.binary_join_element_wise('"', words, '"', ""), "NULL")
    quoted = pa.ListArray.from_arrays(flat.offsets, words, mask=flat.is_null())
    return pc.binary_join_element_wise("{", pc.binary_join(quoted, ","), "}", "")


def _names(columns: Sequence[Column], table: str = "") -> sql.Composable:
    parts = ((table, c.name) if table else (c.name,) for c in columns)
    return sql.SQL(", ").join(sql.Identifier(*p) for p in parts)
