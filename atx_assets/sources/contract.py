"""The source's contract: sorts each row into good, mended, or set aside with the reasons.

`schemas.py` says what a column may hold, `rules.py` tests columns for it, `mends.py` says what is
mended. Not here: the file of rows set aside (`quarantine.py`), when a run is stopped
(`defs/checks.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atx_assets.errors import AtxError
from atx_assets.schemas import UNKNOWN_TEXT, Column, arrow_type
from atx_assets.sources.layouts import FILM, Layout
from atx_assets.sources.mends import mends
from atx_assets.sources.rules import broken_rules

MEDIA_TYPE, RATING = "media_type", "imdb_rating"
#: Besides the key: if these are right, the row's verdict counts, whatever else is wrong.
_SAYS_VERDICT = (MEDIA_TYPE, "imdb_id", "rejection_status", "rejection_reason", "updated_at")
#: A reason says who gave the verdict, so an empty reason stays empty.
_VERDICT = ("rejection_reason",)
_SCALE = "on the scale that most are not on"

_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RowCounts:
    """The result of sorting. Each row is counted once: `good + mended + quarantined`.

    Attributes:
        read, good, mended, quarantined: numbers of rows; `good` rows are used unchanged.
        mends: number of mended values by column and kind, in the usable rows.
        broken: rows set aside by column and rule: ascending places in the table that was read.
    """

    read: int
    good: int
    mended: int
    quarantined: int
    mends: dict[str, int]
    broken: dict[tuple[str, str], NDArray[np.int64]]

    @property
    def share(self) -> float:
        """The share of the rows that is set aside."""
        return self.quarantined / self.read if self.read else 0.0

    @property
    def set_aside(self) -> NDArray[np.int64]:
        """The places of the rows that are set aside, ascending."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self.broken.values()]))

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows break each rule, most frequent first; a row may break several."""
        counts = {f"{name} {words}": len(at) for (name, words), at in self.broken.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class SortedRows(RowCounts):
    """The sorted rows of a source table, and their counts.

    Attributes:
        rows: the usable rows, in their order, mended where needed.
        verdicts: rows set aside whose verdict still counts: negative votes of a film do not
            cancel its owner's keep.
    """

    rows: pa.Table
    verdicts: pa.Table


def wrong_columns(schema: pa.Schema, layout: Layout) -> list[str]:
    """Say which columns are missing or have another type: then no row can be sorted."""
    there = dict(zip(schema.names, schema.types, strict=True))
    faults = []
    for column in layout.columns:
        if column.name not in there:
            faults += [f"{column.name} is missing"] if column.required else []
        elif there[column.name] != arrow_type(column.type):
            faults.append(f"{column.name} is {there[column.name]}, not {column.type}")
    return faults


def sort_rows(rows: pa.Table, layout: Layout) -> SortedRows:
    """Sort the rows of a source table by its layout's contract; see `RowSorter`."""
    sorter = RowSorter(layout)
    goes_on, verdicts = sorter.sort(rows)
    return SortedRows(**vars(sorter.counts()), rows=goes_on, verdicts=verdicts)


