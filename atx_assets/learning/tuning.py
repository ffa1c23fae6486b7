"""The hyperparameter search: every combination of a grid, scored in every fold.

The scores are those of scikit-learn's `GridSearchCV` over the same folds, in a fraction of its
time. Not here: the folds (`evaluation.py`), what is done with the winner.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from atx_assets.learning.models import Hyperparameters, training_parameters
from atx_assets.schemas import FOLD_SCORES

if TYPE_CHECKING:
    import numpy as np
    from scipy import sparse

#: The grid of the original: 324 combinations.
GRID: dict[str, Sequence[float | int]] = {
    "max_depth": (3, 5, 7),
    "learning_rate": (0.01, 0.1, 0.2),
    "n_estimators": (50, 100, 200),
    "subsample": (0.8, 1.0),
    "colsample_bytree": (0.8, 1.0),
    "gamma": (0, 0.1, 0.2),
}


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        combinations: what was tried, in the order of scikit-learn's `ParameterGrid`.
        scores: shape (combinations, folds, len(FOLD_SCORES)); log loss is positive, less is better.
        best: index of the winner: the best mean average precision, the first of equals.
    """

    combinations: list[Hyperparameters]
    scores: np.ndarray[Any, np.dtype[np.float64]]
    best: int


def grid_search(
    matrix: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
    folds: Sequence[np.ndarray[Any, Any]],
    grid: Mapping[str, Sequence[float | int]],
    *,
    flags_from: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchResult:
    """Score every combination of `grid` in every fold.

    Args:
        matrix: dense float32, shape (n, features), unknown as NaN.
        labels: shape (n,), 0 or 1.
        folds: for each fold, the indices of the rows that are held out.
        grid: values by key; `n_estimators` is one of the keys.
        flags_from: the first matrix column of those that hold only 0 and 1.
        on_progress: told the number of fits done and to do, from any thread.
    """
    import numpy as np
    import xgboost as xgb
    from sklearn.model_selection import ParameterGrid

    combinations: list[Hyperparameters] = list(ParameterGrid({k: [*v] for k, v in grid.items()}))
    groups = _same_trees(combinations)
    compact = _without_zero_flags(matrix, flags_from)
    scores = np.empty((len(combinations), len(folds), len(FOLD_SCORES)))
    workers = os.cpu_count() or 1
    fits_done = count(1)
    given_up = threading.Event()

    def score_share(fold: int, worker: int) -> None:
        held_out = np.zeros(len(labels), bool)
        held_out[folds[fold]] = True
        truth = labels[held_out]
        # Binned once for all the models of this share; not shared between threads, because
        # nothing promises that two may train on one.
        train = xgb.QuantileDMatrix(compact[~held_out], labels[~held_out], nthread=1)
        test = xgb.DMatrix(compact[held_out], nthread=1)
        for group in groups[worker::workers]:
            if given_up.is_set():
                return
            largest = combinations[group[-1]]
            model = xgb.train(training_parameters(largest), train, int(largest["n_estimators"]))
            for at in group:
                trees = int(combinations[at]["n_estimators"])
                scores[at, fold] = _scores(truth, model.predict(test, iteration_range=(0, trees)))
            on_progress(next(fits_done), len(groups) * len(folds))

    # Threads, not processes: XGBoost works outside Python's lock, and a thread starts at once.
    with ThreadPoolExecutor(workers) as pool:
        shares = [(fold, worker) for fold in range(len(folds)) for worker in range(workers)]
        try:
            for finished in [pool.submit(score_share, *share) for share in shares]:
                finished.result()
        except BaseException:
            # Ctrl-C, say: the pool would otherwise fit all that is left before it lets go.
            given_up.set()
            raise
    best = int(np.argmax(scores[:, :, FOLD_SCORES.index("average_precision")].mean(axis=1)))
    return SearchResult(combinations, scores, best)


def _same_trees(combinations: list[Hyperparameters]) -> list[list[int]]:
    """Group the combinations that differ in `n_estimators` alone, the fewest trees first.

    The first 50 trees of 200 are the model of 50 trees, so one fit answers for a group.
    """
    groups: dict[tuple[tuple[str, float], ...], list[int]] = {}
    for at, combination in enumerate(combinations):
        rest = tuple(sorted((k, v) for k, v in combination.items() if k != "n_estimators"))
        groups.setdefault(rest, []).append(at)
    return [sorted(g, key=lambda at: combinations[at]["n_estimators"]) for g in groups.values()]


def _without_zero_flags(matrix: np.ndarray[Any, Any], flags_from: int) -> sparse.csr_matrix:
    """Leave out the zeros of the 0/1 columns, and what is unknown.

    A column with one value and nothing else splits the rows as one with 0 and 1 does, so the
    trees are the same ones, sooner: nine in ten cells are such zeros. For the search alone: a
    stored model is fed the dense matrix, in which 0 and unknown are two things.
    """
    import numpy as np
    from scipy import sparse

    kept = matrix != 0
    kept[:, :flags_from] = True
    rows, columns = np.nonzero(kept & ~np.isnan(matrix))
    return sparse.csr_matrix((matrix[rows, columns], (rows, columns)), shape=matrix.shape)


def _scores(truth: np.ndarray[Any, Any], answer: np.ndarray[Any, Any]) -> list[float]:
    """Return the FOLD_SCORES of one fold, as scikit-learn's scorers compute them."""
    import numpy as np
    from sklearn import metrics

    verdict = answer > 0.5
    return [
        metrics.average_precision_score(truth, answer),
        metrics.roc_auc_score(truth, answer),
        metrics.recall_score(truth, verdict, zero_division=0),
        metrics.precision_score(truth, verdict, zero_division=0),
        metrics.f1_score(truth, verdict, zero_division=0),
        metrics.log_loss(truth, np.stack([1 - answer, answer], axis=1), labels=[0, 1]),
    ]
