"""What the results were made from, according to Dagster's records of their assets.

Not here: reading the records (`observe.py`, `home/dagster_records.py`), what follows from them
(`decide.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atx_assets.automation.decide import Results

#: The assets that people read; together they are the results.
READ = ("false_positives", "false_negatives", "review_queue", "analysis_report")
#: The asset that records which labels the model learned from.
TRAINED = "tuned_classifier"


@dataclass(frozen=True)
class Made:
    """One materialisation of an asset: its number among all events, its run, its time.

    `at` is in seconds since 1970; `told` is the metadata whose names begin with `atx/`.
    """

    number: int
    run_id: str
    at: float
    told: Mapping[str, str]


def results_from(latest: Callable[[str], Made | None]) -> Results | None:
    """Return what the results were made from; None if one of them was never made.

    Args:
        latest: returns the last materialisation of an asset.
    """
    names = (*READ, TRAINED)
    made = {name: record for name in names if (record := latest(name)) is not None}
    if len(made) < len(names):
        return None
    last = max(made.values(), key=lambda record: record.number)
    return Results(
        labels=frozenset(record.told.get("atx/labels", "") for record in made.values()),
        human_labels=frozenset(record.told.get("atx/human_labels", "") for record in made.values()),
        media=frozenset(made[name].told.get("atx/media", "") for name in READ),
        latest=last.number,
        made_by=last.run_id,
        trained_at=made[TRAINED].at,
    )