class RowSorter:
    """Sorts the rows of a source table by its layout's contract, one part of the table at a time.

    A film is sorted by the columns that atx uses, and mended in them. A row that is not a film is
    sorted by its key and media type alone: it is not used, and may be odd. A season's year, for
    example, is often its resolution. If rows share a key, nobody can say which one is right, so
    none is usable. The result does not depend on the order of the rows within a part.
    """

    def __init__(self, layout: Layout) -> None:
        """Start with no rows."""
        self._layout = layout
        self._read = self._stays = 0
        self._mends: Counter[str] = Counter()
        self._broken: dict[tuple[str, str], list[NDArray[np.int64]]] = defaultdict(list)
        self._mended = 0
        self._ratings = _RatingScales()

    def sort(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Sort one part.

        Args:
            rows: as extracted; rows with the same key are all in one part.

        Returns:
            The usable rows, and the rows set aside whose verdict counts, see `SortedRows`.

        Raises:
            AtxError: a column that atx uses is missing, or a column has another type.
        """
        layout = self._layout
        if faults := wrong_columns(rows.schema, layout):
            raise AtxError(f"atp.{layout.table}: {'; '.join(faults)}: materialise raw_media again")
        films = _numpy(pc.equal(rows[MEDIA_TYPE], FILM))
        rows, changed = _mend_films(rows, films, layout)
        goes_on = np.ones(rows.num_rows, bool)
        says_verdict = films.copy()
        for name, words, mask in _broken_rows(rows, films, layout):
            self._broken[name, words].append(self._read + np.flatnonzero(mask))
            goes_on &= ~mask
            if name in (layout.key, *_SAYS_VERDICT):
                says_verdict &= ~mask
        self._count(rows, films, goes_on, changed)
        verdicts = rows.filter(pa.array(says_verdict & ~goes_on))
        return (rows if goes_on.all() else rows.filter(pa.array(goes_on))), verdicts

    def _count(
        self, rows: pa.Table, films: _Mask, goes_on: _Mask, changed: dict[str, _Mask]
    ) -> None:
        touched = np.zeros(rows.num_rows, bool)
        for kind, mask in changed.items():
            self._mends[kind] += int(np.count_nonzero(mask & goes_on))
            touched |= mask
        self._read += rows.num_rows
        self._stays += int(np.count_nonzero(goes_on))
        self._mended += int(np.count_nonzero(touched & goes_on))
        self._ratings.add(rows[RATING], films & goes_on, touched)

    def counts(self) -> RowCounts:
        """Return the counts of all parts so far."""
        on_other_scale, newly_mended = self._ratings.fewer()
        mended = self._mended + newly_mended
        kinds = {**self._mends, f"{RATING} {_SCALE}": on_other_scale}
        return RowCounts(
            read=self._read,
            good=self._stays - mended,
            mended=mended,
            quarantined=self._read - self._stays,
            mends={kind: number for kind, number in sorted(kinds.items()) if number},
            broken={rule: np.concatenate(at) for rule, at in sorted(self._broken.items())},
        )


@dataclass
class _RatingScales:
    """Counts the ratings on each scale, 1 to 10 and 10 to 100.

    Ratings on the less frequent scale count as mended, and only the end shows which scale that is.
    They are only counted here: the encoder converts them, and remembers which scale a 10 was on.
    """

    #: For each scale: the ratings, and those whose row has no other mend.
    small: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    large: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    def add(self, ratings: pa.ChunkedArray, counted: _Mask, touched: _Mask) -> None:
        """Count the ratings of the rows in `counted`; those in `touched` are mended anyway."""
        numbers = ratings.fill_null(np.nan).to_numpy()
        for of_scale, mask in (
            (self.small, (numbers > 0) & (numbers < 10) & counted),
            (self.large, (numbers > 10) & counted),
        ):
            of_scale += np.count_nonzero(mask), np.count_nonzero(mask & ~touched)

    def fewer(self) -> tuple[int, int]:
        """Return the counts of the scale that fewer ratings are on."""
        ratings, newly_mended = self.small if self.small[0] <= self.large[0] else self.large
        return int(ratings), int(newly_mended)


def checked_columns(layout: Layout) -> list[Column]:
    """Return the columns by which films are sorted, besides key and media type."""
    return [c for c in layout.columns if c.required and c.name not in (layout.key, MEDIA_TYPE)]


def _mend_films(rows: pa.Table, films: _Mask, layout: Layout) -> tuple[pa.Table, dict[str, _Mask]]:
    """Return the rows with films mended, and where each kind of mend was applied."""
    changed: dict[str, _Mask] = {}
    for column in checked_columns(layout):
        if column.name in _VERDICT:
            continue
        values = before = rows[column.name]
        for kind, mended, mask in mends(before, column):
            here = _numpy(mask) & films
            if here.any():
                changed[f"{column.name} {kind}"] = here
                values = mended if films.all() else pc.if_else(pa.array(films), mended, values)
        if values is not before:
            at = rows.column_names.index(column.name)
            rows = rows.set_column(at, rows.schema.field(at), values)
    return rows, changed


def _broken_rows(rows: pa.Table, films: _Mask, layout: Layout) -> Iterator[tuple[str, str, _Mask]]:
    """Yield each broken rule once: the column, the rule in words, and the rows that break it."""
    named = {column.name: column for column in layout.columns}
    # A film's name may be missing only from some of the columns that can hold it.
    nameless = films & np.logical_and.reduce([_unknown(rows[name]) for name in layout.names])
    first_name = layout.names[0]
    for column in checked_columns(layout):
        found = {
            words: _numpy(mask) & films for words, mask in broken_rules(rows[column.name], column)
        }
        if column.name == first_name:
            found["is missing"] = found.get("is missing", False) | nameless
        yield from ((column.name, words, mask) for words, mask in found.items() if mask.any())
    for words, mask in broken_rules(rows[MEDIA_TYPE], named[MEDIA_TYPE]):
        yield MEDIA_TYPE, words, _numpy(mask)
    for words, mask in _broken_keys(rows[layout.key], named[layout.key]):
        if mask.any():
            yield layout.key, words, mask


def _broken_keys(keys: pa.ChunkedArray, column: Column) -> Iterator[tuple[str, _Mask]]:
    """Yield what is wrong with which keys. A key is never mended: it identifies the row."""
    missing = _unknown(keys)
    yield "is missing", missing
    yield (
        f"does not match {column.pattern}",
        _numpy(pc.invert(pc.match_substring_regex(keys, column.pattern))) & ~missing,
    )
    # In the order of extraction, equal keys are adjacent.
    if _numpy(pc.less(keys[:-1], keys[1:])).all():
        return
    encoded = pa.array(keys.combine_chunks()).dictionary_encode()
    counts = pc.value_counts(encoded.indices.drop_null())
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    yield "occurs more than once", _numpy(pc.is_in(encoded.indices, twice)) & ~missing


def _unknown(texts: pa.ChunkedArray) -> _Mask:
    return _numpy(pc.or_(texts.is_null(), pc.is_in(texts, pa.array(UNKNOWN_TEXT, pa.string()))))


def _numpy(mask: Any) -> _Mask:
    """Return a mask as numpy, null as false."""
    return np.asarray(mask.fill_null(False))
