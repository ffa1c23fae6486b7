"""How good a ranking is: average precision and ROC-AUC, equal to scikit-learn's to the last bit.

scikit-learn's checks of its arguments take ten times as long as the figure, and a report needs
thousands of figures. Not here: measures of verdicts and probabilities (`measures.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ranked(
    truth: NDArray[np.int64], score: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.intp]]:
    """Return the distinct scores in descending order, and what each of them keeps.

    Args:
        truth: shape (n,), 0 or 1.
        score: shape (n,), higher is more likely a keep; no NaN.

    Returns:
        The scores, the keeps among the titles with at least that score, and the number of those
        titles; titles with equal scores stay together.
    """
    order = np.argsort(-score)
    falling = score[order]
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    return falling[last], np.cumsum(truth[order])[last], last + 1


def average_precision(truth: NDArray[np.int64], score: NDArray[np.floating]) -> float:
    """Return the average precision, 0 without keeps; the arguments are those of `ranked`."""
    _, hits, named = ranked(truth, score)
    return average_precision_of(hits, named)


def average_precision_of(hits: NDArray[np.int64], named: NDArray[np.intp]) -> float:
    """Return the average precision from the counts of `ranked`."""
    # Added up in scikit-learn's order, from the last title up: two rankings tie here
    # exactly if they tie there.
    recalls = np.append(hits[::-1] / max(int(hits[-1]), 1), 0.0)
    return float(-(np.diff(recalls) * (hits / named)[::-1]).sum())


def roc_auc(truth: NDArray[np.int64], score: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve; needs both labels. Arguments as for `ranked`."""
    _, hits, named = ranked(truth, score)
    errors = named - hits
    if len(hits) > 2:
        # Points on a line between others are left out: with them the sum would round differently.
        corner = (np.diff(errors, 2) != 0) | (np.diff(hits, 2) != 0)
        kept = np.concatenate(([True], corner, [True]))
        hits, errors = hits[kept], errors[kept]
    recall = np.append(0.0, hits) / hits[-1]
    false_positive_rate = np.append(0.0, errors) / errors[-1]
    return float(np.trapezoid(recall, false_positive_rate))
