"""The score of every film by the champion. Not here: how a film is scored (`learning/`)."""

from __future__ import annotations

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.extracted import read_titles, snapshot_of, with_snapshot
from atx_assets.assets.scoring import counts, score_titles
from atx_assets.resources.bundles import Bundles
from atx_assets.resources.files import DataFiles


@dg.asset(
    deps=["raw_media", "quarantine", "tuned_classifier"],
    group_name=story.RESULTS,
    kinds={"xgboost", "parquet"},
    owners=story.OWNERS,
    freshness_policy=story.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.SCORED_RESULTS)},
)
def scored_results(files: DataFiles) -> dg.MaterializeResult[None]:
    """Every film with the chance that it is a keep; where it is judged, without its verdict."""
    import pyarrow.compute as pc

    clock = story.Clock()
    titles, layout = read_titles(files)
    bundle = Bundles(files).champion_of(layout.name)
    Bundles(files).copy_champion()
    table = score_titles(titles, bundle)
    path = files.write_table("scored_results", with_snapshot(table, snapshot_of(titles)))
    outcomes = counts(table["cm_value"])
    unjudged = table.filter(table["label_source"].is_null())
    surest = unjudged.sort_by([("probability", "descending"), ("key", "ascending")])
    parent = dg.AssetKey("raw_media")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "preview": story.preview(surest, ["media_title", "release_year", "probability"]),
            "the preview shows": "the surest keeps among unjudged films",
            "films": table.num_rows,
            "unjudged films": unjudged.num_rows,
            "unjudged films predicted keep": pc.sum(pc.cast(unjudged["predicted"], "int64")).as_py()
            or 0,
            **{name: outcomes.get(name, 0) for name in ("tp", "fp", "tn", "fn")},
            "model version": bundle.version,
            "seconds": clock.seconds,
            "report": dg.MetadataValue.url(story.report_address()),
            "threshold": round(bundle.threshold, 4),
            "dagster/column_lineage": story.lineage(
                story.title_parents(layout.name)
                | {"release_year": [(parent, "release_year")]}
                | {"actual": story.title_parents(layout.name)["label"]}
                | {
                    name: [(parent, column) for column in bundle.encoding.columns]
                    for name in ("probability", "probability_in_sample", "predicted")
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
            **story.fingerprint_metadata(snapshot_of(titles)),
        }
    )
