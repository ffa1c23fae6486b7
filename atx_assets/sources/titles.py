"""From source rows to titles: which releases are one title, and what its label is.

Both layouts become the same table. Not here: cleaning of features (`learning/features.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.by_title import RowsByTitle, TitleRows
from atx_assets.sources.layouts import FILM, Layout
from atx_assets.sources.verdicts import (
    UNLABELLED,
    VERDICTS,
    ReleaseVerdicts,
    find_verdicts,
    flag,
    name_of,
    training_flags,
)


def titles(
    rows: pa.Table,
    layout: Layout,
    verdicts: pa.Table | None = None,
    by_model: Collection[str] = (),
) -> pa.Table:
    """Make one row per film from the source's rows, in memory.

    Args:
        rows: the source table as extracted; other media types are left out.
        layout: its layout.
        verdicts: releases set aside, of which only the verdict counts, for the title with their
            IMDb id, if that has another release. None in the training layout, one row per title.
        by_model: in the training layout, keys of reviewed rows whose label is a model's.

    Returns:
        As `titles_of`, for all titles.

    Raises:
        AtxError: no row is a film.
    """
    films = rows.filter(pc.equal(rows["media_type"], FILM))
    if films.num_rows == 0:
        raise no_film(set(rows["media_type"].to_pylist()), layout)
    by_title = RowsByTitle(layout, [], Path())
    by_title.add(films, films.slice(0, 0) if verdicts is None else verdicts)
    return pa.concat_tables(titles_of(part, layout, by_model) for part in by_title.ranges())


def no_film(kinds: Collection[str | None], layout: Layout) -> AtxError:
    """Return the error that no row is a film; `kinds` are the media types that occur."""
    there = ", ".join(sorted(map(str, kinds))) or "no row"
    return AtxError(
        f"atp.{layout.table} holds no film: media_type is never 'movie' ({there}); "
        "load a library with `atx load FILE`"
    )


def titles_of(rows: TitleRows, layout: Layout, by_model: Collection[str] = ()) -> pa.Table:
    """Make one row per film from all rows of these films.

    Args:
        rows: the rows of a range of titles.
        layout: their layout.
        by_model: in the training layout, keys of reviewed rows whose label is a model's.

    Returns:
        A table ordered bytewise by `key`, with the columns of `titles_schema`.
    """
    if layout.name == "training":
        made = _from_training(rows.films, layout, by_model)
    else:
        made = _from_media(rows, layout)
    return made.sort_by("key")


def titles_schema(source: pa.Schema, layout: Layout) -> pa.Schema:
    """Return the columns of titles: those of `schemas.TITLES` (null if nothing is known),
    then the layout's other feature columns as the source has them.
    """
    own = schemas.arrow_schema(schemas.TITLES)
    features = [source.field(name) for name in layout.features if name not in own.names]
    return pa.schema([*own, *features])


def _assemble(films: pa.Table, layout: Layout, made: dict[str, Any]) -> pa.Table:
    """Combine the columns of titles, from `made` or otherwise from the source."""
    known = {name: films[name] for name in films.column_names if name in _AS_THEY_CAME}
    known |= {name: films[name] for name in layout.features} | made
    known["kind"] = pa.repeat(schemas.FILM_KIND, films.num_rows)
    known["media_title"] = name_of(films)
    schema = titles_schema(films.schema, layout)
    columns = [
        known[field.name] if field.name in known else pa.nulls(films.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


#: The titles' own columns that come from the source unchanged.
_AS_THEY_CAME = ("tmdb_id", "release_year", "hash", "original_title")


def _from_training(films: pa.Table, layout: Layout, by_model: Collection[str]) -> pa.Table:
    labelled = films["label"].is_valid().to_numpy()
    taught, human = training_flags(films, by_model)
    source = np.where(human, "human", np.where(taught, "rule", "model"))
    # A decision of the downloader is a model's verdict: a model must not learn from it.
    trains = taught & ~flag(films, "anomalous", when_missing=False)
    return _assemble(
        films,
        layout,
        {
            "key": films["imdb_id"],
            "imdb_id": films["imdb_id"],
            "label": pc.equal(films["label"], "would_watch"),
            "label_source": pa.array(source, pa.string(), mask=~labelled),
            "trains": trains,
            "created_at": films["created_at"],
            "label_date": pc.if_else(films["label"].is_valid(), films["updated_at"], None),
        },
    )


def _from_media(rows: TitleRows, layout: Layout) -> pa.Table:
    found = find_verdicts(rows.films, rows.keys, rows.aside)
    stands = pa.array(_representatives(rows.films, found.of_films, layout))
    keep = np.array([keep for keep, _ in VERDICTS], object)
    source = np.array([source for _, source in VERDICTS], object)
    return _assemble(
        rows.films.take(stands),
        layout,
        {
            "key": found.keys,
            # The title's id: the release that represents it may have none of its own.
            "imdb_id": rows.ids.take(stands),
            "label": pa.array(keep[found.of_title], pa.bool_()),
            "label_source": pa.array(source[found.of_title], pa.string()),
            "label_reason": _reasons(found),
            "trains": found.of_title != UNLABELLED,
            "created_at": _first_seen(rows.films, found.of_films),
            "label_date": _last_touched(found),
        },
    )


def _representatives(
    films: pa.Table, title: NDArray[np.int64], layout: Layout
) -> NDArray[np.int64]:
    """Return the release that represents each title: most complete, then newest, then by hash.

    The order ignores labels: what is known of a title must not depend on its verdict.
    Releases come in the order of their hashes.
    """

    def known(name: str) -> NDArray[np.bool_]:
        column = films[name]
        if pa.types.is_list(column.type):
            column = pc.greater(pc.list_value_length(column), 0).fill_null(False)
            return np.asarray(column.to_numpy())
        return np.asarray(column.is_valid().to_numpy())

    completeness = np.sum([known(name) for name in layout.features], axis=0)
    created = pc.cast(films["created_at"], pa.int64()).fill_null(0).to_numpy()
    best_first = np.lexsort((-created, -completeness, title))
    _, first = np.unique(title[best_first], return_index=True)
    return best_first[first]


def _first_seen(films: pa.Table, title: NDArray[np.int64]) -> pa.Array:
    """Return when the first release of each title was added to the database."""
    seen = pa.table({"title": title, "created_at": films["created_at"]}).group_by("title")
    return seen.aggregate([("created_at", "min")]).sort_by("title")["created_at_min"]


def _last_touched(found: ReleaseVerdicts) -> pa.Array:
    """Return when a release with the title's label was last changed; null for unlabelled titles."""
    never = np.iinfo(np.int64).min
    updated_at = found.rows["updated_at"]
    touched = pc.cast(updated_at, pa.int64()).fill_null(never).to_numpy()
    holds = (found.verdict == found.of_title[found.title]) & (found.verdict != UNLABELLED)
    last = np.full(len(found.of_title), never)
    np.maximum.at(last, found.title[holds], touched[holds])
    return pa.array(last, updated_at.type, mask=last == never)


def _reasons(found: ReleaseVerdicts) -> pa.Array:
    """Return why rules skipped each title: distinct reasons joined by '; ', or null."""
    by_rule = VERDICTS.index((False, "rule"))
    skips = (found.verdict == by_rule) & (found.of_title[found.title] == by_rule)
    said = pa.table({"title": found.title[skips], "reason": found.reason.filter(pa.array(skips))})
    distinct = said.group_by(["title", "reason"]).aggregate([])
    distinct = distinct.sort_by([("title", "ascending"), ("reason", "ascending")])
    by_title = distinct.group_by("title", use_threads=False).aggregate([("reason", "list")])
    joined = pc.binary_join(by_title["reason_list"].combine_chunks(), "; ")
    place = pc.index_in(
        pa.array(np.arange(len(found.of_title))), by_title["title"].combine_chunks()
    )
    return joined.take(place)
