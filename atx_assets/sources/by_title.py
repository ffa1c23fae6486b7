"""Groups the film rows of a library by title, one range of keys at a time.

A library that fits into one range stays in memory. A larger one is distributed to one file per
range, as in an external distribution sort. So memory does not grow with the library, and the code
that handles a range (`titles.py`) need not know about the others.

Not here: which rows are used (`contract.py`), what a title consists of (`titles.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atx_assets.sources.layouts import Layout
from atx_assets.sources.verdicts import (
    ids_of_names,
    join_by_name,
    keys_without_id,
    known_text,
    named_ids,
    title_keys,
)

#: Rows per range. Making titles takes a few times the memory of one range.
ROWS_A_RANGE = 500_000
#: One in this many rows is sampled to choose the ranges.
_SAMPLED = 64

#: Our columns that waiting rows carry: place in the source, IMDb id and key of the title.
_PLACE, _ID, _KEY, _ASIDE = "atx_place", "atx_id", "atx_key", "atx_aside"
_OURS = [_PLACE, _ID, _KEY, _ASIDE]


@dataclass(frozen=True)
class TitleRows:
    """All rows of the titles in a range of keys.

    Attributes:
        films: the usable rows, in the order of the source's key.
        ids, keys: the IMDb id (null if unknown) and the key of each row's title.
        aside: rows set aside whose verdict may count for one of these titles.
    """

    films: pa.Table
    ids: pa.Array
    keys: pa.Array
    aside: pa.Table


def range_bounds(parts: Iterable[pa.Table], rows: int, layout: Layout) -> list[str]:
    """Return the keys at which the ranges of titles begin, except the first range.

    Args:
        parts: the library's rows, with the columns that make up keys; read only if needed.
        rows: number of rows in the library.
        layout: the layout of the rows.
    """
    ranges = -(-rows // ROWS_A_RANGE)
    if ranges < 2:
        return []
    samples = (part.take(np.arange(0, part.num_rows, _SAMPLED)) for part in parts)
    keys = pa.chunked_array([title_keys(rows, layout) for rows in samples], pa.string())
    keys = keys.drop_null().sort()
    at = [len(keys) * number // ranges for number in range(1, ranges)]
    return sorted({keys[place].as_py() for place in at if place < len(keys)})


class RowsByTitle:
    """Takes the rows of a library part by part, and returns them by ranges of titles."""

    def __init__(self, layout: Layout, bounds: list[str], folder: Path) -> None:
        """Prepare the ranges.

        Args:
            layout: the layout of the rows.
            bounds: as `range_bounds` returns them.
            folder: where rows wait if there is more than one range.
        """
        self._layout = layout
        self._bounds = bounds
        names = [*map(str, range(len(bounds))), "last", "without_id"]
        *self._ranges, self._without_id = [
            _OnDisk(folder / f"{name}.arrow") if bounds else _InMemory() for name in names
        ]
        self._names_without_id: list[pa.Array] = []
        self._taken = 0

    def add(self, films: pa.Table, aside: pa.Table) -> None:
        """Add rows.

        Args:
            films: usable film rows, which follow those added before by the source's key.
            aside: rows set aside whose verdict counts for the title with their IMDb id.
        """
        aside = self._with_places(aside.select(films.column_names))
        films = self._with_places(films)
        ids = known_text(films["imdb_id"]).combine_chunks()
        if self._layout.name == "media" and ids.null_count:
            without = films.filter(ids.is_null())
            self._without_id.append(without)
            self._names_without_id.append(pc.unique(keys_without_id(without)))
            films, ids = films.filter(ids.is_valid()), ids.drop_null()
        self._distribute(films, ids, ids, aside=False)
        ids = known_text(aside["imdb_id"]).combine_chunks()
        self._distribute(aside.filter(ids.is_valid()), ids.drop_null(), ids.drop_null(), aside=True)

    def _with_places(self, rows: pa.Table) -> pa.Table:
        """Number the rows, continuing after the rows added before."""
        places = np.arange(self._taken, self._taken + rows.num_rows)
        self._taken += rows.num_rows
        return rows.replace_schema_metadata(None).append_column(_PLACE, pa.array(places))

    def ranges(self) -> Iterator[TitleRows]:
        """Yield the rows of each range that has a title, in the order of the titles' keys."""
        self._place_those_without_id()
        for waiting in self._ranges:
            if not (parts := list(waiting.parts())):
                continue
            rows = pa.concat_tables(parts)
            films = rows.filter(pc.invert(rows[_ASIDE]))
            if self._names_without_id:  # their rows come after all others
                films = films.sort_by(_PLACE)
            if films.num_rows:
                yield TitleRows(
                    films.drop_columns(_OURS),
                    films[_ID].combine_chunks(),
                    films[_KEY].combine_chunks(),
                    rows.filter(rows[_ASIDE]).drop_columns(_OURS),
                )

    def _place_those_without_id(self) -> None:
        """Find the title of each release without an IMDb id, now that all names are known."""
        if not self._names_without_id:
            return
        wanted = pc.unique(pa.chunked_array(self._names_without_id))
        needed = ["imdb_id", *self._layout.names, "release_year", _ASIDE]
        named = []
        for waiting in self._ranges:
            # One range at a time: releases of one title share a name, which is folded once.
            if parts := list(waiting.parts(needed)):
                rows = pa.concat_tables(parts)
                films = rows.filter(pc.invert(rows[_ASIDE]))
                ids = known_text(films["imdb_id"]).combine_chunks()
                named.append(named_ids(ids, keys_without_id(films), wanted))
        ids = ids_of_names(named)
        for part in self._without_id.parts():
            none = pa.nulls(part.num_rows, pa.string())
            self._distribute(part, *join_by_name(none, keys_without_id(part), ids), aside=False)

    def _distribute(self, rows: pa.Table, ids: pa.Array, keys: pa.Array, *, aside: bool) -> None:
        """Add each row to the range of its title."""
        rows = (
            rows.append_column(_ID, ids)
            .append_column(_KEY, keys)
            .append_column(_ASIDE, pa.repeat(aside, rows.num_rows))
        )
        of_range = np.zeros(rows.num_rows, np.int64)
        for bound in self._bounds:
            of_range += np.asarray(pc.greater_equal(keys, bound))
        by_range = rows.take(np.argsort(of_range, kind="stable")) if self._bounds else rows
        start = 0
        for waiting, here in zip(self._ranges, np.bincount(of_range), strict=False):
            if here:
                waiting.append(by_range.slice(start, here))
            start += here


