"""The score of every film by the champion. Not here: how a film is scored (`learning/`)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.sources.extracted import (
    fingerprint_metadata,
    layout_of,
    read_titles,
    snapshot_of,
    with_snapshot,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dg.asset(
    deps=["titles", "quarantine", "tuned_classifier"],
    group_name=asset_page.RESULTS,
    kinds={"xgboost", "parquet"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.SCORED_RESULTS)},
)
def scored_results(
    current_settings: CurrentSettings, files: DataFiles
) -> dg.MaterializeResult[None]:
    """Every film with its probability of a keep, by models that have not seen its label."""
    from atx_assets.models.bundles import Bundles
    from atx_assets.models.scoring import scored_parts

    clock = asset_page.Clock()
    about = read_titles(files, ())
    bundle = Bundles(files).champion_of(layout_of(about).name)
    Bundles(files).copy_champion()
    parts = {**files.fingerprints("titles"), "bundle": bundle.digest}
    none = schemas.arrow_schema(schemas.SCORED_RESULTS).empty_table()
    schema = with_snapshot(none, snapshot_of(about)).schema
    tally = _Tally()
    with files.writing_table("scored_results", schema, parts) as writer:
        for scored in scored_parts(files, bundle):
            writer.write_table(scored)
            tally.add(scored)
    shared = [c.name for c in schemas.SCORED_RESULTS if c in schemas.TITLES]
    parent = dg.AssetKey("titles")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": tally.films,
            "preview": asset_page.preview(
                tally.surest, ["media_title", "release_year", "probability"]
            ),
            "the preview shows": "the surest keeps among unlabelled films",
            "films": tally.films,
            "unlabelled films": tally.unlabelled,
            "unlabelled films predicted keep": tally.keeps,
            **{name: tally.outcomes[name] for name in ("tp", "fp", "tn", "fn")},
            "model version": bundle.version,
            "seconds": clock.seconds,
            "report": dg.MetadataValue.url(asset_page.report_address(current_settings.read())),
            "threshold": round(bundle.threshold, 4),
            "dagster/column_lineage": asset_page.lineage(
                asset_page.from_titles(shared)
                | {"actual": [(parent, "label"), (parent, "trains")]}
                | {
                    name: [(parent, column) for column in bundle.encoding.columns]
                    for name in ("probability", "probability_in_sample", "predicted")
                }
            ),
            "file": dg.MetadataValue.path(str(files.path("scored_results"))),
            **fingerprint_metadata(snapshot_of(about)),
        }
    )


class _Tally:
    """The figures on the asset's page, added up part by part."""

    def __init__(self) -> None:
        self.films = self.unlabelled = self.keeps = 0
        self.outcomes: Counter[str] = Counter()
        self.surest: list[dict[str, Any]] = []

    def add(self, scored: pa.Table) -> None:
        """Count the films of a part, and remember the surest keeps among unlabelled ones."""
        from atx_assets.models.scored import counts

        unlabelled = scored.filter(scored["label_source"].is_null())
        self.films += scored.num_rows
        self.unlabelled += unlabelled.num_rows
        self.keeps += unlabelled["predicted"].combine_chunks().true_count
        self.outcomes.update(counts(scored["cm_value"]))
        first = unlabelled.sort_by([("probability", "descending"), ("key", "ascending")])
        both = [*self.surest, *first.slice(0, asset_page.PREVIEW_ROWS).to_pylist()]
        both.sort(key=lambda row: (-row["probability"], row["key"]))
        self.surest = both[: asset_page.PREVIEW_ROWS]
