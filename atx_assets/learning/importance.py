"""Which features a model relies on, and in which direction. Not here: one title's reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.stats import rankdata

from atx_assets.learning.reasons import contributions_of

#: This many titles are enough.
MOST = 5_000


@dataclass(frozen=True)
class Importance:
    """How much one feature moves the answers.

    `at` is its column, `strength` the mean absolute contribution in log-odds. `direction` is
    between -1 and 1: above zero, higher values favour a keep; 0 means neither.
    """

    at: int
    strength: float
    direction: float


def importance(model: xgb.Booster, matrix: NDArray[np.float32]) -> list[Importance]:
    """Rank features by how much they move the model's answers about some titles.

    Args:
        model: with its features in the order of the matrix's columns.
        matrix: dense float32, shape (n, features), unknown is NaN; more than `MOST` titles cost
            time and show nothing more.

    Returns:
        The features that move any answer, the strongest first.
    """
    contributions = contributions_of(model, matrix)[:, :-1]
    strength = np.abs(contributions).mean(axis=0) if len(matrix) else np.zeros(matrix.shape[1])
    order = np.argsort(-strength, kind="stable")
    return [
        Importance(int(at), float(strength[at]), _direction(matrix[:, at], contributions[:, at]))
        for at in order
        if strength[at] > 0
    ]


def _direction(values: NDArray[np.float32], contributions: NDArray[np.float32]) -> float:
    """Return the rank correlation of value and contribution, over the known values."""
    known = ~np.isnan(values)
    if min(len(np.unique(values[known])), len(np.unique(contributions[known]))) < 2:
        return 0.0
    ranks = rankdata(values[known]), rankdata(contributions[known])
    return float(np.corrcoef(*ranks)[0, 1])
