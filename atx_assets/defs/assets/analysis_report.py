"""The asset of the report. Not here: the page and what it shows (`report/`)."""

from __future__ import annotations

from typing import Any

import dagster as dg

from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.schemas import Column
from atx_assets.sources.extracted import fingerprint_metadata, snapshot_of

_SECTION = "section"
#: The sections of the page in order, shown in place of columns: they are what people look for.
_PARTS = (
    Column("what changed since the last model", _SECTION, "labels, and films with another verdict"),
    Column(
        "what to label next", _SECTION, "doubtful labels, films it is unsure about, surest keeps"
    ),
    Column(
        "where it errs", _SECTION, "both kinds of mistakes with reasons, and parts where it is weak"
    ),
    Column("how good it is", _SECTION, "curves, thresholds, all measures and what they must beat"),
    Column(
        "what it goes by", _SECTION, "importance of features, and shares of keeps by genre, ..."
    ),
    Column("the films", _SECTION, "how numbers are distributed and correlated"),
)
_LINEAGE = {
    _PARTS[0].name: [(dg.AssetKey("tuned_classifier"), "probability")],
    _PARTS[1].name: [(dg.AssetKey("review_queue"), "because")],
    _PARTS[2].name: [
        (dg.AssetKey("false_positives"), "media_title"),
        (dg.AssetKey("false_negatives"), "media_title"),
    ],
    _PARTS[3].name: [(dg.AssetKey("tuned_classifier"), "probability")],
    _PARTS[4].name: [(dg.AssetKey("scored_results"), "predicted")],
    _PARTS[5].name: [(dg.AssetKey("scored_results"), "probability")],
}


@dg.asset(
    deps=[
        "titles",
        "quarantine",
        "tuned_classifier",
        "scored_results",
        "false_positives",
        "false_negatives",
        "review_queue",
    ],
    group_name=asset_page.RESULTS,
    kinds={"matplotlib", "html"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="2",
    metadata={"dagster/column_schema": asset_page.table_schema(_PARTS)},
)
def analysis_report(
    current_settings: CurrentSettings, files: DataFiles
) -> dg.MaterializeResult[None]:
    """One page: how good the model is, where it errs, and what to label next."""
    from atx_assets.report.blind import blind_of
    from atx_assets.report.page import headline, render_page
    from atx_assets.report.pictures import page_pictures
    from atx_assets.report.quality_tables import headline_table, markdown
    from atx_assets.report.report_figures import report_figures
    from atx_assets.report.scored_films import read_scored

    clock = asset_page.Clock()
    settings = current_settings.read()
    scored = read_scored(files)
    drawn = list(report_figures(scored, blind_of(scored)))
    shown_figures: dict[str, Any] = {}
    for name, picture in page_pictures(scored, drawn).items():
        with files.replacing(files.folder / f"report_{name}.png") as new_file:
            new_file.write_bytes(picture)
        shown_figures |= asset_page.figure(settings, name, picture)
    path = files.write_text("analysis_report", render_page(files, scored, drawn))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": scored.results.num_rows,
            "in short": headline(scored.bundle),
            "preview": dg.MetadataValue.md(
                markdown(headline_table(scored.bundle.about["quality"]))
            ),
            "report": dg.MetadataValue.url(asset_page.report_address(settings)),
            "bytes": path.stat().st_size,
            "seconds": clock.seconds,
            **shown_figures,
            "file": dg.MetadataValue.path(str(path)),
            "dagster/column_lineage": asset_page.lineage(_LINEAGE),
            **fingerprint_metadata(snapshot_of(scored.results)),
        }
    )
