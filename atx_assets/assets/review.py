"""The review queue: which films to judge, or to judge again, next. Not here: the ranking."""

from __future__ import annotations

from typing import Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.records import Scored, read_scored, records_of
from atx_assets.resources.files import DataFiles

#: How many titles the review queue names, of each kind.
QUEUE = 50


@dg.asset(
    deps=["raw_media", "scored_results"],
    group_name=story.RESULTS,
    kinds={"json"},
    owners=story.OWNERS,
    freshness_policy=story.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.REVIEW_QUEUE)},
)
def review_queue(files: DataFiles) -> dg.MaterializeResult[None]:
    """Films to judge, or to judge again, next: what the model cannot tell, and doubtful labels."""
    import numpy as np

    from atx_assets.learning.review import rank_for_review

    scored = read_scored(files)
    results = scored.results
    trains, judged = results["actual"].is_valid(), results["label_source"].is_valid()
    actual = np.where(
        trains.to_numpy(),
        results["actual"].fill_null(False).to_numpy().astype(int),
        # A label that nothing is trained on (odd, or the model's own) is no question to a person.
        np.where(judged.to_numpy(), -2, -1),
    )
    by_person = results["label_source"].fill_null("").to_numpy(zero_copy_only=False) == "human"
    probability = results["probability"].to_numpy()
    ranked = rank_for_review(probability, scored.bundle.threshold, actual, by_person)
    unjudged = actual[ranked] == -1
    wanted = np.sort(
        np.concatenate([np.flatnonzero(unjudged)[:QUEUE], np.flatnonzero(~unjudged)[:QUEUE]])
    )
    records = [
        {"rank": at + 1, "task": _task(record), "because": _because(record, scored), **record}
        for at, record in enumerate(records_of(scored, ranked[wanted]))
    ]
    path = files.write_records("review_queue", records)
    to_judge = sum(r["task"] == "judge" for r in records)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(records),
            "to judge": to_judge,
            "to judge again": len(records) - to_judge,
            "preview": story.preview(
                records, ["rank", "task", "media_title", "release_year", "because"]
            ),
            "dagster/column_lineage": story.from_scores(schemas.REVIEW_QUEUE),
            "file": dg.MetadataValue.path(str(path)),
            **story.fingerprint_metadata(story.snapshot_of(results)),
        }
    )


def _task(record: dict[str, Any]) -> str:
    return "judge" if record["actual"] is None else "judge again"


def _because(record: dict[str, Any], scored: Scored) -> str:
    share = f"{record['probability']:.0%}"
    if record["actual"] is None:
        threshold = f"{scored.bundle.threshold:.0%}"
        return f"unjudged, and a keep at {share} is close to the threshold ({threshold})"
    verdict = "keep" if record["actual"] else "skip"
    giver = "a person" if record["label_source"] == "human" else "a rule"
    return f"{giver} said {verdict}, but models blind to that put a keep at {share}"
