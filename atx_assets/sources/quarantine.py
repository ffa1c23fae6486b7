"""The rows set aside, each with its reasons, as a table that a person can read.

Not here: which rows are set aside (`contract.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atx_assets.schemas import QUARANTINE, arrow_schema
from atx_assets.sources.contract import RowCounts
from atx_assets.sources.layouts import Layout

#: How much of a text, and of a list, is kept in a row's JSON, in a cell, and in a reason. The whole
#: row is in the file it was read from, and in the source.
KEPT_TEXT, KEPT_ENTRIES, KEPT_CELL, KEPT_VALUE = 2_000, 250, 300, 60


def quarantine_table(path: Path, found: RowCounts, layout: Layout) -> pa.Table:
    """Make the table of the rows set aside, in their order.

    Args:
        path: the parquet file that was sorted.
        found: the result of sorting it.
        layout: its layout.

    Returns:
        The columns of `schemas.QUARANTINE`; the same rows give the same bytes.
    """
    places = found.set_aside
    broken: dict[int, list[tuple[str, str]]] = {int(place): [] for place in places}
    for rule, at in found.broken.items():
        for place in at:
            broken[int(place)].append(rule)
    schema = arrow_schema(QUARANTINE)
    batches = [
        pa.RecordBatch.from_pylist(
            [
                _record(row, broken[int(place)], layout)
                for place, row in zip(here, rows.to_pylist(), strict=True)
            ],
            schema,
        )
        for here, rows in _rows_at(path, places)
    ]
    return pa.Table.from_batches(batches, schema)


def keys_to_list(path: Path, found: RowCounts, layout: Layout) -> list[str | None]:
    """Return the keys that the list of rows set aside must hold, in its order.

    Args:
        path, found, layout: as `quarantine_table` takes them.
    """
    parts = _rows_at(path, found.set_aside, [layout.key])
    return [_cut(key, KEPT_CELL) for _, rows in parts for key in rows[layout.key].to_pylist()]


def _rows_at(
    path: Path, places: NDArray[np.int64], columns: list[str] | None = None
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Yield places and the rows there; of a large file, only the parts with such rows are read."""
    file, start = pq.ParquetFile(path), 0
    for part in range(file.num_row_groups):
        end = start + file.metadata.row_group(part).num_rows
        here = places[(places >= start) & (places < end)]
        if len(here):
            yield here, file.read_row_group(part, columns).take(pa.array(here - start))
        start = end


def _record(
    row: Mapping[str, Any], broken: list[tuple[str, str]], layout: Layout
) -> dict[str, Any]:
    return {
        "source_key": _cut(row[layout.key], KEPT_CELL),
        "imdb_id": _cut(row["imdb_id"], KEPT_CELL),
        "media_title": _cut(row["media_title"], KEPT_CELL),
        "media_type": _cut(row["media_type"], KEPT_CELL),
        "reasons": [_reason(name, words, row[name]) for name, words in broken],
        "row": json.dumps({name: _kept(v) for name, v in row.items()}, ensure_ascii=False),
    }


def _reason(name: str, words: str, value: Any) -> str:
    return f"{name} {words}" + ("" if value is None else f": {shown(value)}")


def shown(value: Any) -> str:
    """Return a value of a row as a reason shows it: short, on one line, no control characters."""
    if isinstance(value, list):
        first = ", ".join(shown(entry) for entry in value[:3])
        return f"[{first}, … {len(value):,} in all]" if len(value) > 3 else f"[{first}]"
    if isinstance(value, str):
        more = f"… ({len(value):,} characters)" if len(value) > KEPT_VALUE else ""
        return f"{value[:KEPT_VALUE]!r}{more}"
    return str(value)


def _kept(value: Any) -> Any:
    """Return a value as JSON can hold it, cut if it is longer than a person would read."""
    if isinstance(value, str):
        return _cut(value, KEPT_TEXT)
    if isinstance(value, list):
        kept = [_kept(entry) for entry in value[:KEPT_ENTRIES]]
        return kept + ([f"… {len(value):,} entries"] if len(value) > KEPT_ENTRIES else [])
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _cut(text: str | None, longest: int) -> str | None:
    if text is None or len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text):,} characters)"
