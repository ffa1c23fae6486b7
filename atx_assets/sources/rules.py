"""What a layout allows a column to hold, as tests over whole columns. Used where rows are checked.

Not here: what happens to a row that breaks a rule (`sources/load/load.py` refuses it,
`defs/checks.py` reports it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atx_assets.schemas import FLOAT, INT, STRING, STRINGS, UNKNOWN_TEXT, Column

_WHOLE = {"smallint": 2**15, "int": 2**31, "bigint": 2**63}


def broken_rules(values: pa.ChunkedArray, column: Column) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each rule of a column that some value breaks, in words, with the mask of these values.

    An unknown value breaks no rule, except in a column that must be known.
    """
    known = values.is_valid()
    tests: list[tuple[str, Any]] = []
    if not column.nullable:
        tests.append(("is missing", pc.invert(known)))
    if column.type == STRING:
        unknown_text = pc.is_in(values, pa.array(UNKNOWN_TEXT))
        if column.values:
            allowed = pc.is_in(values, pa.array(column.values, pa.string()))
            tests.append(("is an unknown value", pc.and_(known, pc.invert(allowed))))
        if column.pattern:
            fits = pc.or_(pc.match_substring_regex(values, column.pattern), unknown_text)
            tests.append((f"does not match {column.pattern}", pc.invert(fits)))
        if column.longest is not None:
            tests.append(
                (f"is longer than {column.longest:,} characters", _longer(values, column.longest))
            )
    if column.type == STRINGS and column.entries is not None:
        tests.append(
            (
                f"has more than {column.entries:,} entries",
                pc.greater(pc.list_value_length(values), column.entries),
            )
        )
    if column.type == STRINGS and (longest := column.longest) is not None:
        tests.append(
            (
                f"has an entry of more than {longest:,} characters",
                _any_element(values, lambda entry: _longer(entry, longest)),
            )
        )
    if column.low is not None:
        below = pc.less(values, column.low)
        if column.zero_is_unknown:
            below = pc.and_(below, pc.not_equal(values, 0))
        tests.append((f"is below {column.low:g}", below))
    if column.high is not None:
        tests.append((f"is above {column.high:g}", pc.greater(values, column.high)))
    for words, mask in tests:
        broken = mask.fill_null(False)
        if pc.any(broken).as_py():
            yield words, broken


def unstorable(values: pa.ChunkedArray, column: Column) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each way in which some value does not fit the column's PostgreSQL type."""
    tests: list[tuple[str, Any]] = []
    length = re.search(r"char\((\d+)\)", column.sql)
    if column.type == INT and (limit := _WHOLE.get(column.sql)):
        too_big = pc.or_(pc.greater(values, limit - 1), pc.less(values, -limit))
        tests.append((f"does not fit {column.sql}", too_big))
    if column.type == FLOAT and (digits := re.search(r"\((\d+),(\d+)\)", column.sql)):
        limit = 10 ** (int(digits[1]) - int(digits[2]))
        tests.append((f"does not fit {column.sql}", pc.greater_equal(pc.abs(values), limit)))
    if column.type == STRING:
        tests.append(("holds a NUL character", pc.match_substring(values, "\0")))
        if length:
            tests.append((f"does not fit {column.sql}", _longer(values, int(length[1]))))
    if column.type == STRINGS:
        tests.append(("holds a NUL character", _any_element(values, _has_nul)))
        if length:
            limit = int(length[1])
            tests.append(
                (f"does not fit {column.sql}", _any_element(values, lambda e: _longer(e, limit)))
            )
    for words, mask in tests:
        broken = mask.fill_null(False)
        if pc.any(broken).as_py():
            yield words, broken


def _longer(values: Any, limit: int) -> Any:
    return pc.greater(pc.utf8_length(values), limit)


def _has_nul(values: Any) -> Any:
    return pc.match_substring(values, "\0")


def _any_element(lists: pa.ChunkedArray, test: Any) -> pa.Array:
    """Return for each list whether `test` is true for one of its elements."""
    flat = lists.combine_chunks()
    found = test(pc.list_flatten(flat)).fill_null(False).to_numpy(zero_copy_only=False)
    mask = np.zeros(len(flat), bool)
    mask[pc.list_parent_indices(flat).to_numpy()[found]] = True
    return pa.array(mask)
