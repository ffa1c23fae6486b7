"""The score of every film by the champion. Not here: how a film is scored (`learning/`)."""

from __future__ import annotations

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.files import DataFiles
from atx_assets.models.bundles import Bundles
from atx_assets.models.scored import counts, score_titles
from atx_assets.sources.extracted import (
    fingerprint_metadata,
    layout_of,
    read_titles,
    snapshot_of,
    with_snapshot,
)


@dg.asset(
    deps=["titles", "quarantine", "tuned_classifier"],
    group_name=asset_page.RESULTS,
    kinds={"xgboost", "parquet"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.SCORED_RESULTS)},
)
def scored_results(files: DataFiles) -> dg.MaterializeResult[None]:
    """Every film with the chance that it is a keep; where it is judged, without its verdict."""
    import pyarrow.compute as pc

    from atx_assets.learning.scoring import as_learned

    clock = asset_page.Clock()
    titles = read_titles(files)
    bundle = Bundles(files).champion_of(layout_of(titles).name)
    Bundles(files).copy_champion()
    titles = as_learned(titles, bundle.learned_from)
    table = score_titles(titles, bundle)
    parts = {**files.fingerprints("titles"), "bundle": bundle.digest}
    path = files.write_table("scored_results", with_snapshot(table, snapshot_of(titles)), parts)
    outcomes = counts(table["cm_value"])
    unjudged = table.filter(table["label_source"].is_null())
    surest = unjudged.sort_by([("probability", "descending"), ("key", "ascending")])
    parent = dg.AssetKey("titles")
    shared = [c.name for c in schemas.SCORED_RESULTS if c in schemas.TITLES]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "preview": asset_page.preview(surest, ["media_title", "release_year", "probability"]),
            "the preview shows": "the surest keeps among unjudged films",
            "films": table.num_rows,
            "unjudged films": unjudged.num_rows,
            "unjudged films predicted keep": pc.sum(pc.cast(unjudged["predicted"], "int64")).as_py()
            or 0,
            **{name: outcomes.get(name, 0) for name in ("tp", "fp", "tn", "fn")},
            "model version": bundle.version,
            "seconds": clock.seconds,
            "report": dg.MetadataValue.url(asset_page.report_address()),
            "threshold": round(bundle.threshold, 4),
            "dagster/column_lineage": asset_page.lineage(
                asset_page.from_titles(shared)
                | {"actual": [(parent, "label"), (parent, "trains")]}
                | {
                    name: [(parent, column) for column in bundle.encoding.columns]
                    for name in ("probability", "probability_in_sample", "predicted")
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
            **fingerprint_metadata(snapshot_of(titles)),
        }
    )
