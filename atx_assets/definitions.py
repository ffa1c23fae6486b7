"""The one place where assets, checks, jobs, sensors, schedules and resources meet.

Not here: any of them.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from atx_assets.defs.assets import (
    analysis_report,
    error_lists,
    hyperparameters,
    raw_media,
    review_queue,
    scored_results,
    titles,
    training,
    tuned_classifier,
)
from atx_assets.defs.checks import CHECKS
from atx_assets.defs.housekeeping import housekeeping, housekeeping_schedule
from atx_assets.defs.jobs import JOBS
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.defs.resources.media_database import MediaDatabase
from atx_assets.defs.resources.mlflow import Mlflow
from atx_assets.defs.schedules import nightly_schedule
from atx_assets.defs.sensors import SENSORS
from atx_assets.process_environment import settle_process

ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    raw_media.MEDIA_TABLE,
    raw_media.TRAINING_SOURCE,
    raw_media.raw_media,
    titles.titles,
    training.feature_encoding,
    training.training_table,
    hyperparameters.hyperparameters,
    tuned_classifier.tuned_classifier,
    scored_results.scored_results,
    error_lists.false_positives,
    error_lists.false_negatives,
    review_queue.review_queue,
    analysis_report.analysis_report,
]


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the whole graph; a test passes resources of its own by name."""
    # Again: a code server may have loaded `.env` into its environment after opening the storage.
    settle_process()
    overrides = dict(resource_overrides or {})
    current_settings = overrides.get("current_settings", CurrentSettings())
    settings = current_settings.read()
    multiprocess = settings.executor == "multiprocess"
    return dg.Definitions(
        assets=_with_links_to_the_code(ASSETS),
        asset_checks=CHECKS,
        jobs=[*JOBS, housekeeping],
        sensors=SENSORS,
        schedules=[nightly_schedule(settings), housekeeping_schedule(settings)],
        # One process for all steps: one process per step costs seconds each.
        executor=dg.multiprocess_executor if multiprocess else dg.in_process_executor,
        resources={
            "media_database": MediaDatabase(),
            "current_settings": current_settings,
            "files": DataFiles(current_settings=current_settings),
            "mlflow": Mlflow(),
            **overrides,
        },
    )


def _with_links_to_the_code(assets: Sequence[Any]) -> Sequence[Any]:
    with warnings.catch_warnings():
        # A beta function: Dagster would warn once per asset, at every start.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.with_source_code_references(assets)


defs = build_defs()
