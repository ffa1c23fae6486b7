"""Which title is which: recognises titles that a bundle learned from after their key has changed.

Not here: what the models of a bundle say of them (`scoring.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atx_assets.text import key_without_id


def names_and_years(titles: pa.Table) -> pa.Array:
    """Return each title's key as it would be without an IMDb id."""
    names, years = titles["media_title"].to_pylist(), titles["release_year"].to_pylist()
    keys = (key_without_id(name or "", year) for name, year in zip(names, years, strict=True))
    return pa.array(keys, pa.string())


def gone_since(learned: pa.Table, keys: Iterable[pa.ChunkedArray]) -> pa.Table:
    """Return the learned titles whose key is no longer in the library.

    Args:
        learned: the titles that a bundle learned from.
        keys: the keys of every current title, in parts.
    """
    there = np.zeros(learned.num_rows, bool)
    for part in keys:
        there |= pc.is_in(learned["key"], part.combine_chunks()).to_numpy()
    return learned.filter(pa.array(~there))


def as_learned(titles: pa.Table, learned: pa.Table, gone: pa.Table | None = None) -> pa.Table:
    """Return titles with the key under which a bundle learned each of them.

    "Not found under this key" does not mean "not learned from": a title whose id was corrected must
    not be scored by the models that saw its label. If its key is not among the learned ones, it is
    recognised among the learned titles that are gone from the library by what stays: the hash of
    its release, its TMDb id, its name and year. If two titles are alike in these, nobody can say.

    Args:
        titles: with `key`, `hash`, `tmdb_id`, `media_title`, `release_year`, `trains`.
        learned: what the bundle learned from; an earlier atx recorded no hash and no TMDb id.
        gone: the learned titles that are gone (`gone_since`); not needed if `titles` is the whole
            library.

    Returns:
        The titles with `learned_key` (null: not learned from) and `identity_uncertain` (whether
        that is uncertain for a title that trains).
    """
    keys = learned["key"].combine_chunks()
    found = pc.index_in(titles["key"], keys).combine_chunks()
    if gone is None:
        gone = gone_since(learned, [titles["key"]])
    learned_key = keys.take(found)
    uncertain = np.zeros(titles.num_rows, bool)
    strange = np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))
    if gone.num_rows and len(strange):
        asked = titles.take(strange)
        known, alike = pa.nulls(len(strange), pa.string()), np.zeros(len(strange), bool)
        for of_title, of_learned in (
            *((asked[n], gone[n]) for n in ("hash", "tmdb_id") if n in gone.column_names),
            (names_and_years(asked), gone["named"]),
        ):
            counted = of_learned.value_counts()
            several = counted.field(0).filter(pc.greater(counted.field(1), 1))
            once = pc.if_else(pc.is_in(of_learned, several), None, of_learned)
            place = pc.index_in(of_title, once, skip_nulls=True)
            known = pc.coalesce(known, gone["key"].combine_chunks().take(_flat(place)))
            alike |= _flat(pc.is_in(of_title, several.drop_null())).to_numpy(zero_copy_only=False)
        again = np.full(titles.num_rows, -1)
        again[strange] = np.arange(len(strange))
        learned_key = pc.coalesce(learned_key, known.take(pa.array(again, mask=again < 0)))
        trains = asked["trains"].to_numpy()
        uncertain[strange] = alike & trains & known.is_null().to_numpy(zero_copy_only=False)
    columns = {"learned_key": learned_key, "identity_uncertain": pa.array(uncertain)}
    there = titles.drop_columns([name for name in columns if name in titles.column_names])
    for name, values in columns.items():
        there = there.append_column(name, values)
    return there


def _flat(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
