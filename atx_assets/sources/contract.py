"""The source's contract: sorts each row into good, mended, and set aside with the reasons.

What a column may hold is in `schemas.py`, as tests over columns in `rules.py`, what is mended in
`mends.py`. Not here: the file of what is set aside (`quarantine.py`), when a run is stopped
(`defs/checks.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.schemas import UNKNOWN_TEXT, Column, arrow_type
from atx_assets.sources.layouts import Layout
from atx_assets.sources.mends import mends
from atx_assets.sources.rules import broken_rules
from atx_assets.sources.verdicts import FILM

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MEDIA_TYPE, RATING = "media_type", "imdb_rating"
#: With the key: a row that is right in these holds a verdict on a title, whatever else is wrong.
_SAYS_VERDICT = (MEDIA_TYPE, "imdb_id", "rejection_status", "rejection_reason", "updated_at")
#: Whether a reason is given says whose verdict it is: a blank one stays one.
_VERDICT = ("rejection_reason",)
_SCALE = "on the scale that most are not on"


@dataclass(frozen=True)
class SortedRows:
    """The rows of a source table, sorted. Each is counted once: `good + mended + quarantined`.

    Attributes:
        rows: the rows to go on with, in their order, mended where needed.
        read, good, mended, quarantined: how many rows; `good` are those that came as they stay.
        mends: how many values were mended, by column and kind, in the rows to go on with.
        broken: rows set aside by column and rule: ascending places in the table that was read.
        verdicts: those of the rows set aside whose verdict counts: an owner's keep is none the
            less one when the film's votes are negative.
    """

    rows: pa.Table
    read: int
    good: int
    mended: int
    quarantined: int
    mends: dict[str, int]
    broken: dict[tuple[str, str], np.ndarray[Any, Any]]
    verdicts: pa.Table

    @property
    def share(self) -> float:
        """The share of the rows that is set aside."""
        return self.quarantined / self.read if self.read else 0.0

    @property
    def set_aside(self) -> np.ndarray[Any, Any]:
        """The places of the rows that are set aside, ascending."""
        import numpy as np

        return np.unique(np.concatenate([np.zeros(0, np.int64), *self.broken.values()]))

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows break which rule, the most broken first; a row may break several."""
        counts = {f"{name} {words}": len(at) for (name, words), at in self.broken.items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def wrong_columns(schema: pa.Schema, layout: Layout) -> list[str]:
    """Say which columns are missing or of another type: then no row can be judged."""
    there = dict(zip(schema.names, schema.types, strict=True))
    faults = []
    for column in layout.columns:
        if column.name not in there:
            faults += [f"{column.name} is missing"] if column.required else []
        elif there[column.name] != arrow_type(column.type):
            faults.append(f"{column.name} is {there[column.name]}, not {column.type}")
    return faults


def sort_rows(rows: pa.Table, layout: Layout) -> SortedRows:
    """Sort the rows of a source table by its layout's contract.

    A film is judged by the columns that atx uses, and mended in them; what is no film by its key
    and its media type alone, since it is left alone, and may be odd: a season's year is often
    its resolution. Of rows with one key nobody can say which is right: none of them goes on. The
    result does not depend on the order of the rows.

    Args:
        rows: the table as extracted.
        layout: the layout it is in.

    Raises:
        AtxError: a column that atx uses is missing, or any is of another type.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if faults := wrong_columns(rows.schema, layout):
        raise AtxError(f"atp.{layout.table}: {'; '.join(faults)}: materialise raw_media again")
    films = _numpy(pc.equal(rows[MEDIA_TYPE], FILM))
    changed: dict[str, np.ndarray[Any, Any]] = {}
    broken: dict[tuple[str, str], np.ndarray[Any, Any]] = {}
    named = {column.name: column for column in layout.columns}

    def judge(name: str, words: str, mask: np.ndarray[Any, Any]) -> None:
        if mask.any():
            before = broken.get((name, words), np.zeros(0, np.int64))
            broken[name, words] = np.union1d(before, np.flatnonzero(mask))

    after = rows
    for column in judged_columns(layout):
        values = rows[column.name]
        for kind, mended, mask in () if column.name in _VERDICT else mends(values, column):
            here = _numpy(mask) & films
            if here.any():
                changed[f"{column.name} {kind}"] = here
                values = mended if films.all() else pc.if_else(pa.array(films), mended, values)
        if values is not rows[column.name]:
            at = after.column_names.index(column.name)
            after = after.set_column(at, after.schema.field(at), values)
        for words, mask in broken_rules(values, column):
            judge(column.name, words, _numpy(mask) & films)
    for words, mask in broken_rules(rows[MEDIA_TYPE], named[MEDIA_TYPE]):
        judge(MEDIA_TYPE, words, _numpy(mask))
    for words, mask in _broken_keys(rows[layout.key], named[layout.key]):
        judge(layout.key, words, mask)
    nameless = np.logical_and.reduce([_unknown(after[name]) for name in layout.names])
    judge(layout.names[0], "is missing", nameless & films)

    goes_on = np.ones(rows.num_rows, bool)
    says_verdict = films.copy()
    for (name, _), places in broken.items():
        goes_on[places] = False
        if name in (layout.key, *_SAYS_VERDICT):
            says_verdict[places] = False
    if (other_scale := _other_scale(after[RATING], films & goes_on)) is not None:
        changed[f"{RATING} {_SCALE}"] = other_scale
    touched = np.zeros(rows.num_rows, bool)
    for mask in changed.values():
        touched |= mask
    mended = int(np.count_nonzero(touched & goes_on))
    counted = {kind: int(np.count_nonzero(mask & goes_on)) for kind, mask in changed.items()}
    stays = int(np.count_nonzero(goes_on))
    return SortedRows(
        rows=after if stays == rows.num_rows else after.filter(pa.array(goes_on)),
        read=rows.num_rows,
        good=stays - mended,
        mended=mended,
        quarantined=rows.num_rows - stays,
        mends={kind: number for kind, number in sorted(counted.items()) if number},
        broken=dict(sorted(broken.items())),
        verdicts=after.take(np.flatnonzero(says_verdict & ~goes_on)),
    )


def judged_columns(layout: Layout) -> list[Column]:
    """Return the columns by which films are judged, beside key and media type."""
    return [c for c in layout.columns if c.required and c.name not in (layout.key, MEDIA_TYPE)]


def _broken_keys(
    keys: pa.ChunkedArray, column: Column
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield what is wrong with which keys. A key is never mended: the row is known by it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = _unknown(keys)
    yield "is missing", missing
    yield (
        f"does not match {column.pattern}",
        _numpy(pc.invert(pc.match_substring_regex(keys, column.pattern))) & ~missing,
    )
    # In the order of extraction a key stands beside its like, or above the one before.
    if _numpy(pc.less(keys[:-1], keys[1:])).all():
        return
    encoded = pa.array(keys.combine_chunks()).dictionary_encode()
    counts = pc.value_counts(encoded.indices.drop_null())
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    yield "stands more than once", _numpy(pc.is_in(encoded.indices, twice)) & ~missing


def _unknown(texts: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _numpy(pc.or_(texts.is_null(), pc.is_in(texts, pa.array(UNKNOWN_TEXT, pa.string()))))


def _other_scale(
    ratings: pa.ChunkedArray, counted: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any] | None:
    """Say which ratings are on the scale, 1 to 10 or 10 to 100, that fewer are on; None if none.

    They are only counted here: the encoder puts them on one scale, and remembers which a 10 was on.
    """
    import numpy as np

    numbers = ratings.fill_null(np.nan).to_numpy()
    small, large = (numbers > 0) & (numbers < 10) & counted, (numbers > 10) & counted
    fewer = small if np.count_nonzero(small) <= np.count_nonzero(large) else large
    return fewer if fewer.any() else None


def _numpy(mask: Any) -> np.ndarray[Any, Any]:
    """Return a mask as numpy, null as false."""
    import numpy as np

    return np.asarray(mask.fill_null(False))
