"""What an owner wants from the verdicts (`ATX_OPERATING_POINT`): the best F1, or a least share.

Not here: the threshold that reaches it (`learning/thresholds.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"\s*(precision|recall)\s*>=\s*(0?\.\d+|1(?:\.0*)?)\s*")


@dataclass(frozen=True)
class OperatingPoint:
    """The best F1; or the best recall at a least precision, or the other way round.

    Attributes:
        measure: `f1`, `precision` or `recall`.
        least: the least value of the measure, above 0 and up to 1; not used with `f1`.
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
        """Return the text that `parse` reads."""
        if self.measure == "f1":
            return "f1"
        return f"{self.measure}>={self.least:.12f}".rstrip("0").rstrip(".")


#: The operating points in the table of alternatives.
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
