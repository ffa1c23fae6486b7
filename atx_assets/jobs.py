"""The three ways through the graph. Not here: when they run."""

import dagster as dg

#: Jobs with this tag write the same files; `dagster.yaml` lets one run at a time.
WRITES = {"atx/writes": "data"}

_SEARCH = dg.AssetSelection.assets("hyperparameters")
_SCORING = dg.AssetSelection.assets(
    "raw_media",
    "scored_results",
    "false_positives",
    "false_negatives",
    "review_queue",
    "analysis_report",
)

full_rebuild = dg.define_asset_job(
    "full_rebuild",
    dg.AssetSelection.all(),
    description="Everything: read the films, search hyperparameters, train, score, report.",
    tags=WRITES,
)
refresh = dg.define_asset_job(
    "refresh",
    dg.AssetSelection.all() - _SEARCH,
    description="Everything but the search: trains anew with the hyperparameters found last.",
    tags=WRITES,
)
score = dg.define_asset_job(
    "score",
    _SCORING,
    description="No training: read the films, score them by the champion, report.",
    tags=WRITES,
)

JOBS = [full_rebuild, refresh, score]
