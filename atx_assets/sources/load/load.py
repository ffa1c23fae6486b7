"""Loads a parquet export of either layout into the database: every good row, or nothing.

Not here: the file (`export_file.py`), what a column may hold (`row_values.py`, `sources/rules.py`),
the table (`receiving.py`, `tables.py`), the statements that write rows (`staging.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import errors

from atx_assets.errors import AtxError
from atx_assets.schemas import UNKNOWN_TEXT, Column
from atx_assets.sources.layouts import SCHEMA
from atx_assets.sources.load.export_file import Export, open_export
from atx_assets.sources.load.kept_verdicts import Verdicts, keep_newer_verdicts
from atx_assets.sources.load.receiving import Receiver, complete_enums, ready_receiver
from atx_assets.sources.load.row_values import Faults, converted
from atx_assets.sources.load.staging import ROW, copy_rows, make_incoming, refuse_clashes, upsert
from atx_assets.sources.rules import broken_rules, unstorable

_EXAMPLES = 5
# A refused key may be any text; valid ones have 40 characters at most.
_LONGEST = 60


@dataclass
class LoadReport:
    """What happened to a file's rows; the four counts add up to `rows`.

    `kept` are verdicts of people in the table that are newer than the file's, and stayed;
    `replaced` are those that the file's verdicts replaced. `refused` maps a reason to its count
    and the keys of a few rows. A row is refused once, for the first reason found. A row without a
    key is named by its position in the file, from 1.
    """

    layout: str
    table: str
    rows: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    kept: Verdicts = field(default_factory=Verdicts)
    replaced: Verdicts = field(default_factory=Verdicts)
    refused: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    @property
    def refused_rows(self) -> int:
        """How many rows were refused, for any reason."""
        return sum(count for count, _ in self.refused.values())

    def refuse(self, reason: str, count: int, keys: Sequence[str]) -> None:
        """Count rows that were refused for a reason."""
        before, examples = self.refused.get(reason, (0, []))
        self.refused[reason] = (before + count, [*examples, *keys][:_EXAMPLES])

    def lines(self) -> list[str]:
        """Return the report as lines for a person."""
        lines = [f"{self.table}: {self.rows:,} rows read ({self.layout} layout)"]
        for name in ("added", "changed", "unchanged"):
            lines.append(f"  {name:<10}{getattr(self, name):>9,}")
        lines.append(f"  {'refused':<10}{self.refused_rows:>9,}")
        lines += [f"    {line}" for line in self.reasons()]
        lines += [f"  {line}" for line in self.verdict_lines()]
        if self.refused:
            lines.append(
                f"  warning: {self.refused_rows:,} of {self.rows:,} rows were refused; fix them "
                "in the export and load it again"
            )
        return lines

    def verdict_lines(self) -> list[str]:
        """Say which verdicts of people stayed, and which were replaced."""
        lines = []
        if self.kept.count:
            lines.append(
                f"kept {_people(self.kept)}, newer than the file's ({self.kept}); "
                "--overwrite-verdicts takes the file's"
            )
        if self.replaced.count:
            lines.append(f"replaced {_people(self.replaced)} by the file's ({self.replaced})")
        return lines

    def reasons(self) -> list[str]:
        """Say why rows were refused, how many, and which."""
        return [
            f"{count:,} because {reason}: {', '.join(keys)}{', …' if count > len(keys) else ''}"
            for reason, (count, keys) in self.refused.items()
        ]

    def __str__(self) -> str:
        """Return the report, line by line."""
        return "\n".join(self.lines())


def load_file(
    connection: psycopg.Connection,
    path: Path,
    *,
    beside_other_tables: bool = False,
    overwrite_verdicts: bool = False,
) -> LoadReport:
    """Load a parquet export in one transaction, by key: insert new rows, update changed ones.

    Schema, types and table are created if missing, with the columns that the file has. Bad rows
    are refused and good rows are loaded. An added row keeps the times of the file. All columns but
    `created_at` and `updated_at` decide whether a row changed: an equal row is not touched, so
    loading a file twice changes nothing. A changed row keeps the table's `created_at`, and its
    `updated_at` becomes the time of the load, as after any update.

    Args:
        connection: not in a transaction; committed at the end, rolled back on a failure.
        path: the file.
        beside_other_tables: create the table even in a database that holds unknown tables.
        overwrite_verdicts: use the file's verdicts even if a person gave a newer one.

    Raises:
        AtxError: the file cannot be used, the table cannot be created or written to, or every row
            was refused. Nothing has changed then.
        psycopg.Error: the connection was lost, or a statement took too long (`explained` in
            `sources/read/database.py` turns it into one line).
    """
    try:
        with open_export(path) as export:
            return _load_export(connection, export, beside_other_tables, overwrite_verdicts)
    except MemoryError as error:
        raise AtxError(
            f"{path} needs more memory than there is; nothing was loaded: it is damaged, or its "
            "values are very long: export it again, with fewer rows per file"
        ) from error


def _load_export(
    connection: psycopg.Connection,
    export: Export,
    beside_other_tables: bool,
    overwrite_verdicts: bool,
) -> LoadReport:
    report = LoadReport(export.layout.name, f"{SCHEMA}.{export.layout.table}")
    try:
        complete_enums(connection, export.layout, export.columns, beside_other_tables)
        with connection.transaction():
            receiver = ready_receiver(
                connection, export.layout, export.columns, beside_other_tables
            )
            _load(connection, export, receiver, report, overwrite_verdicts)
    except (errors.IntegrityError, errors.DataError, errors.RaiseException) as error:
        raise AtxError(
            f"a rule of {report.table} refuses a row of {export.path} "
            f"({_message(error)}); nothing was loaded: fix the row or the rule"
        ) from error
    return report


def _load(
    connection: psycopg.Connection,
    export: Export,
    receiver: Receiver,
    report: LoadReport,
    overwrite_verdicts: bool,
) -> None:
    make_incoming(connection, receiver)
    for batch in export.batches():
        copy_rows(connection, _good_rows(batch, receiver, report), receiver.columns)
    for reason, count, keys in refuse_clashes(connection, receiver, _EXAMPLES):
        report.refuse(reason, count, keys)
    good = report.rows - report.refused_rows
    if not good:
        raise AtxError(
            f"every row of {export.path} was refused and nothing was loaded: "
            + "; ".join(report.reasons())
        )
    report.kept, report.replaced = keep_newer_verdicts(
        connection, receiver, overwrite=overwrite_verdicts
    )
    done = upsert(connection, receiver, _EXAMPLES)
    if done.not_taken:
        report.refuse("a trigger or rule of the table keeps it out", done.not_taken, done.keys)
    report.added, report.changed = done.added, done.changed
    report.unchanged = good - done.added - done.changed - done.not_taken


def _good_rows(batch: pa.RecordBatch, receiver: Receiver, report: LoadReport) -> pa.Table:
    """Convert a batch to the table's types, and take out the rows that cannot be loaded."""
    places = np.arange(report.rows + 1, report.rows + 1 + batch.num_rows)
    report.rows += batch.num_rows
    made = {ROW: pa.chunked_array([pa.array(places)])}
    faults: Faults = []
    for column in receiver.columns:
        values, found = _judged(batch.column(column.name), column, column.name == receiver.key)
        made[column.name] = values
        faults += found
    good = np.ones(batch.num_rows, bool)
    for reason, mask in faults:
        wrong = good & np.asarray(mask)
        if wrong.any():
            keys = _names(made[receiver.key], places, np.flatnonzero(wrong)[:_EXAMPLES])
            report.refuse(reason, int(wrong.sum()), keys)
            good[wrong] = False
    return pa.table(made).filter(pa.array(good))


def _judged(values: pa.Array, column: Column, is_key: bool) -> tuple[pa.ChunkedArray, Faults]:
    """Return a column's values in its type, and what is wrong with which of them."""
    array, faults = converted(values, column)
    array = pa.chunked_array([array])
    if is_key:
        # Any column may be unknown, except the key.
        faults.append(("is missing", pc.is_in(array, pa.array(UNKNOWN_TEXT, pa.string()))))
    faults += [*unstorable(array, column), *broken_rules(array, column)]
    return array, [(f"{column.name} {words}", mask) for words, mask in faults]


def _names(keys: pa.ChunkedArray, places: Any, at: Any) -> list[str]:
    shown = ((keys[int(i)].as_py(), places[i]) for i in at)
    return [_short(key) if key else f"row {place}" for key, place in shown]


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST else f"{key[: _LONGEST - 1]}…"


def _people(verdicts: Verdicts) -> str:
    one = verdicts.count == 1
    return "1 verdict of a person" if one else f"{verdicts.count:,} verdicts of people"


def _message(error: psycopg.Error) -> str:
    parts = (error.diag.message_primary, error.diag.message_detail)
    return ": ".join(part for part in parts if part) or str(error)
