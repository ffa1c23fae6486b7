"""The review queue: which films to label, to label again, or to watch next.

Not here: which films these are (`report/queue.py`).
"""

from typing import Any

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.schemas import AGAIN, LABEL, RECOMMENDED
from atx_assets.sources.extracted import fingerprint_metadata, snapshot_of


@dg.asset(
    deps=["titles", "scored_results"],
    group_name=asset_page.RESULTS,
    kinds={"json"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="3",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.REVIEW_QUEUE)},
)
def review_queue(current_settings: CurrentSettings, files: DataFiles) -> dg.MaterializeResult[None]:
    """Films to label or label again next, and recommended films, each with the reason."""
    from atx_assets.report.queue import doubted_labels, queue_records
    from atx_assets.report.scored_films import read_scored

    clock = asset_page.Clock()
    scored = read_scored(files)
    doubt = doubted_labels(scored)
    records = queue_records(scored, doubt)
    parts = files.fingerprints("scored_results")
    path = files.write_records("review_queue", records, parts)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(records),
            **_by_task(records),
            "labels doubted": len(doubt.rows),
            "labels doubted by": f"{doubt.models}; rule-made ones first",
            "dagster/column_lineage": asset_page.from_scores(schemas.REVIEW_QUEUE),
            "seconds": clock.seconds,
            "report": dg.MetadataValue.url(asset_page.report_address(current_settings.read())),
            "file": dg.MetadataValue.path(str(path)),
            **fingerprint_metadata(snapshot_of(scored.results)),
        }
    )


def _by_task(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and previews of the films of each task, for the asset's page."""
    films = {
        task: [r for r in records if r["task"] == task] for task in (AGAIN, LABEL, RECOMMENDED)
    }
    by_people = sum(r["label_source"] == "human" for r in films[AGAIN])
    shown = ["rank", "media_title", "release_year", "because"]
    return {
        "to label again": len(films[AGAIN]),
        "of these, labelled by a rule": len(films[AGAIN]) - by_people,
        "of these, labelled by a person": by_people,
        "to label": len(films[LABEL]),
        "recommended": len(films[RECOMMENDED]),
        "preview": asset_page.preview(films[AGAIN], shown),
        "preview: label": asset_page.preview(films[LABEL], shown),
        "preview: recommended": asset_page.preview(films[RECOMMENDED], shown),
    }
