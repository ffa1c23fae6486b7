"""The probabilities of every film, from one bundle. Not here: where films and bundle come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from atx_assets.learning.evaluation import FOLDS, SEEDS
from atx_assets.learning.models import predict, side_by_side
from atx_assets.schemas import IMDB_ID
from atx_assets.text import key_without_id

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import xgboost as xgb

    from atx_assets.learning.features import FeatureEncoding

#: Titles encoded at once: the dense matrix of a million titles would fill the memory.
BATCH = 65_536


class ScoringBundle(Protocol):
    """What scoring needs of a bundle."""

    @property
    def encoding(self) -> FeatureEncoding:
        """The encoding that the models were trained on."""

    @property
    def model(self) -> xgb.Booster:
        """The model that learned from every training row."""

    @property
    def learned_from(self) -> pa.Table:
        """`key`, `named` and `seed0` to `seed4`: the fold a row was held out of."""

    def fold_model(self, seed: int, fold: int) -> xgb.Booster:
        """The model that did not see one fold."""


def in_sample(titles: pa.Table, bundle: ScoringBundle) -> np.ndarray[Any, Any]:
    """Ask the model that learned from every training row.

    Args:
        titles: n titles with the encoding's source columns.
        bundle: the version that scores.

    Returns:
        float32, shape (n,).
    """
    import numpy as np

    answers = np.empty(titles.num_rows, np.float32)
    for start in range(0, titles.num_rows, BATCH):
        batch = titles.slice(start, BATCH)
        answers[start : start + BATCH] = predict(bundle.model, bundle.encoding.matrix(batch))
    return answers


def blind_answers(
    titles: pa.Table, bundle: ScoringBundle
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ask, for each title that a bundle learned from, the models that did not see its label.

    Args:
        titles: n titles with `key`, `media_title`, `release_year` and the encoding's columns.
        bundle: the version that scores.

    Returns:
        rows: which titles the bundle learned from, ascending.
        answers: float32, shape (seeds, len(rows)).
    """
    import numpy as np

    rows = np.flatnonzero(_folds_of(titles, bundle.learned_from)[0] >= 0)
    known = titles.take(rows)
    answers = np.empty((len(SEEDS), len(rows)), np.float32)
    matrix = bundle.encoding.matrix(known)
    models = list(held_out_models(known, bundle))
    found = side_by_side(lambda one: predict(one[2], matrix[one[1]]), models)
    for (seed, at, _), of_each in zip(models, found, strict=True):
        answers[seed, at] = of_each
    return rows, answers


def blind_probabilities(
    titles: pa.Table, bundle: ScoringBundle, champions: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Ask, for each title, models that have not seen its label.

    Args:
        titles: n titles with `key`, `media_title`, `release_year` and the encoding's columns.
        bundle: the version that scores.
        champions: what `in_sample` says of them, where that is known already.

    Returns:
        float64, shape (n,): where the bundle learned from the title, the mean of the five models
        that did not see it; elsewhere what the champion says.
    """
    import numpy as np

    if champions is None:
        champions = in_sample(titles, bundle)
    probability = champions.astype(np.float64)
    rows, answers = blind_answers(titles, bundle)
    probability[rows] = answers.mean(axis=0, dtype=np.float64)
    return probability


def held_out_models(
    titles: pa.Table, bundle: ScoringBundle
) -> Iterator[tuple[int, np.ndarray[Any, Any], xgb.Booster]]:
    """Yield each model of the folds: its seed, and the rows of `titles` that it was kept from."""
    import numpy as np

    folds = _folds_of(titles, bundle.learned_from)
    for seed in SEEDS:
        for fold in range(FOLDS):
            at = np.flatnonzero(folds[seed] == fold)
            if len(at):
                yield seed, at, bundle.fold_model(seed, fold)


def names_and_years(titles: pa.Table) -> pa.Array:
    """Return what each title's key is where it has no IMDb id."""
    import pyarrow as pa

    names, years = titles["media_title"].to_pylist(), titles["release_year"].to_pylist()
    keys = (key_without_id(name or "", year) for name, year in zip(names, years, strict=True))
    return pa.array(keys, pa.string())


def gone_since(learned: pa.Table, keys: Iterable[pa.ChunkedArray]) -> pa.Table:
    """Return what was learned from, of titles whose key is not in the library any more.

    Args:
        learned: what a bundle learned from.
        keys: those of every title there is, in parts.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    there = np.zeros(learned.num_rows, bool)
    for part in keys:
        there |= pc.is_in(learned["key"], part.combine_chunks()).to_numpy()
    return learned.filter(pa.array(~there))


def as_learned(titles: pa.Table, learned: pa.Table, gone: pa.Table | None = None) -> pa.Table:
    """Return titles with the key under which a bundle learned each of them.

    "Not found under this key" is not "not learned from": a title whose id was corrected must not
    be asked of the models that saw its label. Where its key is not among those learned from, it is
    known again by what stays, among the learned titles that are gone from the library: the hash of
    its release, its TMDb id, its name and year. Where two of these are alike, nobody can say.

    Args:
        titles: with `key`, `hash`, `tmdb_id`, `media_title`, `release_year`, `trains`.
        learned: what the bundle learned from; an earlier atx wrote down no hash and no TMDb id.
        gone: of what was learned from, the titles that are gone (`gone_since`); not needed where
            `titles` are all that there are.

    Returns:
        The titles with `learned_key` (null: not learned from) and `identity_uncertain` (whether
        that is not certain of a title that trains).
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

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
    import pyarrow as pa

    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _folds_of(titles: pa.Table, learned: pa.Table) -> np.ndarray[Any, Any]:
    """Find the fold of each title under each seed, -1 where it was not learned from.

    By `learned_key`, where `as_learned` has looked at the whole library. Of single titles by key;
    or, where one of the two keys is no IMDb id, by a name and year that only one of the learned
    has: a title gets another key when its IMDb id becomes known.

    Returns:
        shape (seeds, n).
    """
    import numpy as np
    import pyarrow.compute as pc

    def place(found: pa.ChunkedArray) -> np.ndarray[Any, Any]:
        places: np.ndarray[Any, Any] = found.fill_null(-1).to_numpy()
        return places

    def folds(found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.stack([np.append(learned[f"seed{s}"].to_numpy(), -1)[found] for s in SEEDS])

    if "learned_key" in titles.column_names:
        return folds(place(pc.index_in(titles["learned_key"], learned["key"], skip_nulls=True)))
    by_key = place(pc.index_in(titles["key"], learned["key"]))
    counted = learned["named"].value_counts()
    once = counted.field(0).filter(pc.equal(counted.field(1), 1))
    unique = pc.if_else(pc.is_in(learned["named"], once), learned["named"], None)
    by_name = place(pc.index_in(names_and_years(titles), unique, skip_nulls=True))
    two_ids = (
        _are_imdb_ids(titles["key"]) & np.append(_are_imdb_ids(learned["key"]), False)[by_name]
    )
    return folds(np.where((by_key < 0) & ~two_ids, by_name, by_key))


def _are_imdb_ids(keys: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    import pyarrow.compute as pc

    matched: np.ndarray[Any, Any] = pc.match_substring_regex(keys, IMDB_ID).to_numpy()
    return matched
