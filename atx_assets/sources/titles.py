"""From source rows to titles: which releases are one title, and what its label is.

Both layouts end in the same table. Not here: cleaning of features (`learning/features.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.schemas import UNKNOWN_TEXT
from atx_assets.sources.layouts import Layout
from atx_assets.text import key_without_id

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

FILM = "movie"

#: Verdicts on a release, the strongest first: (keep, who gave it).
_VERDICTS = ((True, "human"), (False, "human"), (True, "rule"), (False, "rule"), (None, None))
_UNJUDGED = 4


def titles(rows: pa.Table, layout: Layout, verdicts: pa.Table | None = None) -> pa.Table:
    """Make one row a film from the source's rows.

    Args:
        rows: the source table as extracted; other media types are left out.
        layout: the layout it is in.
        verdicts: releases that are set aside, but for their verdict: it counts for the title with
            their IMDb id, if that has another release. None in the training layout, a row a title.

    Returns:
        A table ordered bytewise by `key`: `key`, `imdb_id`, `media_title`, `label` (bool, null:
        unjudged), `label_source` (human, rule, model or null), `label_reason` (why a rule
        skipped it), `trains` (bool: a training row), `hash` and `original_title` (null in the
        training layout), `created_at` (when the title came to the database), `label_date` (when
        the row that holds the label was last touched: the label is no newer), then the layout's
        feature columns as the source has them.

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
        return _from_training(films, layout).sort_by("key")
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
        return _ids_and_keys(films)[1]
    return films["imdb_id"].combine_chunks()


def known_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column with 'N/A' and the empty string as null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unknown = pc.is_in(column, pa.array(UNKNOWN_TEXT, column.type))
    return pc.if_else(unknown, pa.scalar(None, column.type), column)


def _assemble(films: pa.Table, layout: Layout, made: dict[str, Any]) -> pa.Table:
    """Put the columns of `titles` together, from `made` or else from the source."""
    import pyarrow as pa

    nothing = pa.nulls(films.num_rows, pa.string())
    columns = {
        "key": made["key"],
        "imdb_id": made["imdb_id"],
        "media_title": _name(films),
        "label": made["label"],
        "label_source": made["label_source"],
        "label_reason": made.get("label_reason", nothing),
        "trains": pa.array(made["trains"], pa.bool_()),
        "hash": films["hash"] if "hash" in films.column_names else nothing,
        "original_title": films["original_title"]
        if "original_title" in films.column_names
        else nothing,
        "created_at": made["created_at"],
        "label_date": made["label_date"],
    }
    return pa.table(columns | {name: films[name] for name in layout.features})


def _from_training(films: pa.Table, layout: Layout) -> pa.Table:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    def flag(name: str, when_missing: bool) -> np.ndarray[Any, Any]:
        if name not in films.column_names:
            return np.full(films.num_rows, when_missing)
        flags: np.ndarray[Any, Any] = films[name].fill_null(False).to_numpy()
        return flags

    judged = films["label"].is_valid().to_numpy()
    human, reviewed = flag("human_labeled", False), flag("reviewed", True)
    source = np.where(human, "human", np.where(reviewed, "rule", "model"))
    # What the downloader decided by itself is a model's verdict: a model must not learn from it.
    trains = judged & (human | reviewed) & ~flag("anomalous", False)
    return _assemble(
        films,
        layout,
        {
            "key": films["imdb_id"],
            "imdb_id": films["imdb_id"],
            "label": pc.equal(films["label"], "would_watch"),
            "label_source": pa.array(source, pa.string(), mask=~judged),
            "trains": trains,
            "created_at": films["created_at"],
            "label_date": pc.if_else(films["label"].is_valid(), films["updated_at"], None),
        },
    )


def _from_media(films: pa.Table, layout: Layout, aside: pa.Table) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    ids, all_keys = _ids_and_keys(films)
    keys = all_keys.dictionary_encode()
    title = keys.indices.to_numpy()
    judged, title_judged = _with_aside(films, title, aside, keys.dictionary)
    verdict, reason = _release_verdicts(judged)
    of_title = _title_verdicts(title_judged, verdict, judged)
    skipped = verdict == _VERDICTS.index((False, "rule"))
    stands = _representatives(title, films, layout)
    keep = np.array([v[0] for v in _VERDICTS], object)
    source = np.array([v[1] for v in _VERDICTS], object)
    return _assemble(
        films.take(pa.array(stands)),
        layout,
        {
            "key": keys.dictionary,
            # That of the title: the release that stands for it may have none of its own.
            "imdb_id": ids.take(pa.array(stands)),
            "label": pa.array(keep[of_title], pa.bool_()),
            "label_source": pa.array(source[of_title], pa.string()),
            "label_reason": _reasons(title_judged[skipped], reason.filter(skipped), of_title),
            "trains": of_title != _UNJUDGED,
            "created_at": _first_seen(title, films),
            "label_date": _last_touched(title_judged, verdict, of_title, judged),
        },
    )


