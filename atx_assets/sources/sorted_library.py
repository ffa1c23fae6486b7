"""The extracted rows of a library of any size: read and sorted in parts, and made into titles.

Not here: the rules for sorting and titles (`contract.py`, `titles.py`), the assets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.by_title import RowsByTitle, range_bounds
from atx_assets.sources.contract import RowCounts, RowSorter
from atx_assets.sources.extracted import in_words, layout_of, snapshot_of, with_snapshot
from atx_assets.sources.layouts import FILM, Layout
from atx_assets.sources.models_labels import models_labels_in
from atx_assets.sources.titles import no_film, titles_of, titles_schema
from atx_assets.storage.data_folder import DataFolder


class SortedLibrary:
    """The extracted rows, sorted, before they become titles.

    Attributes:
        layout: the layout of the rows.
        snapshot: what they are a snapshot of.
        counts: the result of sorting.
        schema: the columns of the titles, including their snapshot.
    """

    def __init__(self, files: DataFolder, folder: Path) -> None:
        """Sort the rows of the data folder.

        Args:
            files: the data folder.
            folder: where the rows of a large library wait; it is made if there are any.

        Raises:
            AtxError: the file is missing or damaged, or does not have its layout.
        """
        about = files.read_table("raw_media", ())
        self.layout, self.snapshot = layout_of(about), snapshot_of(about)
        self._by_model = models_labels_in(about)
        sorter = RowSorter(self.layout)
        by_title = RowsByTitle(self.layout, _bounds(files, about, self.layout), folder)
        self._kinds: set[str | None] = set()
        for part in _parts(files, self.layout):
            rows, verdicts = sorter.sort(part)
            self._kinds.update(rows["media_type"].unique().to_pylist())
            by_title.add(rows.filter(pc.equal(rows["media_type"], FILM)), verdicts)
        self._by_title = by_title
        self.counts = sorter.counts()
        none = titles_schema(rows.schema, self.layout).empty_table()
        self.schema = with_snapshot(none, self.snapshot).schema

    def titles(self) -> Iterator[pa.Table]:
        """Make the titles of the usable rows, in parts, in the order of their keys.

        Can be called once: the rows are dropped on the way.

        Raises:
            AtxError: no row is a film.
        """
        if FILM not in self._kinds:
            raise self._no_film()
        for rows in self._by_title.ranges():
            yield titles_of(rows, self.layout, self._by_model)

    def _no_film(self) -> AtxError:
        counts = self.counts
        if not counts.quarantined:
            return no_film(self._kinds, self.layout)
        return AtxError(
            f"no film of atp.{self.layout.table} can be used, "
            f"{in_words(counts.quarantined, counts.read)} ({next(iter(counts.reasons))}): "
            "`atx show quarantine` names them"
        )


def sort_extracted(files: DataFolder) -> RowCounts:
    """Sort the extracted rows, and return the counts.

    Raises:
        AtxError: the file is missing or damaged, or does not have its layout.
    """
    layout = layout_of(files.read_table("raw_media", ()))
    sorter = RowSorter(layout)
    for part in _parts(files, layout):
        sorter.sort(part)
    return sorter.counts()


def _bounds(files: DataFolder, about: pa.Table, layout: Layout) -> list[str]:
    """Choose the ranges of titles for a library."""
    needed = {"imdb_id", *layout.names, "release_year"}
    return range_bounds(files.read_parts("raw_media", needed), about.num_rows, layout)


def _parts(files: DataFolder, layout: Layout) -> Iterator[pa.Table]:
    """Read the columns that atx uses, in parts; rows with the same key are in one part.

    Other columns stay unread: the overviews of the films may be larger than all else.

    Raises:
        AtxError: the rows are not in the order of their keys.
    """
    used = {
        column.name
        for column in layout.columns
        if column.required or column.type in (schemas.BOOL, schemas.TIME)
    }
    yield from _whole_keys(files.read_parts("raw_media", used), layout.key)


def _whole_keys(parts: Iterable[pa.Table], key: str) -> Iterator[pa.Table]:
    """Cut a table that is in key order so that rows with the same key are in one part.

    Args:
        parts: the table's parts, at least one.
        key: the column; nulls come last.
    """
    before: pa.Table | None = None
    for part in parts:
        if before is None or not before.num_rows or not part.num_rows:
            before = part if before is None else pa.concat_tables([before, part])
            continue
        last, first = before[key][-1], part[key][0]
        if pc.less(first, last).as_py():
            raise AtxError(
                "media.parquet is not in the order of its keys: materialise raw_media again "
                "(`atx run --select key:raw_media`)"
            )
        whole = before.num_rows
        if first.equals(last):
            others = np.flatnonzero(~np.asarray(pc.equal(before[key], last).fill_null(False)))
            whole = int(others[-1]) + 1 if len(others) else 0
        if whole:
            yield before.slice(0, whole)
        before = pa.concat_tables([before.slice(whole), part])
    yield before
