"""How many folds there are, under how many seeds, and how many labels they need.

Not here: which row is in which fold (`evaluation.py`). That needs scikit-learn, and code that
only needs a number must not wait for its import.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atx_assets.errors import AtxError

SEEDS = (0, 1, 2, 3, 4)
FOLDS = 5

#: With fewer labels of a class than this, folds and figures mean nothing.
LEAST_LABELS = 20


def require_enough_labels(labels: NDArray[np.int64]) -> None:
    """Require `LEAST_LABELS` labels of both classes.

    Raises:
        AtxError: one has fewer; the line says how many there are and how many are needed.
    """
    keeps = int(labels.sum())
    if min(keeps, len(labels) - keeps) < LEAST_LABELS:
        raise AtxError(too_few_labels(keeps, len(labels) - keeps))


def too_few_labels(keeps: int, skips: int) -> str:
    """Return one line that says that there are too few labels."""
    return (
        f"not enough labels to learn from: {keeps} keeps and {skips} skips, but at least "
        f"{LEAST_LABELS} of each are needed; label more films, or check ATX_SOURCE"
    )
