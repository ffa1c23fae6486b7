"""The curves of a classifier, fold by fold, and their spread. Not here: how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from atx_assets.learning.measures import calibration_table

#: Points at which the curves of the folds are compared.
POINTS = 101


@dataclass(frozen=True)
class Blind:
    """What models said of n titles whose labels they had not seen.

    Attributes:
        labels: shape (n,), 0 or 1.
        answers: probabilities, shape (seeds, n).
        assignment: the fold in which each title was held out, shape (seeds, n).
    """

    labels: NDArray[np.int64]
    answers: NDArray[np.float64]
    assignment: NDArray[np.integer]

    def folds(self) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return labels and answers of each fold of each seed that has both classes."""
        found = []
        for answers, folds in zip(self.answers, self.assignment, strict=True):
            for fold in np.unique(folds):
                held = folds == fold
                if len(np.unique(self.labels[held])) == 2:
                    found.append((self.labels[held], answers[held]))
        return found


@dataclass(frozen=True)
class Curve:
    """A curve as its mean over the folds: `x`, `mean` and standard deviation `std`, (points,)."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def precision_recall(blind: Blind) -> Curve:
    """Return precision at each recall: the best of all thresholds with at least that recall."""
    grid = np.linspace(0, 1, POINTS)
    curves = []
    for labels, answers in blind.folds():
        precision, recall, _ = precision_recall_curve(labels, answers)
        # The last point, a precision of 1 at a recall of 0, belongs to no threshold.
        precision, recall = precision[:-1], recall[:-1]
        # From the largest recall down, so that a point is the maximum of all to its right.
        best = np.maximum.accumulate(precision)
        curves.append(best[np.searchsorted(-recall, -grid, side="right") - 1])
    return _curve(grid, curves)


def roc(blind: Blind) -> Curve:
    """Return the share of keeps found for each share of skips let through."""
    grid = np.linspace(0, 1, POINTS)
    curves = []
    for labels, answers in blind.folds():
        false_positive_rate, recall, _ = roc_curve(labels, answers)
        curves.append(np.interp(grid, false_positive_rate, recall))
    return _curve(grid, curves)


def calibration(blind: Blind) -> Curve:
    """Return the share of keeps per bin of probability; `x` is the mean probability in the bin.

    Bins without titles are left out. A fold's bin may have few titles, which the spread shows.
    """
    every = calibration_table(np.tile(blind.labels, len(blind.answers)), blind.answers.ravel())
    by_fold = [calibration_table(labels, answers) for labels, answers in blind.folds()]
    x, mean, std = [], [], []
    for number, row in enumerate(every):
        if row["titles"]:
            shares = [fold[number]["keeps"] for fold in by_fold if fold[number]["titles"]]
            x.append(row["probability"])
            mean.append(row["keeps"])
            std.append(np.std(np.array(shares, float), ddof=1) if len(shares) > 1 else 0.0)
    return Curve(np.array(x), np.array(mean), np.array(std))


def _curve(grid: NDArray[np.float64], curves: list[NDArray[np.float64]]) -> Curve:
    if not curves:
        return Curve(grid[:0], grid[:0], grid[:0])
    std = np.std(curves, axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(grid))
    return Curve(grid, np.mean(curves, axis=0), std)
