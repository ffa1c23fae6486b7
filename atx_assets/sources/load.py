"""Puts a parquet export of either layout into the database: every good row, or nothing.

Not here: making tables (`tables.py`), what a column may hold (`rules.py`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from atx_assets.errors import AtxError
from atx_assets.schemas import BOOL, FLOAT, INT, STRING, STRINGS, TIME, Column, arrow_type
from atx_assets.sources.layouts import LAYOUTS, SCHEMA, Layout
from atx_assets.sources.rules import broken_rules, unstorable
from atx_assets.sources.tables import ensure_table

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH = 65_536
_EXAMPLES = 5
#: When a row was made and touched says nothing of whether it changed.
_TIMES = ("created_at", "updated_at")


@dataclass
class LoadReport:
    """What became of a file's rows. `refused` maps a reason to its count and some keys."""

    layout: str
    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def refuse(self, reason: str, keys: list[Any]) -> None:
        """Count rows that were refused for a reason."""
        count, examples = self.refused.get(reason, (0, []))
        shown = ["(no key)" if key is None else str(key) for key in keys[:_EXAMPLES]]
        self.refused[reason] = (count + len(keys), (examples + shown)[:_EXAMPLES])

    def lines(self) -> Iterator[str]:
        """Yield the report, line by line."""
        yield f"atp.{self.layout}: {self.rows:,} rows read"
        for name in ("added", "changed", "unchanged"):
            yield f"  {name:<10}{getattr(self, name):>9,}"
        refused = sum(count for count, _ in self.refused.values())
        yield f"  {'refused':<10}{refused:>9,}"
        for reason, (count, examples) in self.refused.items():
            yield f"    {count:,} because {reason}: {', '.join(examples)}"


def load_file(
    connection: psycopg.Connection, path: Path, *, beside_other_tables: bool = False
) -> LoadReport:
    """Load a parquet export in one transaction, by key: new rows in, changed ones changed.

    Schema, types and table are made where missing, with the columns that the file has. A row
    equal to the one that is there is not touched. A changed row keeps its `created_at`, and its
    `updated_at` becomes the time of the load.

    Args:
        connection: not in a transaction; committed at the end, rolled back on a failure.
        path: the file.
        beside_other_tables: make the table even in a database that holds unknown tables.

    Raises:
        AtxError: the file cannot be used, the table cannot be made, or every row was refused.
    """
    with _opened(path) as file:
        layout, columns = _recognise(path, file)
        report = LoadReport(layout.name)
        with connection.transaction():
            ensure_table(connection, layout, columns, beside_other_tables)
            _make_incoming(connection, layout, columns)
            for batch in file.iter_batches(_BATCH):
                _copy(connection, _good_rows(path, batch, layout, columns, report), columns)
            _refuse_repeated(connection, layout, report)
            _upsert(connection, layout, columns, report)
            if not report.added + report.changed + report.unchanged:
                reasons = "; ".join(f"{n:,} {why}" for why, (n, _) in report.refused.items())
                raise AtxError(f"{path}: not one row can be loaded ({reasons or 'it has none'})")
    return report


def _opened(path: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise AtxError(f"{path} is {'a folder' if path.is_dir() else 'not there'}: name a file")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise AtxError(
            f"{path} cannot be read as parquet ({str(error).splitlines()[0]}): export it again"
        ) from error


def _recognise(path: Path, file: pq.ParquetFile) -> tuple[Layout, list[Column]]:
    """Find the layout from the file's columns, and check that each has a usable type."""
    names = file.schema_arrow.names
    lacking = {
        layout.name: [c.name for c in layout.columns if c.required and c.name not in names]
        for layout in LAYOUTS.values()
    }
    nearest = LAYOUTS[min(lacking, key=lambda name: len(lacking[name]))]
    if lacking[nearest.name]:
        raise AtxError(
            f"{path} is in neither layout of atx; for the {nearest.name} layout it lacks the "
            f"columns {', '.join(lacking[nearest.name])}"
        )
    known = {column.name: column for column in nearest.columns}
    strange = [name for name in names if name not in known]
    if strange:
        raise AtxError(
            f"{path} has columns that the {nearest.name} layout does not know: "
            f"{', '.join(strange)}; leave them out"
        )
    for field_ in file.schema_arrow:
        if not _usable(field_.type, known[field_.name].type):
            raise AtxError(
                f"{path}: column {field_.name} is {field_.type}, and the {nearest.name} layout "
                f"wants {known[field_.name].type}"
            )
    return nearest, [known[name] for name in names]


def _usable(found: pa.DataType, wanted: str) -> bool:
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_null(found):
        return True
    if t.is_dictionary(found):
        found = found.value_type
    text = t.is_string(found) or t.is_large_string(found) or t.is_string_view(found)
    number = t.is_integer(found) or t.is_floating(found) or t.is_decimal(found)
    lists = isinstance(found, pa.ListType | pa.LargeListType)
    usable: dict[str, bool] = {
        STRING: text,
        STRINGS: lists and (_usable(found.value_type, STRING)),
        INT: number,
        FLOAT: number,
        BOOL: t.is_boolean(found),
        TIME: t.is_timestamp(found),
    }
    return usable[wanted]


def _make_incoming(connection: psycopg.Connection, layout: Layout, columns: list[Column]) -> None:
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS"
            " SELECT {columns} FROM {table} WITH NO DATA"
        ).format(columns=_names(columns), table=sql.Identifier(SCHEMA, layout.table))
    )
    connection.execute("ALTER TABLE incoming ADD line bigint GENERATED ALWAYS AS IDENTITY")


