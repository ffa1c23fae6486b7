"""How many folds there are, under how many seeds, and how many labels they need.

Not here: which row is in which fold (`evaluation.py`): scikit-learn says that, and who asks for a
number alone does not wait for its import.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atx_assets.errors import AtxError

SEEDS = (0, 1, 2, 3, 4)
FOLDS = 5

#: The labels of each class without which folds and figures mean nothing.
LEAST_LABELS = 20


def require_enough_labels(labels: NDArray[np.int64]) -> None:
    """Make sure that both classes have `LEAST_LABELS` labels.

    Raises:
        AtxError: one has fewer; the line says how many there are and are needed.
    """
    keeps = int(labels.sum())
    if min(keeps, len(labels) - keeps) < LEAST_LABELS:
        raise AtxError(too_few_labels(keeps, len(labels) - keeps))


def too_few_labels(keeps: int, skips: int) -> str:
    """Say in a line that there are too few labels."""
    return (
        f"not enough labels to learn from: {keeps} keeps and {skips} skips, and at least "
        f"{LEAST_LABELS} of each are needed; label more films, or check ATX_SOURCE"
    )
