"""Folds, and what models say of a fold's titles, whose labels they have not seen.

Not here: how good that is (`measures.py`, `quality.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from atx_assets.learning.folds import FOLDS, SEEDS
from atx_assets.learning.models import Hyperparameters, fit, predict
from atx_assets.learning.processors import usable_processors


@dataclass(frozen=True)
class OutOfFold:
    """The models of every fold and seed, and what each said of the rows that it had not seen.

    Attributes:
        assignment: shape (seeds, n): the fold in which each row is held out.
        models: models[seed][fold].
        probabilities: float32, shape (seeds, n).
    """

    assignment: NDArray[np.integer]
    models: list[list[xgb.Booster]]
    probabilities: NDArray[np.float32]


def assign_folds(labels: NDArray[np.int64], seed: int) -> NDArray[np.int8]:
    """Return the fold, 0 to 4, in which each row is held out; shape (n,), stratified by label.

    Rows must be ordered by key, so that a title's fold does not depend on the table's order.
    """
    fold = np.empty(len(labels), np.int8)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = number
    return fold


def fold_rows(labels: NDArray[np.int64], seed: int = 0) -> list[NDArray[np.intp]]:
    """Return for each fold the indices of the rows that are held out."""
    folds = assign_folds(labels, seed)
    return [np.flatnonzero(folds == fold) for fold in range(FOLDS)]


def assignments(labels: NDArray[np.int64], seeds: Sequence[int] = SEEDS) -> NDArray[np.int8]:
    """Return the fold in which each row is held out under each seed; shape (seeds, n)."""
    return np.stack([assign_folds(labels, seed) for seed in seeds])


def out_of_fold(
    matrix: NDArray[np.float32],
    labels: NDArray[np.int64],
    hyperparameters: Hyperparameters,
    seeds: Sequence[int] = SEEDS,
) -> OutOfFold:
    """Fit a model for each fold of each seed, and predict the rows that it did not see.

    Args:
        matrix: dense float32, shape (n, features), rows ordered by key.
        labels: shape (n,), 0 or 1.
        hyperparameters: the recipe.
        seeds: of the folds.
    """
    assignment = assignments(labels, seeds)
    probabilities = np.empty((len(seeds), len(labels)), np.float32)

    def one(at: tuple[int, int]) -> xgb.Booster:
        seed, fold = at
        held_out = assignment[seed] == fold
        model = fit(matrix[~held_out], labels[~held_out], hyperparameters)
        probabilities[seed, held_out] = predict(model, matrix[held_out])
        return model

    places = [(seed, fold) for seed in range(len(seeds)) for fold in range(FOLDS)]
    with ThreadPoolExecutor(usable_processors()) as pool:
        models = list(pool.map(one, places))
    by_seed = [models[at : at + FOLDS] for at in range(0, len(models), FOLDS)]
    return OutOfFold(assignment, by_seed, probabilities)
