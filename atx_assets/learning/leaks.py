"""Features that reveal the label on their own. Not here: what is done about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.ranking import roc_auc

#: No honest feature reaches this ROC-AUC on its own; the best in real libraries has .95.
TOO_GOOD = 0.99


def telling_features(
    matrix: NDArray[np.float32], labels: NDArray[np.int64], names: Sequence[str]
) -> list[tuple[str, float]]:
    """Find the features whose own ROC-AUC, in either direction, exceeds `TOO_GOOD`.

    Unknown counts as a value, ranked last or first: the fact that a number is known may reveal the
    label, too.

    Args:
        matrix: shape (n, len(names)), unknown as NaN.
        labels: shape (n,), 0 or 1, with both present.
        names: of the features.

        Returns:
        Name and ROC-AUC, the best first.
    """
    found = []
    for name, column in zip(names, matrix.T, strict=True):
        best = 0.0
        for unknown in (-1e30, 1e30) if np.isnan(column).any() else (0.0,):
            area = roc_auc(labels, np.where(np.isnan(column), unknown, column))
            best = max(best, area, 1 - area)
        if best > TOO_GOOD:
            found.append((name, best))
    return sorted(found, key=lambda pair: -pair[1])
