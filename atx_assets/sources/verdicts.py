"""Which title a source row's verdict counts for, and which verdict on a title counts.

Not here: the table of titles made from them (`titles.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atx_assets.schemas import UNKNOWN_TEXT
from atx_assets.sources.layouts import Layout
from atx_assets.text import key_without_id

#: Verdicts on a release, strongest first: (keep, who gave it).
VERDICTS = ((True, "human"), (False, "human"), (True, "rule"), (False, "rule"), (None, None))
UNLABELLED = 4


def labelled_rows(films: pa.Table, layout: Layout, verdicts: pa.Table) -> pa.Table:
    """Return the film rows that hold a label of a title, each with that title and its label.

    Args:
        films, layout, verdicts: as `titles` takes them.

    Returns:
        One row per labelled row: `row` (its key in the source), `key` (its title's), `human` (a
        person gave the label), `said` (it says keep), `keep` (its title's label is keep).
    """
    if layout.name == "training":
        labelled, human = training_flags(films)
        keep = films["label"].to_numpy(zero_copy_only=False) == "would_watch"
        key = films["imdb_id"]
        made = {"row": key, "key": key, "human": human, "said": keep, "keep": keep}
        return pa.table(made).filter(pa.array(labelled))
    aside = verdicts.select(films.column_names)
    found = find_verdicts(films, ids_and_keys(films)[1], aside)
    keep = np.array([keep or False for keep, _ in VERDICTS])
    made = {
        "row": found.rows["hash"],
        "key": found.keys.take(pa.array(found.title)),
        "human": found.verdict <= 1,
        "said": keep[found.verdict],
        "keep": keep[found.of_title[found.title]],
    }
    return pa.table(made).filter(pa.array(found.verdict != UNLABELLED))


def given_by_person(films: pa.Table, layout: Layout) -> NDArray[np.bool_]:
    """Return which film rows have a label that a person gave."""
    if layout.name == "training":
        return training_flags(films)[1]
    return _release_verdicts(films)[0] <= 1


@dataclass(frozen=True)
class ReleaseVerdicts:
    """The releases whose verdicts count: the usable ones, then those set aside, and their titles.

    `keys` are the titles' keys. `title` is the index in `keys` of each release's title, `verdict`
    and `reason` are what each release says, `of_title` is the verdict on each title; `films` is
    the number of usable releases.
    """

    rows: pa.Table
    keys: pa.Array
    title: NDArray[np.int64]
    verdict: NDArray[np.int64]
    reason: pa.Array
    of_title: NDArray[np.int64]
    films: int

    @property
    def of_films(self) -> NDArray[np.int64]:
        """The index in `keys` of each usable release's title."""
        return self.title[: self.films]


def find_verdicts(films: pa.Table, keys: pa.Array, aside: pa.Table) -> ReleaseVerdicts:
    """Find the title of each release of the media layout, and the verdicts on both.

    Args:
        films: the usable releases.
        keys: the key of each release's title.
        aside: releases set aside whose verdict counts for the title with their IMDb id.
    """
    encoded = keys.dictionary_encode()
    rows, title = _with_aside(
        films, encoded.indices.to_numpy().astype(np.int64), aside, encoded.dictionary
    )
    verdict, reason = _release_verdicts(rows)
    of_title = _title_verdicts(title, verdict, rows, len(encoded.dictionary))
    return ReleaseVerdicts(
        rows, encoded.dictionary, title, verdict, reason, of_title, films.num_rows
    )


def ids_and_keys(films: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the IMDb id of each release's title, null if there is none, and the title's key.

    A release without `imdb_id` joins the title with the same year and name in normal form if
    exactly one has both; all others without an id are grouped by name and year.
    """
    imdb = known_text(films["imdb_id"]).combine_chunks()
    pair = keys_without_id(films)
    without = pc.unique(pair.filter(imdb.is_null()))
    return join_by_name(imdb, pair, ids_of_names([named_ids(imdb, pair, without)]))


def title_keys(films: pa.Table, layout: Layout) -> pa.Array:
    """Return the key of each film row's title, as `titles` has it in `key`.

    Args:
        films: all film rows of the source table: which title a release without an IMDb id joins
            depends on the others.
        layout: their layout.
    """
    if layout.name == "media":
        return ids_and_keys(films)[1]
    return films["imdb_id"].combine_chunks()


def named_ids(imdb: pa.Array, pair: pa.Array, wanted: pa.Array) -> pa.Table:
    """Return the IMDb ids that releases with the wanted pairs of name and year have.

    Args:
        imdb: the IMDb id of each release, null if unknown.
        pair: its name and year, as `keys_without_id` returns them.
        wanted: pairs, each once.

    Returns:
        One row per pair and id: `pair`, `imdb`.
    """
    if not len(wanted):
        return pa.table({"pair": pair.slice(0, 0), "imdb": imdb.slice(0, 0)})
    named = pa.table({"pair": pair, "imdb": imdb})
    named = named.filter(pc.and_(imdb.is_valid(), pc.is_in(pair, wanted)))
    return named.group_by(["pair", "imdb"]).aggregate([])


def ids_of_names(named: list[pa.Table]) -> pa.Table:
    """Return the pairs of name and year that exactly one IMDb id has, with that id.

    Args:
        named: the results of `named_ids` for each part of the releases.
    """
    none = pa.schema({"pair": pa.string(), "imdb": pa.string()}).empty_table()
    ids = pa.concat_tables([none, *named]).group_by("pair")
    ids = ids.aggregate([("imdb", "count_distinct"), ("imdb", "min")])
    ids = ids.filter(pc.equal(ids["imdb_count_distinct"], 1)).combine_chunks()
    return ids.select(["pair", "imdb_min"])


def join_by_name(imdb: pa.Array, pair: pa.Array, ids: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the IMDb id of each release's title, and the title's key.

    Args:
        imdb, pair: see `named_ids`.
        ids: as `ids_of_names` returns them.
    """
    joined = ids["imdb_min"].combine_chunks().take(pc.index_in(pair, ids["pair"].combine_chunks()))
    found = pc.coalesce(imdb, joined)
    return found, pc.coalesce(found, pair)


def keys_without_id(films: pa.Table) -> pa.Array:
    """Return each release's key for a title without a known id; each name is folded once."""
    name = name_of(films).combine_chunks().dictionary_encode()
    folded = pa.array([key_without_id(n, None) for n in name.dictionary.to_pylist()], pa.string())
    year = pc.coalesce(pc.cast(films["release_year"], pa.string()), "").combine_chunks()
    return pc.binary_join_element_wise(folded.take(name.indices), year, "")


def name_of(films: pa.Table) -> pa.ChunkedArray:
    """Return the film's title, or the release's name if it is unknown."""
    if "original_title" not in films.column_names:
        return films["media_title"]
    own_name = pc.utf8_trim_whitespace(films["original_title"])
    return pc.coalesce(known_text(films["media_title"]), own_name)


def known_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column with 'N/A' and the empty string as null."""
    unknown = pc.is_in(column, pa.array(UNKNOWN_TEXT, column.type))
    return pc.if_else(unknown, pa.scalar(None, column.type), column)


def _with_aside(
    films: pa.Table, title: NDArray[np.int64], aside: pa.Table, keys: pa.Array
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Return the releases whose verdicts count, and the index in `keys` of each one's title."""
    place = pc.index_in(known_text(aside["imdb_id"]), keys).combine_chunks()
    counted = pa.concat_tables([films, aside.filter(place.is_valid())])
    return counted, np.concatenate([title, place.drop_null().to_numpy()])


def _release_verdicts(films: pa.Table) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the verdict on each release, as an index of `VERDICTS`, and the reason for it."""

    def is_(status: str) -> NDArray[np.bool_]:
        return np.asarray(pc.equal(films["rejection_status"], status).fill_null(False))

    reason = known_text(films["rejection_reason"]).combine_chunks()
    by_person = reason.is_null().to_numpy(zero_copy_only=False)
    rejected = is_("rejected")
    cases = [is_("override"), rejected & by_person, is_("accepted"), rejected]
    return np.select(cases, [0, 1, 2, 3], UNLABELLED), reason


def _title_verdicts(
    title: NDArray[np.int64], verdict: NDArray[np.int64], films: pa.Table, titles: int
) -> NDArray[np.int64]:
    """Return the verdict on each title: the strongest of its releases."""
    strongest = np.full(titles, UNLABELLED)
    np.minimum.at(strongest, title, verdict)
    # If a person said both, the later verdict counts; at the same instant, the keep.
    people = np.flatnonzero(verdict <= 1)
    updated = pc.cast(films["updated_at"], pa.int64()).fill_null(0).to_numpy()[people]
    earliest_first = people[np.lexsort((-verdict[people], updated))]
    strongest[title[earliest_first]] = verdict[earliest_first]
    return strongest


def training_flags(
    films: pa.Table, by_model: Collection[str] = ()
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows have a label by a person or a rule, and which have one by a person.

    Args:
        films: rows of the training layout.
        by_model: keys of reviewed rows whose label is a model's.
    """
    labelled = films["label"].is_valid().to_numpy()
    human = labelled & flag(films, "human_labeled", when_missing=False)
    reviewed = labelled & flag(films, "reviewed", when_missing=True)
    if by_model:
        # Not NumPy's: it compares every text in the row with every key.
        keys = pa.array(sorted(by_model), films["imdb_id"].type)
        reviewed &= ~pc.is_in(films["imdb_id"], keys).to_numpy()
    return human | reviewed, human


def flag(films: pa.Table, name: str, *, when_missing: bool) -> NDArray[np.bool_]:
    """Return a boolean column with null as false; older tables lack some."""
    if name not in films.column_names:
        return np.full(films.num_rows, when_missing)
    return np.asarray(films[name].fill_null(False))
