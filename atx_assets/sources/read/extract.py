"""Copies a source table to a parquet file, in key order, in batches of limited memory.

Not here: which table (`sources/layouts.py`), what its rows mean (`sources/titles.py`).
"""

from __future__ import annotations

import json
import secrets
import selectors
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import errors, sql
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from pyarrow import csv

from atx_assets.schemas import BOOL, FLOAT, INT, STRING, STRINGS, TIME, arrow_type
from atx_assets.sources.layouts import SCHEMA, SourceTable
from atx_assets.sources.models_labels import models_labels_metadata
from atx_assets.storage.parts import CARRIED

_BATCH_BYTES = 16 << 20
_EVERY_ROW = sql.SQL("true")

# Replaces a time that Arrow cannot hold: within Arrow's range, and on the only day of it that
# the query lets no other time have.
_NO_TIME = datetime(9999, 12, 31, 12, tzinfo=UTC)

#: What reading mends, because neither Arrow nor parquet could hold it: the kinds that
#: `mended_on_reading` returns.
DATES, NOT_UTF8 = "date that no calendar has to missing", "bytes that are no UTF-8 to U+FFFD"
_MENDED = b"atx_mended"


def _token(first: str, length: int) -> str:
    """Return a word that begins with a control character, and that nobody can predict."""
    return first + secrets.token_hex(length)


@dataclass(frozen=True)
class _Marks:
    """The marks in the copy: between an array's elements, for a null, for a lone empty element.

    Without the last, such an element would read as an empty array. The marks are new for each
    extraction: no element can contain them, so no element has to be checked.
    """

    unit: str = field(default_factory=lambda: _token("\x1f", 3))
    null: str = field(default_factory=lambda: _token("\x1e", 8))
    blank: str = field(default_factory=lambda: _token("\x1d", 8))


def extract(
    connection: psycopg.Connection,
    source: SourceTable,
    path: Path,
    snapshot: Mapping[str, Any],
) -> int:
    """Copy the whole table to `path`, ordered bytewise by its primary key.

    The rows come from the current transaction of `connection`. Columns that the layout does not
    know are kept, as text. Arrays of several dimensions become flat. Times outside the years 1 to
    9999 have no Arrow form that others read, and become null; invalid UTF-8, which a
    database in SQL_ASCII can hold, becomes U+FFFD. The file says how many there are of each
    (`mended_on_reading`), and which labels are a model's (`models_labels_in`).

    Returns:
        The number of rows.
    """
    about = {CARRIED: json.dumps(dict(snapshot)), **models_labels_metadata(source.by_model)}
    schema = _arrow_schema(source).with_metadata(about)
    marks, mended = _Marks(), Counter[str]()
    # A parallel sort in memory is faster than following the primary key's index, which reads the
    # table in random order; and the order of "C" does not depend on the database's locale.
    connection.execute("SET LOCAL work_mem = '64MB'")
    # A database may be configured to format times in a way that Arrow cannot read.
    connection.execute("SET LOCAL datestyle = 'ISO'")
    with (
        pq.ParquetWriter(path, schema, **_parquet_options(schema)) as writer,
        ThreadPoolExecutor(1, "atx-extract") as parsing,
        ThreadPoolExecutor(1, "atx-extract") as writing,
        closing(_copy(connection, source, marks)) as batches,
    ):

        def write(parsed: Future[pa.Table]) -> int:
            table = parsed.result()
            writer.write_table(table)
            rows: int = table.num_rows
            return rows

        # One batch is received while the previous one is parsed, and the one before that compressed
        # and written. No more at a time, so memory is limited.
        rows, under_way = 0, deque[Future[int]]()
        for batch in batches:
            parsed = parsing.submit(_parse, batch, schema, marks, mended)
            under_way.append(writing.submit(write, parsed))
            if len(under_way) > 2:
                rows += under_way.popleft().result()
        rows += sum(written.result() for written in under_way)
        if mended:
            writer.add_key_value_metadata({_MENDED: json.dumps(dict(mended))})
    return rows


def read_rows(
    connection: psycopg.Connection, source: SourceTable, where: sql.Composable
) -> pa.Table:
    """Read the rows that a condition selects into memory, as `extract` would read them."""
    connection.execute("SET LOCAL datestyle = 'ISO'")
    schema, marks, mended = _arrow_schema(source), _Marks(), Counter[str]()
    chunks = _copy(connection, source, marks, where)
    return pa.concat_tables([_parse(chunk, schema, marks, mended) for chunk in chunks])


