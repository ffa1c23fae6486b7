"""The probabilities of every film, from one bundle. Not here: where films and bundle come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost as xgb
from numpy.typing import NDArray

from atx_assets.learning.features import FeatureEncoding
from atx_assets.learning.folds import FOLDS, SEEDS
from atx_assets.learning.identity import names_and_years
from atx_assets.learning.models import predict, side_by_side
from atx_assets.schemas import IMDB_ID

#: Titles encoded in one step: the dense matrix of a million titles would fill the memory.
BATCH = 65_536


class ScoringBundle(Protocol):
    """What scoring needs from a bundle."""

    @property
    def encoding(self) -> FeatureEncoding:
        """The encoding that the models were trained on."""

    @property
    def model(self) -> xgb.Booster:
        """The model that learned from every training row."""

    @property
    def learned_from(self) -> pa.Table:
        """`key`, `named` and `seed0` to `seed4`: the fold in which a row was held out."""

    def fold_model(self, seed: int, fold: int) -> xgb.Booster:
        """The model that did not see one fold."""


def in_sample(titles: pa.Table, bundle: ScoringBundle) -> NDArray[np.float32]:
    """Predict with the model that learned from every training row.

    Args:
        titles: n titles with the encoding's source columns.
        bundle: the version that scores.

    Returns:
        float32, shape (n,).
    """
    answers = np.empty(titles.num_rows, np.float32)
    for start in range(0, titles.num_rows, BATCH):
        batch = titles.slice(start, BATCH)
        answers[start : start + BATCH] = predict(bundle.model, bundle.encoding.matrix(batch))
    return answers


def blind_answers(
    titles: pa.Table, bundle: ScoringBundle
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Predict each title that a bundle learned from, with the models that did not see its label.

    Args:
        titles: n titles with `key`, `media_title`, `release_year` and the encoding's columns.
        bundle: the version that scores.

    Returns:
        rows: the titles that the bundle learned from, ascending.
        answers: float32, shape (seeds, len(rows)).
    """
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
    titles: pa.Table, bundle: ScoringBundle, champions: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Predict each title with models that have not seen its label.

    Args:
        titles: n titles with `key`, `media_title`, `release_year` and the encoding's columns.
        bundle: the version that scores.
        champions: what `in_sample` says of them, if already known.

    Returns:
        float64, shape (n,): if the bundle learned from the title, the mean of the five models
        that did not see it; otherwise what the champion says.
    """
    if champions is None:
        champions = in_sample(titles, bundle)
    probability = champions.astype(np.float64)
    rows, answers = blind_answers(titles, bundle)
    probability[rows] = answers.mean(axis=0, dtype=np.float64)
    return probability


def held_out_models(
    titles: pa.Table, bundle: ScoringBundle
) -> Iterator[tuple[int, NDArray[np.intp], xgb.Booster]]:
    """Yield each model of the folds: its seed, and the rows of `titles` that it did not see."""
    folds = _folds_of(titles, bundle.learned_from)
    for seed in SEEDS:
        for fold in range(FOLDS):
            at = np.flatnonzero(folds[seed] == fold)
            if len(at):
                yield seed, at, bundle.fold_model(seed, fold)


def _folds_of(titles: pa.Table, learned: pa.Table) -> NDArray[np.integer]:
    """Find the fold of each title under each seed, -1 if it was not learned from.

    By `learned_key`, if `as_learned` has seen the whole library. Single titles are found by key;
    or, if one of the two keys is not an IMDb id, by a name and year that only one of the learned
    titles has: a title gets another key when its IMDb id becomes known.

    Returns:
        shape (seeds, n).
    """

    def place(found: pa.ChunkedArray) -> NDArray[np.integer]:
        places: NDArray[np.integer] = found.fill_null(-1).to_numpy()
        return places

    def folds(found: NDArray[np.integer]) -> NDArray[np.integer]:
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


def _are_imdb_ids(keys: pa.ChunkedArray) -> NDArray[np.bool_]:
    matched: NDArray[np.bool_] = pc.match_substring_regex(keys, IMDB_ID).to_numpy()
    return matched
