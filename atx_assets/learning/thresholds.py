"""The threshold at which probabilities become verdicts, for a given operating point.

Not here: which labels and probabilities it is chosen on (always out-of-fold).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.ranking import ranked
from atx_assets.operating_point import OperatingPoint


def threshold_at(
    point: OperatingPoint, labels: NDArray[np.int64], scores: NDArray[np.floating]
) -> float:
    """Return the lowest score that counts as a keep; infinite if none reaches the point.

    For F1, ties go to the highest; of the thresholds that reach the least precision, to the one
    with the most recall, and the other way round.

    Args:
        point: the operating point.
        labels: shape (n,), 0 or 1.
        scores: shape (n,), of models that did not see these labels.
    """
    precision, recall, thresholds = _curve(labels, scores)
    if point.measure == "f1":
        # From counts, so that rounding does not separate ties.
        keeps = labels.sum()
        named = len(scores) - np.searchsorted(np.sort(scores), thresholds)
        f1 = 2 * np.rint(recall * keeps) / (named + keeps)
        return float(thresholds[np.flatnonzero(f1 == f1.max())[-1]])
    reached = np.flatnonzero((precision if point.measure == "precision" else recall) >= point.least)
    if not len(reached):
        return float("inf")
    if point.measure == "precision":
        return float(thresholds[reached[0]])
    return float(thresholds[reached[np.argmax(precision[reached])]])


def _curve(
    labels: NDArray[np.int64], scores: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.floating]]:
    """Return precision and recall at each distinct score, and the scores, ascending.

    Equal to scikit-learn's `precision_recall_curve` to the last bit.
    """
    falling, hits, named = ranked(labels, scores)
    keeps = hits[-1]
    recall = hits / keeps if keeps else np.ones(len(hits))
    return (hits / named)[::-1], recall[::-1], falling[::-1]
