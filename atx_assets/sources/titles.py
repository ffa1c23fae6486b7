"""From source rows to titles: which releases are one title, and what its label is.

Both layouts end in the same table. Not here: cleaning of features (`learning/features.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.layouts import Layout
from atx_assets.sources.verdicts import (
    FILM,
    UNLABELLED,
    VERDICTS,
    find_verdicts,
    flag,
    ids_and_keys,
    name_of,
    training_flags,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def titles(
    rows: pa.Table,
    layout: Layout,
    verdicts: pa.Table | None = None,
    by_model: Collection[str] = (),
) -> pa.Table:
    """Make one row a film from the source's rows.

    Args:
        rows: the source table as extracted; other media types are left out.
        layout: the layout it is in.
        verdicts: releases that are set aside, but for their verdict: it counts for the title with
            their IMDb id, if that has another release. None in the training layout, a row a title.
        by_model: of the training layout, keys of reviewed rows whose label is a model's.

    Returns:
        A table ordered bytewise by `key`: the columns of `schemas.TITLES` (those of which nothing
        is known are null), then the layout's other feature columns as the source has them.

    Raises:
        AtxError: there is no film.
    """
    import pyarrow.compute as pc

    films = rows.filter(pc.equal(rows["media_type"], FILM))
    if films.num_rows == 0:
        kinds = ", ".join(sorted(str(k) for k in set(rows["media_type"].to_pylist()))) or "no row"
        raise AtxError(
            f"atp.{layout.table} holds no film: media_type is never 'movie' ({kinds}); "
            "load a library with `atx load FILE`"
        )
    if layout.name == "training":
        return _from_training(films, layout, by_model).sort_by("key")
    aside = films.slice(0, 0) if verdicts is None else verdicts.select(films.column_names)
    return _from_media(films, layout, aside).sort_by("key")


def title_keys(films: pa.Table, layout: Layout) -> pa.Array:
    """Return the key of the title that each film row belongs to, as `titles` has it in `key`.

    Args:
        films: rows of the source table whose `media_type` is a film's, all of them: which title
            a release without an IMDb id joins depends on the others.
        layout: the layout they are in.
    """
    if layout.name == "media":
        return ids_and_keys(films)[1]
    return films["imdb_id"].combine_chunks()


def _assemble(films: pa.Table, layout: Layout, made: dict[str, Any]) -> pa.Table:
    """Put the columns of `titles` together, from `made` or else from the source."""
    import pyarrow as pa

    known = {name: films[name] for name in _AS_THEY_CAME if name in films.column_names} | made
    known["kind"] = pa.repeat(schemas.FILM_KIND, films.num_rows)
    known["media_title"] = name_of(films)
    known["trains"] = pa.array(made["trains"], pa.bool_())
    columns = {}
    for field in schemas.arrow_schema(schemas.TITLES):
        values = known.get(field.name)
        columns[field.name] = pa.nulls(films.num_rows, field.type) if values is None else values
    features = {name: films[name] for name in layout.features if name not in columns}
    return pa.table(columns | features)


#: Those of the titles' own columns that are the source's.
_AS_THEY_CAME = ("tmdb_id", "release_year", "hash", "original_title")


def _from_training(films: pa.Table, layout: Layout, by_model: Collection[str]) -> pa.Table:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    labelled = films["label"].is_valid().to_numpy()
    taught, human = training_flags(films, by_model)
    source = np.where(human, "human", np.where(taught, "rule", "model"))
    # What the downloader decided by itself is a model's verdict: a model must not learn from it.
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


def _from_media(films: pa.Table, layout: Layout, aside: pa.Table) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    found = find_verdicts(films, aside)
    # Those that are set aside come after the films.
    title, of_title, verdict = found.title[: films.num_rows], found.of_title, found.verdict
    skipped = verdict == VERDICTS.index((False, "rule"))
    stands = _representatives(title, films, layout)
    keep = np.array([v[0] for v in VERDICTS], object)
    source = np.array([v[1] for v in VERDICTS], object)
    return _assemble(
        films.take(pa.array(stands)),
        layout,
        {
            "key": found.keys,
            # That of the title: the release that stands for it may have none of its own.
            "imdb_id": found.ids.take(pa.array(stands)),
            "label": pa.array(keep[of_title], pa.bool_()),
            "label_source": pa.array(source[of_title], pa.string()),
            "label_reason": _reasons(found.title[skipped], found.reason.filter(skipped), of_title),
            "trains": of_title != UNLABELLED,
            "created_at": _first_seen(title, films),
            "label_date": _last_touched(found.title, verdict, of_title, found.rows),
        },
    )


def _representatives(
    title: np.ndarray[Any, Any], films: pa.Table, layout: Layout
) -> np.ndarray[Any, Any]:
    """The release that stands for each title: the most complete, then the newest, then by hash.

    The order does not look at labels: what is known of a title must not depend on its verdict.
    Releases come in the order of their hashes.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    def known(name: str) -> np.ndarray[Any, Any]:
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


def _first_seen(title: np.ndarray[Any, Any], films: pa.Table) -> pa.Array:
    """When the first release of each title came to the database."""
    import pyarrow as pa

    seen = pa.table({"title": title, "created_at": films["created_at"]}).group_by("title")
    return seen.aggregate([("created_at", "min")]).sort_by("title")["created_at_min"]


def _last_touched(
    title: np.ndarray[Any, Any],
    verdict: np.ndarray[Any, Any],
    of_title: np.ndarray[Any, Any],
    films: pa.Table,
) -> pa.Array:
    """When a release with the title's label was last touched; null for titles without one."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    never = np.iinfo(np.int64).min
    touched = pc.cast(films["updated_at"], pa.int64()).fill_null(never).to_numpy()
    holds = (verdict == of_title[title]) & (verdict != UNLABELLED)
    last = np.full(len(of_title), never)
    np.maximum.at(last, title[holds], touched[holds])
    return pa.array(last, films["updated_at"].type, mask=last == never)


def _reasons(
    title: np.ndarray[Any, Any], reason: pa.Array, of_title: np.ndarray[Any, Any]
) -> pa.Array:
    """Why rules skipped each title: the distinct reasons, joined by '; '; null for other titles."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    distinct = pa.table({"title": title, "reason": reason}).group_by(["title", "reason"])
    distinct = distinct.aggregate([]).sort_by([("title", "ascending"), ("reason", "ascending")])
    by_title = distinct.group_by("title", use_threads=False).aggregate([("reason", "list")])
    joined = pc.binary_join(by_title["reason_list"].combine_chunks(), "; ")
    skipped = pa.array(np.flatnonzero(of_title == 3))
    at = pc.index_in(pa.array(np.arange(len(of_title))), skipped)
    found = pc.index_in(skipped, by_title["title"].combine_chunks())
    return joined.take(found).take(at)
