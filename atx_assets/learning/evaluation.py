"""Folds, and what models said of the titles of a fold whose labels they had not seen.

Not here: how good that is (`measures.py`, `quality.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.learning.models import Hyperparameters, fit, predict
from atx_assets.learning.processors import usable_processors

if TYPE_CHECKING:
    import numpy as np
    import xgboost as xgb

SEEDS = (0, 1, 2, 3, 4)
FOLDS = 5


@dataclass(frozen=True)
class OutOfFold:
    """The models of every fold and seed, and what each said of the rows it had not seen.

    Attributes:
        assignment: shape (seeds, n): the fold in which each row is held out.
        models: models[seed][fold].
        probabilities: float32, shape (seeds, n).
    """

    assignment: np.ndarray[Any, Any]
    models: list[list[xgb.Booster]]
    probabilities: np.ndarray[Any, Any]


def assign_folds(labels: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Return the fold, 0 to 4, in which each row is held out; shape (n,), stratified by label.

    Rows must come ordered by key, so that a title's fold does not depend on the table's order.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(labels), np.int8)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = number
    return fold


def fold_rows(labels: np.ndarray[Any, Any], seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Return, for each fold, the indices of the rows that are held out."""
    import numpy as np

    folds = assign_folds(labels, seed)
    return [np.flatnonzero(folds == fold) for fold in range(FOLDS)]


def assignments(labels: np.ndarray[Any, Any], seeds: Sequence[int] = SEEDS) -> np.ndarray[Any, Any]:
    """Return the fold in which each row is held out under each seed; shape (seeds, n)."""
    import numpy as np

    return np.stack([assign_folds(labels, seed) for seed in seeds])


def out_of_fold(
    matrix: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    hyperparameters: Hyperparameters,
    seeds: Sequence[int] = SEEDS,
) -> OutOfFold:
    """Fit a model for each fold of each seed, and ask each about the rows it did not see.

    Args:
        matrix: dense float32, shape (n, features), rows ordered by key.
        labels: shape (n,), 0 or 1.
        hyperparameters: the recipe.
        seeds: of the folds.
    """
    import numpy as np

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


#: The labels of each class without which folds and figures mean nothing.
LEAST_LABELS = 20


def require_enough_labels(labels: np.ndarray[Any, Any]) -> None:
    """Make sure that both classes have `LEAST_LABELS` labels.

    Raises:
        AtxError: one has fewer; the line says how many there are and are needed.
    """
    keeps = int(labels.sum())
    if min(keeps, len(labels) - keeps) < LEAST_LABELS:
        raise AtxError(too_few_labels(keeps, len(labels) - keeps))


def too_few_labels(keeps: int, skips: int) -> str:
    """Say in a line that there are too few labels."""
    return (
        f"not enough labels to learn from: {keeps} keeps and {skips} skips, and at least "
        f"{LEAST_LABELS} of each are needed; label more films, or check ATX_SOURCE"
    )
