"""What is mended in a value of the source, so that its row can be used; one column at a time.

Not here: which columns and rows are mended (`contract.py`), what a column may hold (`rules.py`),
what could not even be read (`sources/read/extract.py`). A mend never changes what a value means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atx_assets.schemas import FLOAT, STRING, STRINGS, UNKNOWN_TEXT, Column

#: The kinds of mends, in words that follow the column's name.
CONTROL = "without control characters"
TRIMMED = "trimmed"
UNKNOWN = "'N/A' or empty to missing"
NOTHING = "without entries that say nothing"
NOT_A_NUMBER = "NaN to missing"

# Line ends and tabs separate words; other control characters mean nothing. RE2.
_BREAKS = r"[\t-\r\x{85}\x{2028}\x{2029}]+"
_CONTROLS = r"[\x00-\x08\x0e-\x1f\x7f-\x{84}\x{86}-\x{9f}]+"
# Only blanks and format characters, such as a zero-width space: a text that nobody can see.
_INVISIBLE = r"^[\p{Z}\p{Cf}]+$"
_SUSPECT = r"[\x00-\x1f\x7f-\x{9f}\x{2028}\x{2029}]"

#: A mend: its kind, the mended column, and the mask of what changed.
Mend = tuple[str, "pa.ChunkedArray", "pa.ChunkedArray"]


def mends(values: pa.ChunkedArray, column: Column) -> Iterator[Mend]:
    """Yield each mend that changes something in a column, one after the other.

    Args:
        values: of the column's Arrow type.
        column: if it may not be null, what means unknown stays.
    """
    if column.type == STRING and not column.values:
        yield from _texts(values, to_missing=column.nullable)
    elif column.type == STRINGS:
        yield from _lists(values)
    elif column.type == FLOAT:
        yield from _numbers(values)


def mended(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """Return a column with all mends applied."""
    for _, after, _ in mends(values, column):
        values = after
    return values


def _texts(values: Any, *, to_missing: bool) -> Iterator[tuple[str, Any, Any]]:
    if _any(pc.match_substring_regex(values, _SUSPECT)):
        after = pc.replace_substring_regex(values, _BREAKS, " ")
        after = pc.replace_substring_regex(after, _CONTROLS, "")
        yield CONTROL, after, pc.not_equal(values, after).fill_null(False)
        values = after
    after = pc.utf8_trim_whitespace(values)
    after = pc.if_else(pc.match_substring_regex(after, _INVISIBLE), "", after)
    changed = pc.not_equal(values, after).fill_null(False)
    if _any(changed):
        yield TRIMMED, after, changed
        values = after
    if to_missing:
        unknown = pc.is_in(values, pa.array(UNKNOWN_TEXT, pa.string()))
        if _any(unknown):
            yield UNKNOWN, pc.if_else(unknown, pa.scalar(None, pa.string()), values), unknown


def _numbers(values: Any) -> Iterator[tuple[str, Any, Any]]:
    nan = pc.is_nan(values).fill_null(False)
    if _any(nan):
        yield NOT_A_NUMBER, pc.if_else(nan, pa.scalar(None, pa.float64()), values), nan


def _lists(lists: pa.ChunkedArray) -> Iterator[Mend]:
    """Mend the distinct entries, which are few, and rebuild the lists only if needed."""
    flat = lists.combine_chunks()
    parent = pc.list_parent_indices(flat).to_numpy()
    encoded = pc.list_flatten(flat).dictionary_encode()
    words, null = encoded.dictionary, len(encoded.dictionary)
    codes = encoded.indices.fill_null(null).to_numpy()

    def lists_with(of_word: Any, *, null_too: bool) -> pa.ChunkedArray:
        of_entry = np.append(of_word.to_numpy(zero_copy_only=False), null_too)[codes]
        mask = np.zeros(len(flat), bool)
        mask[parent[of_entry]] = True
        return pa.chunked_array([mask])

    found: list[tuple[str, pa.ChunkedArray]] = []
    for kind, after, changed in _texts(words, to_missing=True):
        if kind != UNKNOWN:
            found.append((kind, lists_with(changed, null_too=False)))
        words = after
    says_nothing = words.is_null()
    if null in codes or _any(says_nothing):
        found.append((NOTHING, lists_with(says_nothing, null_too=True)))
    if not found:
        return
    stays = np.append(~says_nothing.to_numpy(zero_copy_only=False), False)[codes]
    lengths = np.bincount(parent[stays], minlength=len(flat))
    emptied = (lengths == 0) & (np.bincount(parent, minlength=len(flat)) > 0)
    missing = flat.is_null().to_numpy(zero_copy_only=False) | emptied
    after = pa.ListArray.from_arrays(
        pa.array(np.append(0, np.cumsum(lengths)), pa.int32()),
        words.take(pa.array(codes[stays])),
        mask=pa.array(missing),
    )
    for kind, changed in found:
        yield kind, pa.chunked_array([after]), changed


def _any(mask: Any) -> bool:
    return bool(pc.any(mask).as_py())
