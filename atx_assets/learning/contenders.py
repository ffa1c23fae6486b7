"""Contenders: models, and what a model must beat, on titles whose labels they have not seen.

Each contender chooses its thresholds on some rows and is measured on others. Not here: the
folds (`evaluation.py`), the measures (`measures.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.evaluation import OutOfFold, out_of_fold
from atx_assets.learning.features import column_in_words
from atx_assets.learning.measures import calibration_error, measures, verdict_measures
from atx_assets.learning.models import Hyperparameters, fit, predict
from atx_assets.learning.ranking import average_precision
from atx_assets.learning.thresholds import threshold_at
from atx_assets.operating_point import PRECISION_80, RECALL_95, OperatingPoint


@dataclass(frozen=True)
class Contender:
    """What one way of separating keeps from skips said, in every fold of every seed.

    Attributes:
        labels: shape (n,), 0 or 1.
        assignment: shape (seeds, n): the fold in which each row is held out, -1 for never.
        scores: shape (seeds, n): the score of each row when it was held out.
        elsewhere: for each seed and fold, the scores of the rows that are not held out, in their
            order, on the scale of that fold's scores: thresholds are chosen on them.
        probabilities: whether the scores are probabilities.
    """

    labels: NDArray[np.int64]
    assignment: NDArray[np.integer]
    scores: NDArray[np.float64]
    elsewhere: Callable[[int, int], NDArray[np.float64]]
    probabilities: bool = True
    _verdicts: dict[OperatingPoint, NDArray[np.bool_]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def verdicts(self, point: OperatingPoint) -> NDArray[np.bool_]:
        """Return which rows are kept at an operating point chosen on the other folds.

        Returns:
            bool, shape (seeds, n); read-only.
        """
        # Cached: every slice is measured with the same verdicts.
        if point not in self._verdicts:
            self._verdicts[point] = self._found_verdicts(point)
        return self._verdicts[point]

    def _found_verdicts(self, point: OperatingPoint) -> NDArray[np.bool_]:
        kept = np.zeros(self.scores.shape, bool)
        for seed, fold, held_out in _folds(self.assignment):
            threshold = threshold_at(point, self.labels[~held_out], self.elsewhere(seed, fold))
            kept[seed, held_out] = self.scores[seed, held_out] >= threshold
        return kept

    def by_fold(self, point: OperatingPoint) -> dict[str, list[float]]:
        """Measure each fold of each seed separately.

        Returns:
            By name, a value for each fold: the `measures` at `point`, and recall and precision
            (`recall_at_p80`, `precision_at_p80`, `precision_at_r95`, `recall_at_r95`) at the
            thresholds for a precision of .8 and for a recall of .95.
        """
        return self._measured([(seed, rows) for seed, _, rows in _folds(self.assignment)], point)

    def of_part(self, rows: NDArray[np.bool_], point: OperatingPoint) -> dict[str, list[float]]:
        """Measure a part of the rows over all folds together: one value per seed.

        Args:
            rows: bool, shape (n,); a part may have too few rows to measure it fold by fold.
            point: where the verdicts are taken.
        """
        return self._measured([(seed, rows) for seed in range(len(self.scores))], point)

    def at(self, point: OperatingPoint) -> dict[str, list[float]]:
        """Measure only the verdicts in each fold, at thresholds chosen on the other folds."""
        kept, found = self.verdicts(point), _Lists()
        for seed, _, rows in _folds(self.assignment):
            found.add(verdict_measures(self.labels[rows], kept[seed, rows]))
        return found.values

    def calibration_errors(self, rows: NDArray[np.bool_]) -> list[float]:
        """Return the calibration error over some rows, one value per seed.

        Empty if the scores are not probabilities, or the rows have only one class.
        """
        if not self.probabilities or len(set(self.labels[rows])) < 2:
            return []
        return [calibration_error(self.labels[rows], scores[rows]) for scores in self.scores]

    def _measured(
        self, parts: list[tuple[int, NDArray[np.bool_]]], point: OperatingPoint
    ) -> dict[str, list[float]]:
        """Measure each of the given parts of the rows, one value per part."""
        kept, precise, complete = map(self.verdicts, (point, PRECISION_80, RECALL_95))
        found = _Lists()
        for seed, rows in parts:
            truth = self.labels[rows]
            found.add(
                measures(
                    truth,
                    self.scores[seed, rows],
                    kept[seed, rows],
                    probabilities=self.probabilities,
                )
            )
            at_p80 = verdict_measures(truth, precise[seed, rows])
            at_r95 = verdict_measures(truth, complete[seed, rows])
            found.add(
                {
                    "recall_at_p80": at_p80["recall"],
                    "precision_at_p80": at_p80["precision"],
                    "precision_at_r95": at_r95["precision"],
                    "recall_at_r95": at_r95["recall"],
                }
            )
        return found.values


class _Lists:
    """Lists of values by name, in the order in which they were added."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, measured: dict[str, float]) -> None:
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)


