"""What the results were made from, as Dagster's records of their assets say.

Not here: reading the records (`observe.py`, `home/dagster_records.py`), what follows from them
(`decide.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atx_assets.automation.decide import Results

#: The assets that people read; together they are the results.
READ = ("false_positives", "false_negatives", "review_queue", "analysis_report")
#: The asset that says which labels were learned from.
TRAINED = "tuned_classifier"


@dataclass(frozen=True)
class Made:
    """One materialisation of an asset: its number among all events, its run, when it was.

    `at` is in seconds since 1970; `told` is its metadata whose names begin with `atx/`.
    """

    number: int
    run_id: str
    at: float
    told: Mapping[str, str]


def results_from(latest: Callable[[str], Made | None]) -> Results | None:
    """Return what the results were made from; None where one of them was never made.

    Args:
        latest: returns the last materialisation of an asset.
    """
    found = {name: latest(name) for name in (*READ, TRAINED)}
    every = {name: made for name, made in found.items() if made is not None}
    if len(every) < len(found):
        return None
    last = max(every.values(), key=lambda made: made.number)
    return Results(
        labels=frozenset(made.told.get("atx/labels", "") for made in every.values()),
        human_labels=frozenset(made.told.get("atx/human_labels", "") for made in every.values()),
        media=frozenset(every[name].told.get("atx/media", "") for name in READ),
        latest=last.number,
        made_by=last.run_id,
        trained_at=every[TRAINED].at,
    )
