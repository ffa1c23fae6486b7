"""The labels that SQL alone cannot assign to a title: their rows, and their titles.

Which title a labelled row counts for depends on names in their normal form, on what is mended in
an id, on whether the row is set aside, and, if a person said both, on times. Those rules are
in `sources/contract.py`, `sources/mends.py` and `sources/titles.py` and nowhere else: the
conditions below only select rows, and more of them than needed, for that code to decide. Not here:
the fingerprints (`fingerprints.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from atx_assets.schemas import IMDB_ID, STRINGS, UNKNOWN_TEXT, Column
from atx_assets.sources.contract import checked_columns, sort_rows
from atx_assets.sources.layouts import FILM, SCHEMA, SourceTable
from atx_assets.sources.read.extract import read_rows
from atx_assets.sources.verdicts import given_by_person, keys_without_id, labelled_rows

_FLAGS = ("label", "human_labeled", "reviewed", "anomalous")
# "C": the column's own collation may not support patterns.
_PROPER_ID = sql.SQL('coalesce(imdb_id COLLATE "C" ~ {}, false)').format(sql.Literal(IMDB_ID))
# Characters that the normal form of a name may change or leave out.
_NOT_PRINTABLE_ASCII = "[^ -~]"
# A name with one of these is known: none is blank, or invisible, or in 'N/A'.
_KNOWN_BY = "[0-9B-MO-Zb-z]"
_UNIQUE_KEY = """
    SELECT count(*) > 0 FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND i.indnkeyatts = 1 AND a.attname = %s
"""


@dataclass(frozen=True)
class LabelRow:
    """Where a labelled row's label ends up, in words, and whether a person gave it."""

    words: str
    human: bool


def hard_labels(
    connection: psycopg.Connection,
    source: SourceTable,
    labelled: sql.Composable,
    human: sql.Composable,
    *,
    both_said: bool,
) -> Iterator[LabelRow]:
    """Yield where each label ends up if its row alone does not say so.

    These are the labels of rows whose IMDb id is missing or odd, the titles of which a person said
    both keep and skip, and the labels of rows that are set aside.

    Args:
        connection: in the transaction of the fingerprints.
        source: the table.
        labelled, human: conditions: the row has a label; a person gave it.
        both_said: whether a person said keep in some row, and skip in another.
    """
    part = _needed(source)
    layout, key = source.layout, source.layout.key
    hard = [_may_be_set_aside(source)]
    if layout.name == "media":
        hard += [sql.SQL("NOT {}").format(_PROPER_ID), *([human] if both_said else [])]
    where = _of_films(sql.SQL("({}) AND ({})").format(labelled, sql.SQL(" OR ").join(hard)))
    if connection.execute(_UNIQUE_KEY, (f"{SCHEMA}.{layout.table}", layout.key)).fetchone() != (
        True,
    ):
        # Of any kind: a film that shares its key with a show is set aside with it.
        where = sql.SQL("({}) OR {}").format(where, _key_stands_twice(source))
    rows = read_rows(connection, part, where)
    if not rows.num_rows:
        return
    all_rows = rows
    if layout.name == "media" and (others := _others(rows, source)) is not None:
        more = read_rows(connection, part, _of_films(others))
        more = more.filter(pc.invert(pc.is_in(more[key], rows[key].combine_chunks())))
        all_rows = pa.concat_tables([rows, more])
    found = sort_rows(all_rows.sort_by(key), layout)
    yield from _outcomes(rows, labelled_rows(found.rows, layout, found.verdicts), source)


def _needed(source: SourceTable) -> SourceTable:
    """Return the table with only the columns by which rows are sorted and labelled."""
    names = {column.name for column in source.layout.columns if column.required} | {*_FLAGS}
    columns = {name: kind for name, kind in source.columns.items() if name in names}
    return SourceTable(source.layout, columns)


def _of_films(where: sql.Composable) -> sql.Composable:
    return sql.SQL("media_type::text = {} AND ({})").format(sql.Literal(FILM), where)


def _outcomes(rows: pa.Table, labelled: pa.Table, source: SourceTable) -> Iterator[LabelRow]:
    """Say where the labels of `rows` end up: at a title, at one of two verdicts, or nowhere."""
    layout, key = source.layout, source.layout.key
    by_person = given_by_person(rows, layout)
    # `$` matches only at the end of the text in RE2, as in PostgreSQL.
    proper = pc.match_substring_regex(rows["imdb_id"], IMDB_ID).fill_null(False).to_pylist()
    ends = {end["row"]: end for end in labelled.to_pylist()}
    for at, row in enumerate(rows[key].to_pylist()):
        if row not in ends:
            yield LabelRow(f"{row} is set aside", bool(by_person[at]))
        elif not proper[at]:
            yield LabelRow(f"{row} is of {ends[row]['key']}", bool(by_person[at]))
    people = [end for end in ends.values() if end["human"]]
    said = {(end["key"], end["said"]) for end in people}
    verdicts = {end["key"]: end["keep"] for end in people}
    for title, keep in verdicts.items():
        if {(title, True), (title, False)} <= said:
            yield LabelRow(f"{title} is a {'keep' if keep else 'skip'}", human=True)


