"""The hyperparameter search: combinations of a grid, scored in folds.

`grid_search` scores every combination in every fold: its scores are those of scikit-learn's
`GridSearchCV` over the same folds, in a fraction of its time. `race` drops those that fall behind.
Not here: the folds (`evaluation.py`), how a fold is scored (`fold_scores.py`), which combination
is chosen (`search_result.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy import sparse
from sklearn.model_selection import ParameterGrid

from atx_assets.learning.fold_scores import fold_scores
from atx_assets.learning.models import Hyperparameters, training_parameters
from atx_assets.learning.processors import usable_processors
from atx_assets.learning.search_result import SearchResult
from atx_assets.schemas import FOLD_SCORES

#: The grid of the original: 324 combinations.
GRID: dict[str, Sequence[float | int]] = {
    "max_depth": (3, 5, 7),
    "learning_rate": (0.01, 0.1, 0.2),
    "n_estimators": (50, 100, 200),
    "subsample": (0.8, 1.0),
    "colsample_bytree": (0.8, 1.0),
    "gamma": (0, 0.1, 0.2),
}

#: The combination without a search: a plain XGBoost, which no search beat by more than noise.
PLAIN: Hyperparameters = {
    "max_depth": 3,
    "learning_rate": 0.1,
    "n_estimators": 100,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "gamma": 0,
}

#: The race: after this many folds, this share of the remaining combinations continues.
RUNGS = ((1, 1 / 5), (2, 1 / 2))
#: No rung leaves fewer, if there are that many.
FEWEST = 3

Progress = Callable[[int, int], None]


class Part(NamedTuple):
    """The part of a grid that is raced: each `step`-th combination, starting at `first`.

    Combinations that differ only in `n_estimators` count as one. If the number of values of
    each key and `step` have no common factor, every value occurs as often as any other.
    """

    first: int
    step: int


WHOLE = Part(0, 1)


def share_out(searches: int) -> list[Part]:
    """Return one part per search; together the parts are the whole grid."""
    return [Part(first, searches) for first in range(searches)]


def grid_search(
    matrix: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: Sequence[NDArray[np.intp]],
    grid: Mapping[str, Sequence[float | int]],
    *,
    flags_from: int,
    objective: str = "average_precision",
    on_progress: Progress = lambda done, total: None,
) -> SearchResult:
    """Score every combination of `grid` in every fold.

    Args:
        matrix: dense float32, shape (n, features), unknown as NaN.
        labels: shape (n,), 0 or 1.
        folds: for each fold, the indices of the rows that are held out.
        grid: values by key; `n_estimators` and `max_depth` are among the keys.
        flags_from: the first matrix column of those that hold only 0 and 1.
        objective: the score, one of FOLD_SCORES, that decides.
        on_progress: called with the number of fits done and to do, from any thread.
    """
    search = _Search(matrix, labels, folds, grid, flags_from, objective)
    every = list(product(range(len(folds)), search.groups))
    search.score(every, _counted(on_progress, len(every)))
    return search.result


def race(
    matrix: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: Sequence[NDArray[np.intp]],
    grid: Mapping[str, Sequence[float | int]],
    *,
    flags_from: int,
    objective: str = "average_precision",
    part: Part = WHOLE,
    on_progress: Progress = lambda done, total: None,
) -> SearchResult:
    """Score combinations fold by fold, and continue only with the best: successive halving.

    Jamieson and Talwalkar (2016), Non-stochastic Best Arm Identification, with folds as the
    resource. Combinations are compared within the same folds, so that the luck of a fold is
    the same for all. The arguments are those of `grid_search`; `part` says which part of the
    grid is raced, and the rest gets no score. A grid too small to be shared out is raced whole.
    """
    search = _Search(matrix, labels, folds, grid, flags_from, objective)
    left = search.groups
    if len(left) >= part.step * FEWEST:
        left = left[part.first :: part.step]
    size, done = len(left), 0
    plan = []
    for until, share in (*RUNGS, (len(folds), 1.0)):
        plan.append((range(done, min(until, len(folds))), size))
        done, size = until, min(size, max(FEWEST, ceil(size * share)))
    say = _counted(on_progress, sum(len(rung) * size for rung, size in plan))
    for rung, size in plan:
        left = search.best_first(left)[:size]
        search.score(list(product(rung, left)), say)
    return search.result


class _Search:
    """The scores so far, and what is needed to compute more."""

    def __init__(
        self,
        matrix: NDArray[np.float32],
        labels: NDArray[np.int64],
        folds: Sequence[NDArray[np.intp]],
        grid: Mapping[str, Sequence[float | int]],
        flags_from: int,
        objective: str,
    ) -> None:
        combinations: list[Hyperparameters] = list(
            ParameterGrid({k: [*v] for k, v in grid.items()})
        )
        shape = (len(combinations), len(folds), len(FOLD_SCORES))
        self.result = SearchResult(combinations, np.full(shape, np.nan), objective)
        self.groups = _same_trees(combinations)
        self._compact = _without_zero_flags(matrix, flags_from)
        self._labels, self._folds = labels, folds
        self._binned = threading.local()

    def best_first(self, groups: list[list[int]]) -> list[list[int]]:
        """Order groups by the best combination in each, in the folds scored so far."""
        means = self.result.means
        # Before the first fold, or for ROC-AUC in a fold without keeps, nothing is known.
        means = np.where(np.isnan(means), -np.inf, means)
        return sorted(groups, key=lambda group: -means[group].max())

    def score(self, fits: Iterable[tuple[int, list[int]]], say: Callable[[], None]) -> None:
        """Fit and score each pair of a fold and a group."""
        given_up = threading.Event()

        def one(fit: tuple[int, list[int]]) -> None:
            if not given_up.is_set():
                self._score(*fit)
                say()

        # Threads, not processes: XGBoost releases Python's lock, and a thread starts immediately.
        with ThreadPoolExecutor(usable_processors()) as pool:
            try:
                for finished in [pool.submit(one, fit) for fit in fits]:
                    finished.result()
            except BaseException:
                # On Ctrl-C, for example: the pool would otherwise finish all fits before it ends.
                given_up.set()
                raise

    def _score(self, fold: int, group: list[int]) -> None:
        train, test, truth = self._data(fold)
        combinations, scores = self.result.combinations, self.result.scores
        largest = combinations[group[-1]]
        # Not `xgb.train`: its callbacks after each tree take a tenth of the tree's time.
        model = xgb.Booster(training_parameters(largest), [train])
        for tree in range(int(largest["n_estimators"])):
            model.update(train, tree)
        for at in group:
            trees = int(combinations[at]["n_estimators"])
            scores[at, fold] = fold_scores(truth, model.predict(test, iteration_range=(0, trees)))

    def _data(self, fold: int) -> tuple[xgb.QuantileDMatrix, xgb.DMatrix, NDArray[np.int64]]:
        """Return the binned training rows, the held-out rows and their labels.

        Each thread bins once for all its models of a fold. Threads share no bins, because nothing
        guarantees that two may train on the same ones.
        """
        if getattr(self._binned, "fold", None) != fold:
            held_out = np.zeros(len(self._labels), bool)
            held_out[self._folds[fold]] = True
            self._binned.fold = fold
            self._binned.data = (
                xgb.QuantileDMatrix(self._compact[~held_out], self._labels[~held_out], nthread=1),
                xgb.DMatrix(self._compact[held_out], nthread=1),
                self._labels[held_out],
            )
        data: tuple[Any, Any, Any] = self._binned.data
        return data


def _counted(on_progress: Progress, total: int) -> Callable[[], None]:
    """Return a function to call after each fit, from any thread."""
    done = count(1)
    return lambda: on_progress(next(done), total)


def _same_trees(combinations: list[Hyperparameters]) -> list[list[int]]:
    """Group the combinations that differ only in `n_estimators`, the fewest trees first.

    The first 50 trees of 200 are the model of 50 trees, so one fit answers for a group.
    """
    groups: dict[tuple[tuple[str, float], ...], list[int]] = {}
    for at, combination in enumerate(combinations):
        rest = tuple(sorted((k, v) for k, v in combination.items() if k != "n_estimators"))
        groups.setdefault(rest, []).append(at)
    return [sorted(g, key=lambda at: combinations[at]["n_estimators"]) for g in groups.values()]


def _without_zero_flags(matrix: NDArray[np.float32], flags_from: int) -> sparse.csr_matrix:
    """Leave out the zeros of the 0/1 columns, and unknown values.

    A column with one value and nothing else splits the rows like one with 0 and 1, so the
    trees are the same, but faster: nine in ten cells are such zeros. Only for the search: a
    stored model gets the dense matrix, in which 0 and unknown are different.
    """
    kept = matrix != 0
    kept[:, :flags_from] = True
    rows, columns = np.nonzero(kept & ~np.isnan(matrix))
    return sparse.csr_matrix((matrix[rows, columns], (rows, columns)), shape=matrix.shape)
