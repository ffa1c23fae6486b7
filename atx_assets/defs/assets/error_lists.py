"""The mistakes of the model as two lists of readable records, the surest mistake first."""

from __future__ import annotations

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.settings import Settings
from atx_assets.sources.extracted import fingerprint_metadata, snapshot_of


def _errors(
    settings: Settings, files: DataFiles, asset: str, kind: str, surest_first: str
) -> dg.MaterializeResult[None]:
    import numpy as np
    import pyarrow.compute as pc

    from atx_assets.report.records import records_of
    from atx_assets.report.scored_films import read_scored

    clock = asset_page.Clock()
    scored = read_scored(files)
    results = scored.results
    wrong = np.flatnonzero(pc.equal(results["cm_value"], kind).fill_null(False).to_numpy())
    probability = results["probability"].to_numpy()[wrong]
    # Ties stay in the order of the rows, which is that of the keys.
    order = np.argsort(-probability if surest_first == "descending" else probability, kind="stable")
    records = records_of(scored, wrong[order])
    path = files.write_records(asset, records, files.fingerprints("scored_results"))
    by_person = sum(r["label_source"] == "human" for r in records)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(records),
            "mistakes": len(records),
            "against a person's label": by_person,
            "against a rule's label": len(records) - by_person,
            "for the release alone": sum(r["about_release"] for r in records),
            "model version": scored.bundle.version,
            "seconds": clock.seconds,
            "report": dg.MetadataValue.url(asset_page.report_address(settings)),
            "preview": asset_page.preview(
                records, ["media_title", "release_year", "probability", "label_source", "why"]
            ),
            "dagster/column_lineage": asset_page.from_scores(schemas.ERROR_RECORDS),
            "file": dg.MetadataValue.path(str(path)),
            **fingerprint_metadata(snapshot_of(results)),
        }
    )


@dg.asset(
    deps=["titles", "scored_results"],
    group_name=asset_page.RESULTS,
    kinds={"json"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="2",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.ERROR_RECORDS)},
)
def false_positives(
    current_settings: CurrentSettings, files: DataFiles
) -> dg.MaterializeResult[None]:
    """Films that the model would keep and the label skips, the surest mistake first."""
    return _errors(current_settings.read(), files, "false_positives", "fp", "descending")


@dg.asset(
    deps=["titles", "scored_results"],
    group_name=asset_page.RESULTS,
    kinds={"json"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="2",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.ERROR_RECORDS)},
)
def false_negatives(
    current_settings: CurrentSettings, files: DataFiles
) -> dg.MaterializeResult[None]:
    """Films that the model would skip and the label keeps, the surest mistake first."""
    return _errors(current_settings.read(), files, "false_negatives", "fn", "ascending")
