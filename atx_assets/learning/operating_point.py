"""Where probabilities become verdicts: the threshold that an operating point asks for.

Not here: which labels and probabilities it is chosen on (out of fold, always).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atx_assets.learning.ranking import ranked

if TYPE_CHECKING:
    import numpy as np

_WRITTEN = re.compile(r"\s*(precision|recall)\s*>=\s*(0?\.\d+|1(?:\.0*)?)\s*")


@dataclass(frozen=True)
class OperatingPoint:
    """The best F1; or the best recall at a least precision, or the other way round.

    Attributes:
        measure: `f1`, `precision` or `recall`.
        least: what the measure must reach, above 0 and up to 1; not used with `f1`.
    """

    measure: str = "f1"
    least: float = 0.0

    @classmethod
    def parse(cls, text: str) -> OperatingPoint:
        """Read `f1`, `precision>=0.8` or `recall>=0.95`.

        Raises:
            ValueError: it is none of them.
        """
        if text.strip() == "f1":
            return cls()
        written = _WRITTEN.fullmatch(text)
        if not written or float(written[2]) == 0:
            raise ValueError("write f1, or for instance precision>=0.8 or recall>=0.95")
        return cls(written[1], float(written[2]))

    def __str__(self) -> str:
        """Return what `parse` reads."""
        if self.measure == "f1":
            return "f1"
        return f"{self.measure}>={self.least:.12f}".rstrip("0").rstrip(".")

    def threshold(self, labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> float:
        """Return the least score that counts as a keep; infinite where none reaches the point.

        Of equal F1 the highest; of thresholds that reach the least precision the one with most
        recall, and the other way round.

        Args:
            labels: shape (n,), 0 or 1.
            scores: shape (n,), of models that did not see these labels.
        """
        import numpy as np

        precision, recall, thresholds = _curve(labels, scores)
        if self.measure == "f1":
            # From counts: equals, which rounding would tell apart, are equal then.
            keeps = labels.sum()
            named = len(scores) - np.searchsorted(np.sort(scores), thresholds)
            f1 = 2 * np.rint(recall * keeps) / (named + keeps)
            return float(thresholds[np.flatnonzero(f1 == f1.max())[-1]])
        reached = np.flatnonzero(
            (precision if self.measure == "precision" else recall) >= self.least
        )
        if not len(reached):
            return float("inf")
        if self.measure == "precision":
            return float(thresholds[reached[0]])
        return float(thresholds[reached[np.argmax(precision[reached])]])


def _curve(
    labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return precision and recall at each distinct score, and the scores, ascending.

    To the last bit those of scikit-learn's `precision_recall_curve`.
    """
    import numpy as np

    falling, hits, named = ranked(labels, scores)
    keeps = hits[-1]
    recall = hits / keeps if keeps else np.ones(len(hits))
    return (hits / named)[::-1], recall[::-1], falling[::-1]


#: What the table of alternatives shows.
ALTERNATIVES = tuple(
    OperatingPoint.parse(text)
    for text in (
        "f1",
        "precision>=0.7",
        "precision>=0.8",
        "precision>=0.9",
        "precision>=0.95",
        "recall>=0.8",
        "recall>=0.9",
        "recall>=0.95",
    )
)
PRECISION_80 = OperatingPoint("precision", 0.8)
RECALL_95 = OperatingPoint("recall", 0.95)
