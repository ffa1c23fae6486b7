"""Copies a source table to a parquet file, in key order, in batches of bounded memory.

Not here: which table (`layouts.py`), what its rows mean (`titles.py`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql
from psycopg.pq import DiagnosticField, ExecStatus

from atx_assets.schemas import BOOL, FLOAT, INT, STRING, STRINGS, TIME, arrow_type
from atx_assets.sources.layouts import SCHEMA, SourceTable

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg
    import pyarrow as pa
    from psycopg.pq.abc import PGresult

# Between the elements of an array, for an element that is null, and for an empty one that is
# alone (else it would read as the empty array): control characters that separate units, records
# and groups, and that no title, genre or company holds.
_UNIT, _NULL, _BLANK = "\x1f", "\x1e", "\x1d"
_BATCH_BYTES = 16 << 20


def extract(
    connection: psycopg.Connection,
    source: SourceTable,
    path: Path,
    snapshot: Mapping[str, Any],
) -> int:
    """Copy the whole table to `path`, ordered bytewise by its primary key.

    The rows are of the transaction that `connection` is in. Columns that the layout does not
    know are kept, as text. Times outside the years 1 to 9999 have no Arrow form that others
    read, and become null.

    Returns:
        The number of rows.
    """
    import pyarrow.parquet as pq

    schema = _arrow_schema(source).with_metadata({"atx": json.dumps(dict(snapshot))})
    chunks: Queue[bytes | None] = Queue(maxsize=2)
    rows, failures = 0, list[BaseException]()

    def parse_and_write() -> None:
        nonlocal rows
        try:
            with (
                pq.ParquetWriter(path, schema, **_parquet_options(schema)) as writer,
                ThreadPoolExecutor(1) as beside,
            ):
                written: Future[None] | None = None
                while (chunk := chunks.get()) is not None:
                    # A batch is parsed while the one before it is compressed and written.
                    table = _parse(chunk, schema)
                    rows += table.num_rows
                    if written:
                        written.result()
                    written = beside.submit(writer.write_table, table)
                if written:
                    written.result()
        except BaseException as failure:
            failures.append(failure)
            # Keep taking, or the reading side waits for ever on a full queue.
            while chunks.get() is not None:
                pass

    writer_thread = threading.Thread(target=parse_and_write, name="atx-extract")
    writer_thread.start()
    try:
        # A parallel sort in memory beats a walk along the primary key's index, which reads the
        # table in random order; and the order of "C" does not depend on the database's locale.
        connection.execute("SET LOCAL work_mem = '64MB'")
        # A database may be set to spell times in a way that Arrow cannot read.
        connection.execute("SET LOCAL datestyle = 'ISO'")
        for chunk in _copy(connection, source):
            if failures:
                break
            chunks.put(chunk)
    finally:
        chunks.put(None)
        writer_thread.join()
    if failures:
        raise failures[0]
    return rows


def _copy(connection: psycopg.Connection, source: SourceTable) -> Iterator[bytes]:
    """Yield the table as CSV, cut between rows, a batch at a time."""
    known = {column.name: column.type for column in source.known}
    query = sql.SQL(
        'COPY (SELECT {columns} FROM {table} ORDER BY {key} COLLATE "C") TO STDOUT '
        "(FORMAT csv, ENCODING 'UTF8')"
    ).format(
        columns=sql.SQL(", ").join(
            _expression(name, known.get(name, ""), stored_as)
            for name, stored_as in source.columns.items()
        ),
        table=sql.Identifier(SCHEMA, source.layout.table),
        key=sql.Identifier(source.layout.key),
    )
    # The low-level interface: iterating over psycopg's copy object takes ten times the time a row.
    libpq = connection.pgconn
    _raise_unless(libpq.exec_(query.as_bytes(connection)), ExecStatus.COPY_OUT)
    parts, size, finished = list[bytes](), 0, False
    try:
        while (got := libpq.get_copy_data(0))[0] > 0:
            parts.append(bytes(got[1]))
            size += got[0]
            if size >= _BATCH_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
        while (result := libpq.get_result()) is not None:
            _raise_unless(result, ExecStatus.COMMAND_OK)
        finished = True
    finally:
        if not finished:  # the connection is still full of rows, or of the failure's results
            connection.close()
    yield b"".join(parts)


def _raise_unless(result: PGresult, wanted: ExecStatus) -> None:
    if result.status != wanted:
        state = (result.error_field(DiagnosticField.SQLSTATE) or b"08006").decode()
        raise errors.lookup(state)(result.get_error_message())


def _expression(name: str, kind: str, stored_as: str) -> sql.Composable:
    column: sql.Composable = sql.Identifier(name)
    if stored_as in ("character", "character[]"):
        # Else an empty char(2) would read as two blanks, and not as unknown.
        column = sql.SQL("({})::text" + stored_as.removeprefix("character")).format(column)
    if kind in (INT, BOOL, FLOAT, STRING):
        return column
    if kind == STRINGS:
        return sql.SQL(
            "CASE WHEN ({0})[1] = '' AND cardinality({0}) = 1 THEN {3} "
            "ELSE array_to_string({0}, {1}, {2}) END"
        ).format(column, _UNIT, _NULL, _BLANK)
    if kind == TIME:
        return sql.SQL(
            "CASE WHEN {0} >= '0001-01-01' AND {0} < '9999-12-31' THEN {0}::timestamptz END"
        ).format(column)
    return sql.SQL("{}::text").format(column)


def _arrow_schema(source: SourceTable) -> pa.Schema:
    import pyarrow as pa

    known = {column.name: column.type for column in source.known}
    return pa.schema([(name, arrow_type(known.get(name, STRING))) for name in source.columns])


def _parse(chunk: bytes, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    lists = [field.name for field in schema if pa.types.is_list(field.type)]
    flat = {f.name: pa.string() if f.name in lists else f.type for f in schema}
    if not chunk:
        return schema.empty_table()
    table = csv.read_csv(
        pa.BufferReader(chunk),
        # The chunk is one block: it may hold a single row of many megabytes.
        csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=len(chunk) + 1),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=flat,
            # COPY writes null as nothing and the empty string as "".
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    for name in lists:
        index = schema.get_field_index(name)
        table = table.set_column(index, name, _split(pc, table[name].combine_chunks()))
    return table.cast(schema)


def _split(pc: Any, flat: pa.Array) -> pa.Array:
    """Undo `array_to_string`: '' is the empty array, null is null."""
    import pyarrow as pa

    if isinstance(flat, pa.ChunkedArray):
        flat = flat.combine_chunks()
    # Few lists are distinct, so each is split once.
    encoded = flat.dictionary_encode()
    words = pc.split_pattern(encoded.dictionary, _UNIT)
    values = words.values
    values = pc.if_else(pc.equal(values, _NULL), pa.scalar(None, pa.string()), values)
    values = pc.if_else(pc.equal(values, _BLANK), "", values)
    split = pa.ListArray.from_arrays(words.offsets, values)
    empty = pa.array([[]], pa.list_(pa.string()))
    split = pa.concat_arrays([split, empty])
    index = pc.if_else(pc.equal(flat, ""), len(split) - 1, encoded.indices)
    return split.take(index)


def _parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Write repeated text as a dictionary, and what differs in each row as it is.

    Building a dictionary of a million hashes or paths costs time and memory, and is thrown away.
    """
    import pyarrow as pa

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