def mended_on_reading(path: Path) -> dict[str, int]:
    """Return how many values of each kind `extract` has changed in the file at `path`."""
    found: dict[str, int] = json.loads(pq.read_metadata(path).metadata.get(_MENDED, b"{}"))
    return found


def _copy(
    connection: psycopg.Connection,
    source: SourceTable,
    marks: _Marks,
    where: sql.Composable = _EVERY_ROW,
) -> Generator[bytes, None, None]:
    """Yield the table, or the rows that a condition selects, as CSV, cut between rows."""
    query = _copy_query(connection, source, marks, where).as_bytes(connection)
    finished = False
    try:
        yield from _received(connection.pgconn, query)
        finished = True
    finally:
        if not finished:  # the connection still holds rows, or the failure's results
            connection.close()


def _copy_query(
    connection: psycopg.Connection, source: SourceTable, marks: _Marks, where: sql.Composable
) -> sql.Composed:
    known = {column.name: column.type for column in source.known}
    # In SQL_ASCII no conversion happens: the server would only refuse text that is not UTF-8.
    ascii_ = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
    return sql.SQL(
        "COPY (SELECT {columns} FROM {table} WHERE {where} ORDER BY {order}) TO STDOUT "
        "(FORMAT csv, ENCODING {encoding})"
    ).format(
        encoding=sql.Literal("SQL_ASCII" if ascii_ else "UTF8"),
        columns=sql.SQL(", ").join(
            _expression(name, known.get(name, ""), stored_as, marks)
            for name, stored_as in source.columns.items()
        ),
        table=sql.Identifier(SCHEMA, source.layout.table),
        where=where,
        order=_order(source),
    )


def _received(libpq: PGconn, query: bytes) -> Iterator[bytes]:
    """Yield what a COPY sends, cut between rows, in batches.

    Through libpq itself: iterating over psycopg's copy object takes ten times as long per row.
    """
    with _waiting_for(libpq) as wait:
        libpq.send_query(query)
        while libpq.flush():
            # A long query may not fit into the socket: its rest waits for room there.
            wait(selectors.EVENT_READ | selectors.EVENT_WRITE)
        while libpq.is_busy():
            wait(selectors.EVENT_READ)
        _raise_unless(libpq.get_result(), ExecStatus.COPY_OUT)
        rows, size = list[bytes](), 0
        while (got := libpq.get_copy_data(1))[0] >= 0:
            if not got[0]:  # nothing has arrived yet
                wait(selectors.EVENT_READ)
                continue
            rows.append(bytes(got[1]))
            size += got[0]
            if size >= _BATCH_BYTES:
                yield b"".join(rows)
                rows, size = [], 0
        while (result := libpq.get_result()) is not None:
            _raise_unless(result, ExecStatus.COMMAND_OK)
    yield b"".join(rows)


@contextmanager
def _waiting_for(libpq: PGconn) -> Iterator[Callable[[int], None]]:
    """Yield a function that waits for the server; libpq's own blocks threads and Ctrl-C."""
    with selectors.DefaultSelector() as selector:
        selector.register(libpq.socket, selectors.EVENT_READ)

        def wait(events: int) -> None:
            selector.modify(libpq.socket, events)
            selector.select()
            libpq.consume_input()

        yield wait


def _raise_unless(result: PGresult | None, wanted: ExecStatus) -> None:
    if result is None:
        raise errors.ConnectionException("the server has closed the connection")
    if result.status != wanted:
        state = (result.error_field(DiagnosticField.SQLSTATE) or b"08006").decode()
        # Without its details, which are on separate lines and would hide what happened.
        primary = result.error_field(DiagnosticField.MESSAGE_PRIMARY)
        said = primary.decode(errors="replace") if primary else result.get_error_message()
        raise errors.lookup(state)(said)


def _order(source: SourceTable) -> sql.Composable:
    """Order by key; a view may repeat one, and the order must not depend on the view's plan."""
    key = source.layout.key
    by_key = sql.SQL('{} COLLATE "C"').format(sql.Identifier(key))
    rest = (sql.Identifier(column.name) for column in source.known if column.name != key)
    return sql.SQL(", ").join((by_key, *rest))


