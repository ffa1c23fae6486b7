"""Converts an export's columns to the types of the layout, and marks values that do not fit.

Not here: what a value may be once it has its type (`sources/rules.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from atx_assets.schemas import FLOAT, INT, STRING, STRINGS, TIME, UNKNOWN_TEXT, Column, arrow_type

#: Why rows are refused, in words that follow the column's name, and the mask of these rows.
Faults = list[tuple[str, Any]]

#: The most that a value may hold: bytes of a text, or of a list's texts together, and entries of a
#: list. Times the columns this is far below PostgreSQL's limit of a gigabyte per row.
MOST_BYTES, MOST_ENTRIES = 2**20, 100_000

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_LAST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def converted(values: pa.Array, column: Column) -> tuple[pa.Array, Faults]:
    """Convert a batch of a column to its type; a value that does not fit becomes null, and a fault.

    NaN becomes null. 'N/A' and the empty string stay, unless the column's type cannot hold them:
    then they become null, which means the same.

    Args:
        values: of any Arrow type that `open_export` accepts.
        column: with the SQL type that the table gives it.

    Returns:
        The values, and the faults found; each mask has no null.
    """
    if column.type == STRINGS:
        return _lists(values, column)
    if column.type == STRING:
        values, faults = _text(values)
        return _without_unholdable(values, column), faults
    if t.is_dictionary(values.type):
        values = values.dictionary_decode()
    if column.type in (INT, FLOAT):
        return _numbers(values, column)
    if column.type == TIME:
        return _times(values)

    return values.cast(arrow_type(column.type)), []


def text_bytes(values: pa.Array) -> pa.Array:
    """Return the size of each text in bytes, without decoding a dictionary."""
    if t.is_dictionary(values.type):
        return text_bytes(values.dictionary).take(values.indices)
    if t.is_null(values.type):
        return pa.nulls(len(values), pa.int64())
    if t.is_string_view(values.type):
        values = values.cast(pa.large_string())
    return pc.binary_length(values).cast(pa.int64())


def _text(values: pa.Array) -> tuple[pa.Array, Faults]:
    long = pc.greater(text_bytes(values), MOST_BYTES).fill_null(False)
    faults: Faults = (
        [(f"is longer than {MOST_BYTES:,} bytes", long)] if pc.any(long).as_py() else []
    )
    if t.is_dictionary(values.type):
        # Decoded only now: a word of a megabyte that every row uses has been left out.
        words = values.dictionary
        short = pc.less_equal(text_bytes(words), MOST_BYTES)
        words = words.take(pc.if_else(short, pa.array(range(len(words)), pa.int64()), None))
        values = pa.DictionaryArray.from_arrays(values.indices, words).dictionary_decode()
    elif faults:
        values = _nulled(values, long)
    # Only a cast from binary checks the bytes: a file may mark anything as a string.
    raw = values.cast(pa.large_binary())
    try:
        return raw.cast(pa.string()), faults
    except pa.ArrowInvalid:
        wrong = [value is not None and not _is_utf8(value) for value in raw.to_pylist()]
    mask = pa.array(wrong, pa.bool_())
    good = _nulled(raw, mask).cast(pa.string())
    return good, [*faults, ("holds text that is not UTF-8", mask)]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_unholdable(values: pa.Array, column: Column) -> pa.Array:
    """Replace what means unknown by null, if an enum or a short char(n) cannot hold it."""
    if column.values:
        held = set(column.values)
    elif column.sql.startswith("char(2)"):
        held = {""}
    else:
        return values
    unholdable = [text for text in UNKNOWN_TEXT if text not in held]
    return _nulled(values, pc.is_in(values, pa.array(unholdable, pa.string())))


def _lists(values: pa.Array, column: Column) -> tuple[pa.Array, Faults]:
    if t.is_dictionary(values.type):
        values = values.dictionary_decode()
    if t.is_null(values.type):
        return values.cast(pa.list_(pa.string())), []
    if t.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    values, faults = _without_long_lists(values)
    elements, element_faults = _text(pc.list_flatten(values))
    elements = _without_unholdable(elements, column)
    lengths = pc.list_value_length(values).fill_null(0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    made = pa.ListArray.from_arrays(offsets, elements, mask=values.is_null())
    for words, wrong in element_faults:
        mask = np.zeros(len(values), bool)
        mask[pc.list_parent_indices(values).filter(wrong).to_numpy()] = True
        faults.append((words, pa.array(mask)))
    return made, faults


def _without_long_lists(values: pa.Array) -> tuple[pa.Array, Faults]:
    lengths = pc.list_value_length(values).fill_null(0).to_numpy()
    many = lengths > MOST_ENTRIES
    sizes = text_bytes(pc.list_flatten(values)).fill_null(0).to_numpy()
    ends = np.concatenate([[0], np.cumsum(sizes)])[np.cumsum(lengths)]
    long = np.diff(ends, prepend=0) > MOST_BYTES
    faults: Faults = [
        (words, pa.array(mask))
        for words, mask in (
            (f"has more than {MOST_ENTRIES:,} entries", many),
            (f"is longer than {MOST_BYTES:,} bytes", long),
        )
        if mask.any()
    ]
    if faults:
        kept = pa.array(np.arange(len(values)), pa.int64(), mask=many | long)
        values = values.take(kept)
    return values, faults


def _numbers(values: pa.Array, column: Column) -> tuple[pa.Array, Faults]:
    if t.is_float32(values.type) and column.type == FLOAT:
        # Through its digits: 7.1 stays 7.1, and does not become 7.099999904632568.
        values = values.cast(pa.string())
    if column.type == INT and t.is_integer(values.type) and not t.is_uint64(values.type):
        return values.cast(pa.int64()), []
    # Floats are good enough for the checks; whole numbers keep their own value.
    floats = values.cast(pa.float64(), safe=False)
    if t.is_floating(values.type) or t.is_string(values.type):
        # pandas writes a missing number as NaN, and whole numbers with gaps as floats.
        floats = _nulled(floats, pc.is_nan(floats))
    infinite = pc.is_inf(floats).fill_null(False)
    if column.type == FLOAT:
        return _nulled(floats, infinite), [("is not finite", infinite)]
    whole = pc.equal(floats, pc.floor(floats)).fill_null(True)
    broken = pc.or_(infinite, pc.invert(whole))
    # The float nearest to the largest bigint is one too large.
    big = pc.greater_equal(pc.abs(floats), 2.0**63).fill_null(False)
    big = pc.and_(big, pc.invert(infinite))
    exact = floats if t.is_floating(values.type) else values
    exact = _nulled(exact, pc.or_(pc.or_(broken, big), floats.is_null()))
    return exact.cast(pa.int64()), [
        ("is not a whole number", broken),
        (f"does not fit {column.sql}", big),
    ]


def _times(values: pa.Array) -> tuple[pa.Array, Faults]:
    us = pa.timestamp("us", tz="UTC")
    if t.is_null(values.type):
        return values.cast(us), []
    scale, widest = _UNITS[values.type.unit], 2**63 - 1
    number = values.cast(pa.int64())
    early = pc.less(number, max(_FIRST * scale, -widest))
    late = pc.greater_equal(number, min(_LAST * scale, widest))
    wrong = pc.or_(early, late).fill_null(False)
    # A time without a zone counts as UTC; PostgreSQL cannot store nanoseconds.
    times = _nulled(values, wrong).cast(us, safe=False)
    return times, [("is outside the years 1 to 9999", wrong)]


def _nulled(values: pa.Array, mask: pa.Array) -> pa.Array:
    return pc.if_else(mask.fill_null(False), pa.scalar(None, values.type), values)