class _Waiting(Protocol):
    """Rows that wait to be processed."""

    def append(self, rows: pa.Table) -> None:
        """Add waiting rows."""

    def parts(self, columns: Collection[str] | None = None) -> Iterator[pa.Table]:
        """Yield the waiting rows, all columns or only the named ones."""


class _InMemory:
    def __init__(self) -> None:
        self._rows: list[pa.Table] = []

    def append(self, rows: pa.Table) -> None:
        self._rows.append(rows)

    def parts(self, columns: Collection[str] | None = None) -> Iterator[pa.Table]:
        for rows in self._rows:
            yield rows if columns is None else rows.select(columns)


class _OnDisk:
    """Rows that wait in a file, which is deleted with its folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def append(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._names = rows.column_names
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(str(self._path), rows.schema, options=options)
        # As one batch: the rows arrive in the small chunks that filtering left.
        self._writer.write_table(rows.combine_chunks())

    def parts(self, columns: Collection[str] | None = None) -> Iterator[pa.Table]:
        if self._writer is None:
            return
        wanted = [at for at, n in enumerate(self._names) if columns is None or n in columns]
        options = pa.ipc.IpcReadOptions(included_fields=wanted)
        # The stream is read while more is written to it, so it has no end marker yet.
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file, options=options) as found:
            for batch in found:
                yield pa.Table.from_batches([batch])