def _with_aside(
    films: pa.Table, title: np.ndarray[Any, Any], aside: pa.Table, keys: pa.Array
) -> tuple[pa.Table, np.ndarray[Any, Any]]:
    """The releases whose verdicts count, and the place in `keys` of each one's title."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    place = pc.index_in(known_text(aside["imdb_id"]), keys).combine_chunks()
    judged = pa.concat_tables([films, aside.filter(place.is_valid())])
    return judged, np.concatenate([title, place.drop_null().to_numpy()])


def _name(films: pa.Table) -> pa.ChunkedArray:
    """The film's title, or the name of the release where it is unknown."""
    import pyarrow.compute as pc

    if "original_title" not in films.column_names:
        return films["media_title"]
    own_name = pc.utf8_trim_whitespace(films["original_title"])
    return pc.coalesce(known_text(films["media_title"]), own_name)


def _ids_and_keys(films: pa.Table) -> tuple[pa.Array, pa.Array]:
    """The IMDb id of each release's title, null where none has one, and the title's key.

    A release without `imdb_id` joins the title of the same name in normal form and year if
    exactly one has that pair; otherwise those without one group by the pair.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    imdb = known_text(films["imdb_id"]).combine_chunks()
    pair = _keys_without_id(films)

    without = pc.unique(pair.filter(imdb.is_null()))
    named = pa.table({"pair": pair, "imdb": imdb}).filter(
        pc.and_(imdb.is_valid(), pc.is_in(pair, without))
    )
    ids = named.group_by("pair").aggregate([("imdb", "count_distinct"), ("imdb", "min")])
    ids = ids.filter(pc.equal(ids["imdb_count_distinct"], 1)).combine_chunks()
    joined = ids["imdb_min"].combine_chunks().take(pc.index_in(pair, ids["pair"]))
    ids = pc.coalesce(imdb, joined)
    return ids, pc.coalesce(ids, pair)


def _keys_without_id(films: pa.Table) -> pa.Array:
    """The key that each release's title has where no id is known, each name folded once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = _name(films).combine_chunks().dictionary_encode()
    folded = pa.array([key_without_id(n, None) for n in name.dictionary.to_pylist()], pa.string())
    year = pc.coalesce(pc.cast(films["release_year"], pa.string()), "").combine_chunks()
    return pc.binary_join_element_wise(folded.take(name.indices), year, "")


def _release_verdicts(films: pa.Table) -> tuple[np.ndarray[Any, Any], pa.Array]:
    """The verdict on each release, as an index of `_VERDICTS`, and the reason given for it."""
    import numpy as np
    import pyarrow.compute as pc

    def is_(status: str) -> np.ndarray[Any, Any]:
        equal = pc.equal(films["rejection_status"], status).fill_null(False)
        found: np.ndarray[Any, Any] = equal.to_numpy()
        return found

    reason = known_text(films["rejection_reason"]).combine_chunks()
    by_person = reason.is_null().to_numpy(zero_copy_only=False)
    rejected = is_("rejected")
    cases = [is_("override"), rejected & by_person, is_("accepted"), rejected]
    return np.select(cases, [0, 1, 2, 3], _UNJUDGED), reason


def _title_verdicts(
    title: np.ndarray[Any, Any], verdict: np.ndarray[Any, Any], films: pa.Table
) -> np.ndarray[Any, Any]:
    """The verdict on each title: the strongest of its releases."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    strongest = np.full(title.max() + 1, _UNJUDGED)
    np.minimum.at(strongest, title, verdict)
    # A person who said both is taken at the later word; at one instant, at the keep.
    people = np.flatnonzero(verdict <= 1)
    updated = pc.cast(films["updated_at"], pa.int64()).fill_null(0).to_numpy()[people]
    earliest_first = people[np.lexsort((-verdict[people], updated))]
    strongest[title[earliest_first]] = verdict[earliest_first]
    return strongest


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
    holds = (verdict == of_title[title]) & (verdict != _UNJUDGED)
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