def _others(rows: pa.Table, source: SourceTable) -> sql.Composable | None:
    """Return a condition for the rows that decide where `rows` end up; None if there are none.

    They are the rows that may have the name and the year of a row without an IMDb id, which may
    be a release of theirs, and those with the IMDb id of a row that is set aside, without which its
    label counts for no title.
    """
    found = sort_rows(rows, source.layout)
    conditions = []
    without = found.rows.filter(found.rows["imdb_id"].is_null())
    if without.num_rows:
        conditions.append(_may_share_name(keys_without_id(without).to_pylist()))
    ids = pc.unique(
        pa.concat_arrays(found.verdicts["imdb_id"].chunks or [pa.array([], pa.string())])
    )
    if len(ids := ids.drop_null()):
        # Whatever is mended in an id, it is never a letter or digit.
        conditions.append(
            sql.SQL(
                "imdb_id = ANY ({ids}) OR NOT {proper} AND"
                " regexp_replace(imdb_id COLLATE \"C\", '[^0-9A-Za-z]', '', 'g') = ANY ({ids})"
            ).format(ids=_texts(ids.to_pylist()), proper=_PROPER_ID)
        )
    return sql.SQL(" OR ").join(conditions) if conditions else None


def _may_share_name(keys: list[str]) -> sql.Composable:
    """Return a condition for the rows with an id that may have the name and year of a key.

    Names in printable ASCII that have the same normal form differ only in case and blanks. Any
    other name may equal any name of its year. If the title is as short as what means unknown, the
    release's name counts as well.
    """
    pairs, years = set[str](), set[str]()
    for key in keys:
        name, _, year = key.rpartition("|")
        years.add(year)
        if name.isascii():
            pairs.add(f"{name.replace(' ', '')}|{year}")
    shortest = max(map(len, UNKNOWN_TEXT)) + 1
    return sql.SQL(
        "imdb_id IS NOT NULL AND ({by_title} OR"
        " coalesce(length(replace(media_title, ' ', '')), 0) < {shortest} AND {by_release})"
    ).format(
        by_title=_may_be("media_title", pairs, years),
        by_release=_may_be("original_title", pairs, years),
        shortest=sql.Literal(shortest),
    )


def _may_be(column: str, pairs: set[str], years: set[str]) -> sql.Composable:
    # The cheaper test of each first, as most rows pass none: this runs every few seconds.
    return sql.SQL(
        '({name} COLLATE "C" ~ {odd} AND {year} IN (SELECT unnest({years}))'
        " OR {folded} IN (SELECT unnest({names}))"
        " AND {folded} || '|' || {year} IN (SELECT unnest({pairs})))"
    ).format(
        name=sql.Identifier(column),
        folded=sql.SQL("replace(lower({} COLLATE \"C\"), ' ', '')").format(sql.Identifier(column)),
        year=sql.SQL("coalesce(release_year::text, '')"),
        years=_texts(sorted(years)),
        names=_texts(sorted({pair.rpartition("|")[0] for pair in pairs})),
        odd=sql.Literal(_NOT_PRINTABLE_ASCII),
        pairs=_texts(sorted(pairs)),
    )


def surely_known(column: str) -> sql.Composable:
    """Return a condition that only known names meet, and nearly all of them do."""
    return sql.SQL('coalesce({} COLLATE "C" ~ {}, false)').format(
        sql.Identifier(column), sql.Literal(_KNOWN_BY)
    )


def _may_be_set_aside(source: SourceTable) -> sql.Composable:
    """Return a condition for the rows that may break a rule of the layout's contract.

    The rules for keys are not part of it: the fingerprint changes with the key itself.
    """
    layout = source.layout
    broken = [test for column in checked_columns(layout) for test in _may_break(column)]
    nameless = sql.SQL(" AND ").join(
        sql.SQL("NOT {}").format(surely_known(name)) for name in layout.names
    )
    return sql.SQL(" OR ").join([*broken, sql.SQL("({})").format(nameless)])


def _may_break(column: Column) -> Iterator[sql.Composable]:
    """Yield conditions that a value meets if it breaks a rule of its column, and perhaps otherwise.

    The limits are those of `schemas.py`. Lengths are compared in bytes: a text never has fewer
    bytes than characters.
    """
    name = sql.Identifier(column.name)
    if not column.nullable:
        yield sql.SQL("{} IS NULL").format(name)
    if column.values:
        yield sql.SQL("{}::text <> ALL ({})").format(name, _texts(list(column.values)))
    for limit, compared in ((column.low, "<"), (column.high, ">")):
        if limit is not None:
            yield sql.SQL("{} {} {}").format(name, sql.SQL(compared), sql.Literal(limit))
    if column.type == STRINGS:
        # Joined by commas, a list has at least as many bytes as entries, minus one.
        limits = [limit for limit in (column.longest, column.entries) if limit is not None]
        if limits:
            yield sql.SQL("octet_length(array_to_string({}, ',', '')) >= {}").format(
                name, sql.Literal(min(limits))
            )
    elif column.longest is not None:
        yield sql.SQL("octet_length({}) > {}").format(name, sql.Literal(column.longest))


def _key_stands_twice(source: SourceTable) -> sql.Composable:
    return sql.SQL("{0} IN (SELECT {0} FROM {1} GROUP BY 1 HAVING count(*) > 1)").format(
        sql.Identifier(source.layout.key), sql.Identifier(SCHEMA, source.layout.table)
    )


def _texts(texts: list[str]) -> sql.Composable:
    return sql.SQL("{}::text[]").format(sql.Literal(texts))
