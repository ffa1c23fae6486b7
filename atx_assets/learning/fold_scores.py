"""The scores of one fold in the search, all from one sort: FOLD_SCORES, equal to scikit-learn's.

Calling scikit-learn six times takes 5 ms, a tenth of the fit that is scored. Not here: what
else the evaluation measures (`measures.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.ranking import average_precision_of, ranked


def fold_scores(truth: NDArray[np.int64], answer: NDArray[np.float32]) -> list[float]:
    """Return `schemas.FOLD_SCORES` of one fold, equal to scikit-learn's to 1e-12.

    What is undefined without keeps, or without skips, is as in scikit-learn: average precision and
    recall 0, ROC-AUC NaN. Verdicts are at .5, as those of `XGBClassifier` are.

    Args:
        truth: shape (n,), 0 or 1.
        answer: probability of a keep, float32, shape (n,).
    """
    _, hits, named = ranked(truth, answer)
    keeps = int(hits[-1])
    skips = len(truth) - keeps
    # The trapezoid rule, in counts.
    new_hits, new_errors = np.diff(hits, prepend=0), np.diff(named - hits, prepend=0)
    area = float((new_errors * (hits - new_hits / 2)).sum())
    roc_auc = area / (keeps * skips) if keeps and skips else float("nan")

    kept = answer > 0.5
    right = int(np.count_nonzero(truth[kept]))
    all_kept = int(np.count_nonzero(kept))
    recall = right / keeps if keeps else 0.0
    precision = right / all_kept if all_kept else 0.0
    f1 = 2 * right / (all_kept + keeps) if all_kept + keeps else 0.0

    # In float32 throughout and clipped away from 0, as scikit-learn does with a float32 answer.
    given = np.where(truth == 1, answer, 1 - answer)
    eps = np.finfo(given.dtype).eps
    log_loss = float(-np.log(np.clip(given, eps, 1 - eps)).mean())
    return [average_precision_of(hits, named), roc_auc, recall, precision, f1, log_loss]