def _folds(assignment: NDArray[np.integer]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Yield each seed and fold, and which rows are held out in it: bool, shape (n,)."""
    for seed, folds in enumerate(assignment):
        for fold in range(int(folds.max()) + 1):
            yield seed, fold, folds == fold


def model(labels: NDArray[np.int64], held_out: OutOfFold) -> Contender:
    """Return the models of one recipe; thresholds are chosen on other folds' out-of-fold scores."""
    scores = held_out.probabilities.astype(float)
    assignment = held_out.assignment
    return Contender(
        labels, assignment, scores, lambda seed, fold: scores[seed, assignment[seed] != fold]
    )


def refitted(
    matrix: NDArray[np.float32],
    labels: NDArray[np.int64],
    assignment: NDArray[np.integer],
    recipe: Callable[[NDArray[np.bool_]], Hyperparameters],
) -> Contender:
    """Return models whose recipe, threshold and trees come only from the rows not held out.

    Args:
        matrix: dense float32, shape (n, features), rows ordered by key.
        labels: shape (n,), 0 or 1.
        assignment: shape (seeds, n), -1 for rows that are never held out.
        recipe: finds the hyperparameters, given the rows that it may see: bool, shape (n,).
    """
    scores = np.zeros(assignment.shape)
    blind: dict[tuple[int, int], NDArray[np.float64]] = {}
    for seed, fold, held_out in _folds(assignment):
        train = ~held_out
        chosen = recipe(train)
        answers = out_of_fold(matrix[train], labels[train], chosen, seeds=(0,)).probabilities
        blind[seed, fold] = answers[0].astype(float)
        model = fit(matrix[train], labels[train], chosen)
        scores[seed, held_out] = predict(model, matrix[held_out])
    return Contender(labels, assignment, scores, lambda seed, fold: blind[seed, fold])


def always_skip(labels: NDArray[np.int64], assignment: NDArray[np.integer]) -> Contender:
    """Return the contender that skips every title."""
    # Thresholds are chosen among scores of 1, which none of its own zeros reaches.
    return Contender(
        labels,
        assignment,
        np.zeros(assignment.shape),
        lambda seed, fold: np.ones(int((assignment[seed] != fold).sum())),
    )


@dataclass(frozen=True)
class Rule:
    """A rule without a model: titles ranked by one number.

    `feature` and `high_is_keep` are the best over all rows; the contender's ranking in a fold
    uses the best of its training rows.
    """

    feature: str
    high_is_keep: bool
    contender: Contender

    def __str__(self) -> str:
        """Return the rule in words."""
        name = column_in_words(self.feature.removesuffix("_norm"))
        return f"{name} alone, the {'highest' if self.high_is_keep else 'lowest'} first"


def single_feature_rule(
    numbers: NDArray[np.float32],
    names: Sequence[str],
    labels: NDArray[np.int64],
    assignment: NDArray[np.integer],
) -> Rule:
    """Find the numeric feature, and its direction, with the best average precision.

    Args:
        numbers: shape (n, len(names)), unknown as NaN, which ranks last.
        names: names of the features.
        labels: shape (n,), 0 or 1.
        assignment: shape (seeds, n).
    """
    rankings = [
        np.where(np.isnan(column), -1e30, sign * column) for column in numbers.T for sign in (1, -1)
    ]

    def best(rows: NDArray[np.bool_]) -> int:
        found = [average_precision(labels[rows], ranking[rows]) for ranking in rankings]
        return int(np.argmax(found))

    scores = np.zeros(assignment.shape)
    chosen: dict[tuple[int, int], NDArray[np.float64]] = {}
    for seed, fold, held_out in _folds(assignment):
        ranking = rankings[best(~held_out)]
        scores[seed, held_out] = ranking[held_out]
        chosen[seed, fold] = ranking[~held_out]
    over_all = best(np.ones(len(labels), bool))
    contender = Contender(
        labels, assignment, scores, lambda seed, fold: chosen[seed, fold], probabilities=False
    )
    return Rule(names[over_all // 2], over_all % 2 == 0, contender)
