"""Which titles to judge, or judge again, next. Not here: how the list is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def rank_for_review(
    probability: np.ndarray[Any, Any],
    threshold: float,
    actual: np.ndarray[Any, Any],
    by_person: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """Rank titles by what their judgement would teach.

    An unjudged title is worth 1 at the threshold, where the model cannot tell, and 0 where it
    is sure. A judged title is worth how far the model, blind to its label, is beyond the
    threshold on the other side; half of that if a person gave the label, who is less likely to
    be wrong than a rule.

    Args:
        probability: shape (n,), out of fold where judged.
        threshold: the least probability of a keep, in (0, 1).
        actual: shape (n,): 1 keep, 0 skip, -1 unjudged; other values are left out.
        by_person: bool, shape (n,): a person gave the label.

    Returns:
        The rows worth a judgement, the best first.
    """
    import numpy as np

    # Distance from the threshold, as a share of the room on that side.
    room = np.where(probability >= threshold, max(1 - threshold, 1e-9), max(threshold, 1e-9))
    sureness = np.abs(probability - threshold) / room
    disagrees = (actual >= 0) & ((probability >= threshold) != (actual == 1))
    worth = np.where(actual == -1, 1 - sureness, 0.0)
    worth = np.where(disagrees, sureness * np.where(by_person, 0.5, 1.0), worth)
    worthwhile = np.flatnonzero(worth > 0)
    return worthwhile[np.argsort(-worth[worthwhile], kind="stable")]
