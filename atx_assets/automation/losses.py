"""Detects a sudden loss of labels or films, from which nothing is rebuilt. Pure functions.

Not here: what there was before (`held.py`), what follows for a sensor (`decide.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atx_assets.automation.held import Held
    from atx_assets.settings import Automation
    from atx_assets.sources.read.fingerprints import Fingerprints

#: Why nothing happens until a person acts: too many labels or films are gone, or the data are.
LOST, GONE = "lost", "gone"


def lost_rows(what: str, before: frozenset[str], now: str, limit: float) -> str:
    """Return how many rows are gone, if all are or more than the share `limit`; else empty."""
    had, have = max(map(count_of, before), default=0), count_of(now)
    if had and (not have or have < had * (1 - limit)):
        return f"{had - have:,} of {had:,} {what} are gone at once"
    return ""


def lost_at_once(held: Held, labels: str, media: str, limit: float) -> str:
    """Return what is suddenly gone: too many labels or films, or an unknown number; else empty.

    Args:
        held: what there was.
        labels, media: the fingerprints of what there is.
        limit: the share that may disappear.
    """
    if held.unknown:
        return "no record and no file says how many labels there were"
    lost = lost_rows("labels", held.labels, labels, limit)
    return lost or lost_rows("films", held.media, media, limit)


def gone_at_once(held: Held, database: Fingerprints, rules: Automation) -> str:
    """Return a line with the fix if too many labels or films are gone to rebuild; else empty."""
    lost = lost_at_once(held, database.labels, database.media, rules.label_drop_limit)
    return f"{lost}: {BY_HAND}" if lost else ""


BY_HAND = (
    "nothing is rebuilt from that. If it is meant, materialise full_rebuild by hand (in the UI, or "
    "`atx run`); ATX_LABEL_DROP_LIMIT sets the share that may go"
)


def count_of(fingerprint: str) -> int:
    """Return the number of rows that a fingerprint begins with."""
    return int(fingerprint.partition("-")[0] or 0)
