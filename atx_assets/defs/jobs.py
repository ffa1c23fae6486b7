"""The three jobs over the graph. Not here: when they run; correcting labels."""

from typing import Any

import dagster as dg

from atx_assets.defs.correction_jobs import CORRECTION_JOBS

#: Jobs with this tag write the same files; `dagster.yaml` lets one run at a time.
WRITES = {"atx/writes": "data"}

#: The assets that are made without training.
SCORED = (
    "raw_media",
    "quarantine",
    "titles",
    "scored_results",
    "false_positives",
    "false_negatives",
    "review_queue",
    "analysis_report",
)
_SEARCH = dg.AssetSelection.assets("hyperparameters")

full_rebuild = dg.define_asset_job(
    "full_rebuild",
    dg.AssetSelection.all(),
    description="Everything: read the films, search hyperparameters, train, score, report.",
    tags=WRITES,
)
refresh = dg.define_asset_job(
    "refresh",
    dg.AssetSelection.all() - _SEARCH,
    description="Everything but the search: train with the latest hyperparameters, score, report.",
    tags=WRITES,
)
score = dg.define_asset_job(
    "score",
    dg.AssetSelection.assets(*SCORED),
    description="No training: read the films, score them with the champion, report.",
    tags=WRITES,
)

JOBS: list[Any] = [full_rebuild, refresh, score, *CORRECTION_JOBS]