def _good_rows(
    path: Path, batch: pa.RecordBatch, layout: Layout, columns: list[Column], report: LoadReport
) -> pa.Table:
    """Bring a batch to the layout's types, and take out the rows that break a rule of it."""
    import numpy as np
    import pyarrow as pa

    report.rows += batch.num_rows
    good = np.ones(batch.num_rows, bool)
    made: dict[str, pa.ChunkedArray] = {}
    key = batch.column(layout.key)

    def refuse(reason: str, broken: Any) -> None:
        mask = good & broken.to_numpy(zero_copy_only=False)
        if mask.any():
            report.refuse(reason, key.filter(pa.array(mask)).to_pylist())
            good[mask] = False

    for column in columns:
        values, unconvertible = _converted(batch.column(column.name), column)
        if unconvertible is not None:
            refuse(f"{column.name} is not a whole number", unconvertible)
        for words, broken in (*broken_rules(values, column), *unstorable(values, column)):
            refuse(f"{column.name} {words}", broken)
        made[column.name] = values
    return pa.table(made).filter(pa.array(good))


def _converted(values: pa.Array, column: Column) -> tuple[pa.ChunkedArray, pa.Array | None]:
    """Bring a column to its type; for a number that is not whole, say where."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    unconvertible = None
    if t.is_dictionary(values.type):
        values = values.dictionary_decode()
    if t.is_decimal(values.type):
        values = values.cast(pa.float64())
    if t.is_floating(values.type):
        # pandas writes a missing number as NaN, and whole numbers with gaps as floats.
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        if column.type == INT:
            whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), 2.0**53))
            unconvertible = pc.invert(whole).fill_null(False)
            values = pc.if_else(unconvertible, pa.scalar(None, values.type), values)
    if t.is_timestamp(values.type) and values.type.tz is None:
        values = pc.assume_timezone(values.cast(pa.timestamp("us"), safe=False), "UTC")
    wanted = arrow_type(column.type)
    return pa.chunked_array([values.cast(wanted, safe=column.type != TIME)]), unconvertible


def _copy(connection: psycopg.Connection, rows: pa.Table, columns: list[Column]) -> None:
    """COPY rows into the incoming table, as CSV written by Arrow."""
    import pyarrow as pa
    from pyarrow import csv

    if not rows.num_rows:
        return
    flat = pa.table(
        {c.name: _array_text(rows[c.name]) if c.type == STRINGS else rows[c.name] for c in columns}
    )
    buffer = io.BytesIO()
    csv.write_csv(flat, buffer, csv.WriteOptions(include_header=False))
    query = sql.SQL("COPY incoming ({}) FROM STDIN (FORMAT csv)").format(_names(columns))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        copy.write(buffer.getbuffer())


def _array_text(lists: pa.ChunkedArray) -> pa.Array:
    """Write lists as PostgreSQL writes arrays: `{"a","b",NULL}`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = lists.combine_chunks()
    words = pc.replace_substring(pc.replace_substring(flat.values, "\\", "\\\\"), '"', '\\"')
    words = pc.coalesce(pc.binary_join_element_wise('"', words, '"', ""), "NULL")
    quoted = pa.ListArray.from_arrays(flat.offsets, words, mask=flat.is_null())
    return pc.binary_join_element_wise("{", pc.binary_join(quoted, ","), "}", "")


def _refuse_repeated(connection: psycopg.Connection, layout: Layout, report: LoadReport) -> None:
    """Keep the first row of a key in the file, and refuse the later ones."""
    key = sql.Identifier(layout.key)
    repeated = connection.execute(
        sql.SQL(
            "DELETE FROM incoming WHERE line IN (SELECT line FROM (SELECT line, row_number()"
            " OVER (PARTITION BY {key} ORDER BY line) AS place FROM incoming) placed"
            " WHERE place > 1) RETURNING {key}"
        ).format(key=key)
    ).fetchall()
    if repeated:
        words = f"{layout.key} stands in an earlier row of the file"
        report.refuse(words, [row[0] for row in repeated])


def _upsert(
    connection: psycopg.Connection, layout: Layout, columns: list[Column], report: LoadReport
) -> None:
    key = sql.Identifier(layout.key)
    table = sql.Identifier(SCHEMA, layout.table)
    compared = [c for c in columns if c.name not in (layout.key, *_TIMES)]
    changed = connection.execute(
        sql.SQL(
            "UPDATE {table} AS old SET {assignments} FROM incoming AS new"
            " WHERE old.{key} = new.{key} AND ({old}) IS DISTINCT FROM ({new})"
        ).format(
            table=table,
            key=key,
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = new.{0}").format(sql.Identifier(c.name)) for c in compared
            ),
            old=_names(compared, "old"),
            new=_names(compared, "new"),
        )
    ).rowcount
    added = connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming AS new"
            " WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE old.{key} = new.{key})"
        ).format(table=table, columns=_names(columns), key=key)
    ).rowcount
    total = connection.execute("SELECT count(*) FROM incoming").fetchone()
    report.added, report.changed = added, changed
    report.unchanged = (total[0] if total else 0) - added - changed


def _names(columns: list[Column], table: str = "") -> sql.Composable:
    parts = ((table, c.name) if table else (c.name,) for c in columns)
    return sql.SQL(", ").join(sql.Identifier(*p) for p in parts)
