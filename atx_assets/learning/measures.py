"""How good answers are: measures of a set of titles, of each fold, of a part; calibration.

Not here: who answers (`contenders.py`), what the figures are used for (`quality.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.ranking import average_precision, roc_auc

#: A figure over folds or repeats: `mean` and `std` (ddof 1), null if undefined.
Spread = dict[str, float | None]

#: Bins of equal width for the calibration.
BINS = 10


def measures(
    truth: NDArray[np.int64],
    score: NDArray[np.floating],
    verdict: NDArray[np.bool_],
    *,
    probabilities: bool = True,
) -> dict[str, float]:
    """Measure one set of titles; NaN for what its labels do not define.

    Args:
        truth: shape (n,), 0 or 1.
        score: shape (n,), higher is more likely a keep.
        verdict: bool, shape (n,): predicted keep.
        probabilities: the scores are probabilities; otherwise Brier score and log loss are NaN.

    Returns:
        `pr_auc` (average precision), `roc_auc`, `recall`, `precision` (0 if nothing is kept),
        `f1`, `false_positive_rate` (share of the skips that are kept), `brier`, `log_loss` (in
        nats; infinite if a keep got a probability of 0).
    """
    nan = float("nan")
    both = 0 < truth.sum() < len(truth)
    given = np.where(truth == 1, score, 1 - score)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_loss = float(-np.log(given).mean()) if probabilities and len(truth) else nan
    return {
        "pr_auc": average_precision(truth, score) if both else nan,
        "roc_auc": roc_auc(truth, score) if both else nan,
        **verdict_measures(truth, verdict),
        "brier": float(((score - truth) ** 2).mean()) if probabilities and len(truth) else nan,
        "log_loss": log_loss,
    }


def verdict_measures(truth: NDArray[np.int64], verdict: NDArray[np.bool_]) -> dict[str, float]:
    """Measure only the verdicts: `recall`, `precision`, `f1`, `false_positive_rate`."""
    nan = float("nan")
    keeps, skips = int((truth == 1).sum()), int((truth == 0).sum())
    both = keeps > 0 and skips > 0
    right, kept = int(truth[verdict].sum()), int(verdict.sum())
    return {
        "recall": right / keeps if keeps else nan,
        # If all labels are keeps, every predicted keep is right, and precision means nothing.
        "precision": (right / kept if kept else 0.0) if both else nan,
        "f1": 2 * right / (kept + keeps) if both else nan,
        "false_positive_rate": (kept - right) / skips if skips else nan,
    }


def spread(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation, null if a value is not a finite number."""
    if not len(values) or not np.isfinite(values).all():
        return {"mean": None, "std": None}
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std}


def spreads(values: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    """Return the `spread` of each measure."""
    return {name: spread(of_each) for name, of_each in values.items()}


def calibration_table(
    truth: NDArray[np.int64], probability: NDArray[np.floating]
) -> list[dict[str, float | int | None]]:
    """Compare predicted with observed shares of keeps, in bins of probability of equal width.

    Args:
        truth: shape (n,), 0 or 1.
        probability: shape (n,), 0 to 1.

    Returns:
        For each of `BINS` bins: `low`, `high`, `titles`, the mean `probability`, and the share of
        `keeps`; the last two are null in an empty bin.
    """
    at = np.minimum((probability * BINS).astype(int), BINS - 1)
    table: list[dict[str, float | int | None]] = []
    for number in range(BINS):
        inside = at == number
        some = bool(inside.any())
        table.append(
            {
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "titles": int(inside.sum()),
                "probability": float(probability[inside].mean()) if some else None,
                "keeps": float(truth[inside].mean()) if some else None,
            }
        )
    return table


def calibration_error(truth: NDArray[np.int64], probability: NDArray[np.floating]) -> float:
    """Return the expected calibration error: the mean error of the probabilities, 0 to 1.

    The mean over bins, weighted by their titles, of |share of keeps - mean probability|: Guo et
    al. (2017), On Calibration of Modern Neural Networks, section 3.
    """
    off = 0.0
    for row in calibration_table(truth, probability):
        if row["titles"]:
            off += (row["titles"] or 0) * abs((row["keeps"] or 0) - (row["probability"] or 0))
    return off / len(truth)