def _expression(name: str, kind: str, stored_as: str, marks: _Marks) -> sql.Composable:
    column: sql.Composable = sql.Identifier(name)
    # Otherwise an empty char(2) would read as two blanks, and not as unknown.
    if stored_as == "character":
        column = sql.SQL("({})::text").format(column)
    elif stored_as == "character[]":
        column = sql.SQL("({})::text[]").format(column)
    if kind in (INT, BOOL, FLOAT, STRING):
        return column
    if kind == STRINGS:
        return sql.SQL(
            "CASE WHEN ({0})[1] = '' AND cardinality({0}) = 1 THEN {3} "
            "ELSE array_to_string({0}, {1}, {2}) END"
        ).format(column, marks.unit, marks.null, marks.blank)
    if kind == TIME:
        return sql.SQL(
            "CASE WHEN {0} >= '0001-01-01' AND {0} < '9999-12-31' THEN {0}::timestamptz "
            "WHEN {0} IS NOT NULL THEN {1}::timestamptz END"
        ).format(column, _NO_TIME.isoformat())
    return sql.SQL("{}::text").format(column)


def _arrow_schema(source: SourceTable) -> pa.Schema:
    known = {column.name: column.type for column in source.known}
    return pa.schema([(name, arrow_type(known.get(name, STRING))) for name in source.columns])


def _parse(chunk: bytes, schema: pa.Schema, marks: _Marks, mended: Counter[str]) -> pa.Table:
    """Make a table of a batch, and count in `mended` what could not be read unchanged."""
    if not chunk:
        return schema.empty_table()
    try:
        table = _from_csv(chunk, schema)
    except pa.ArrowInvalid:
        text = chunk.decode("utf-8", "replace")
        replaced = text.count("\ufffd") - chunk.count("\ufffd".encode())
        if not replaced:
            raise
        mended[NOT_UTF8] += replaced
        table = _from_csv(text.encode(), schema)
    for at, column in enumerate(schema):
        if pa.types.is_list(column.type):
            flat = table[column.name].combine_chunks()
            table = table.set_column(at, column.name, _split(flat, marks))
        elif pa.types.is_timestamp(column.type):
            known, dates = _known_times(table[column.name])
            if dates:
                mended[DATES] += dates
                table = table.set_column(at, column.name, known)
    return table.cast(schema)


def _known_times(times: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Return times with the mark for those outside Arrow's range as null, and their number."""
    none = pc.equal(times, pa.scalar(_NO_TIME, times.type))
    found = pc.sum(none).as_py() or 0
    return pc.if_else(none, pa.scalar(None, times.type), times), found


def _from_csv(chunk: bytes, schema: pa.Schema) -> pa.Table:
    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    flat = {f.name: pa.string() if f.name in lists else f.type for f in schema}
    return csv.read_csv(
        pa.BufferReader(chunk),
        # The chunk is one block: it may hold one row of many megabytes.
        csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(chunk) + 1),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=flat,
            # COPY writes null as nothing, and the empty string as "".
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )


def _split(flat: pa.Array, marks: _Marks) -> pa.Array:
    """Undo `array_to_string`: '' is the empty array, null is null."""
    if isinstance(flat, pa.ChunkedArray):
        flat = flat.combine_chunks()
    # Few lists are distinct, so each is split only once.
    encoded = flat.dictionary_encode()
    words = pc.split_pattern(encoded.dictionary, marks.unit)
    values = words.values
    values = pc.if_else(pc.equal(values, marks.null), pa.scalar(None, pa.string()), values)
    values = pc.if_else(pc.equal(values, marks.blank), "", values)
    split = pa.ListArray.from_arrays(words.offsets, values)
    empty = pa.array([[]], pa.list_(pa.string()))
    split = pa.concat_arrays([split, empty])
    index = pc.if_else(pc.equal(flat, ""), len(split) - 1, encoded.indices)
    return split.take(index)


def _parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Write repeated text as a dictionary, and values that differ in each row as they are.

    A dictionary of a million hashes or paths costs time and memory, and is thrown away.
    """
    distinct = {"hash", "imdb_id", "media_title", "original_title", "original_media_title"}
    distinct |= {"parent_path", "target_path", "original_path", "original_link"}
    distinct |= {"tagline", "overview"}
    repeated = [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in schema
        if field.name not in distinct
        and (pa.types.is_string(field.type) or pa.types.is_list(field.type))
    ]
    return {"compression": "zstd", "compression_level": 1, "use_dictionary": repeated}
