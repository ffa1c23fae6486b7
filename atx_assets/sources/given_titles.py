"""Titles given as records, made into the table that scoring takes.

Not here: reading JSON (`commands/score.py`), titles from the database (`titles.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from atx_assets.errors import AtxError
from atx_assets.schemas import FLOAT, INT, STRING, STRINGS, Column, arrow_type
from atx_assets.sources.layouts import Layout
from atx_assets.sources.mends import mended
from atx_assets.sources.rules import broken_rules
from atx_assets.sources.verdicts import known_text, name_of
from atx_assets.text import key_without_id

_WANTED = {
    STRING: "text",
    STRINGS: 'a list of texts, such as ["Drama"]',
    INT: "a whole number",
    FLOAT: "a number",
}


def given_titles(records: Sequence[Any], layout: Layout) -> pa.Table:
    """Make a table of titles from records with the columns of a layout.

    A record is checked and mended by the same rules as a row of the table, and gets the same key,
    so a title has one answer wherever it comes from. Two things are more lenient: only a name or
    an id is required, and NaN, which pandas writes for a missing value in any column, counts as
    unknown everywhere.

    Args:
        records: mappings from a column's name to its value; what is missing is unknown.
        layout: the layout that the model knows.

    Returns:
        `key`, `imdb_id`, `media_title`, and the layout's feature columns; one row per record, in
        their order. A record without `imdb_id` gets its title in normal form and its year as key.

    Raises:
        AtxError: a record has an unknown column, a value that its column does not accept, or
            neither id nor name; the line names record and column.
    """
    columns = {column.name: column for column in layout.columns}
    for number, record in enumerate(records, 1):
        _check_names(number, record, columns)
    read = dict.fromkeys(("imdb_id", *layout.names, *layout.features))
    given = {name: _values(records, columns[name]) for name in read}
    names = {
        "imdb_id": known_text(given["imdb_id"]),
        "media_title": known_text(name_of(pa.table(given))),
    }
    table = pa.table(names | {name: given[name] for name in layout.features})
    keys = [_key(number, row) for number, row in enumerate(table.to_pylist(), 1)]
    return table.add_column(0, "key", pa.array(keys, pa.string()))


def _check_names(number: int, record: Any, columns: Mapping[str, Column]) -> None:
    if not isinstance(record, Mapping):
        raise AtxError(f"title {number} must be an object with columns, but is {record!r:.60}")
    for name in record:
        if name not in columns:
            near = get_close_matches(str(name), columns, 1)
            hint = f"did you mean {near[0]}?" if near else f"the columns are {', '.join(columns)}"
            raise AtxError(f"title {number} has an unknown column {name!r:.60}; {hint}")


def _values(records: Sequence[Mapping[str, Any]], column: Column) -> pa.ChunkedArray:
    values = [_without_nan(record.get(column.name)) for record in records]
    for number, value in enumerate(values, 1):
        if value is not None and not _fits(value, column.type):
            wanted = _WANTED[column.type]
            raise AtxError(f"title {number}: {column.name} must be {wanted}, but is {value!r:.60}")
    if column.type == FLOAT:
        # Python rounds to the nearest float; Arrow refuses a whole number that no float equals.
        values = [None if value is None else float(value) for value in values]
    # As for rows of the table, or one title would have two probabilities.
    made = mended(pa.chunked_array([pa.array(values, arrow_type(column.type))]), column)
    for words, mask in broken_rules(made, column):
        # A column that a row of the table must have may be unknown in a given title.
        if words != "is missing":
            at = mask.to_pylist().index(True)
            raise AtxError(f"title {at + 1}: {column.name} {words}: {made[at].as_py()!r:.60}")
    return made


def _without_nan(value: Any) -> Any:
    """Return a value with each NaN replaced by None."""
    if isinstance(value, list):
        return [None if _is_nan(entry) else entry for entry in value]
    return None if _is_nan(value) else value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _fits(value: Any, type_: str) -> bool:
    if type_ == STRINGS:
        # A null in the list is dropped later, as in a row of the table.
        return isinstance(value, list) and all(
            word is None or _fits(word, STRING) for word in value
        )
    if type_ in (INT, FLOAT):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) < 2**63 and (type_ == FLOAT or value % 1 == 0)
    # Half of a surrogate pair, which JSON can write, is not valid text.
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _key(number: int, row: Mapping[str, Any]) -> str:
    if row["imdb_id"]:
        return str(row["imdb_id"])
    if not row["media_title"]:
        raise AtxError(f"title {number} has neither imdb_id nor media_title: give one of them")
    return key_without_id(row["media_title"], row["release_year"])
