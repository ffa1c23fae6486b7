"""From titles to what a model learns from: the feature encoding and the training table.

Not here: how a title or a feature is made (`sources/titles.py`, `learning/features.py`).
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import DamagedError, MissingError
from atx_assets.settings import Settings
from atx_assets.sources.extracted import (
    fingerprint_metadata,
    layout_of,
    read_titles,
    snapshot_of,
    with_snapshot,
)
from atx_assets.sources.label_changes import LabelChanges, label_changes

if TYPE_CHECKING:
    import pyarrow as pa

    from atx_assets.learning.features import FeatureEncoding
    from atx_assets.sources.layouts import Layout


@dg.asset(
    deps=["titles", "quarantine"],  # quarantine's check stops the run if the source is spoilt
    group_name=asset_page.TRAINING,
    kinds={"json", "python"},
    owners=asset_page.OWNERS,
    code_version="1",
)
def feature_encoding(
    current_settings: CurrentSettings, files: DataFiles
) -> dg.MaterializeResult[None]:
    """How a title becomes numbers: each feature's range, each category's column."""
    from atx_assets.learning.features import fit_encoding

    clock = asset_page.Clock()
    titles = read_titles(files)
    layout = layout_of(titles)
    encoding = fit_encoding(
        titles.filter(titles["trains"]),
        layout=layout.name,
        numeric=layout.numeric,
        categorical=(*layout.lists, *layout.singles),
        zero_is_unknown=layout.zero_is_unknown,
        all_ratings=titles["imdb_rating"],
        least_titles=least_titles(layout, current_settings.read()),
    )
    path = files.write_text("feature_encoding", encoding.to_json(), files.fingerprints("titles"))
    rows = [
        {
            "feature": n.feature,
            "from": n.column,
            "range": "no title knows it"
            if n.minimum is None
            else f"{n.minimum:g} to {n.maximum:g}",
        }
        for n in encoding.numeric
    ] + [
        {
            "feature": f"{g.column}_…",
            "from": g.column,
            "range": f"{len(g.categories)} categories, most often "
            + ", ".join(
                f"{c.values[0]} ({c.titles})"
                for c in sorted(g.categories, key=lambda c: -c.titles)[:3]
            ),
        }
        for g in encoding.categorical
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(encoding.names),
            "features": len(encoding.names),
            "numeric features": len(encoding.numeric),
            "seconds": clock.seconds,
            "IMDb rating of exactly 10 means": f"{encoding.ten_means // 10} of 10"
            if encoding.ten_means == 10
            else "10 of 100",
            "preview": asset_page.preview(rows, ["feature", "from", "range"], limit=len(rows)),
            "dagster/column_schema": asset_page.table_schema(feature_columns(encoding)),
            "dagster/column_lineage": asset_page.lineage(_feature_parents(encoding)),
            "file": dg.MetadataValue.path(str(path)),
        }
    )


@dg.asset(
    deps=["titles", "feature_encoding"],
    group_name=asset_page.TRAINING,
    kinds={"parquet"},
    owners=asset_page.OWNERS,
    code_version="1",
)
def training_table(
    context: dg.AssetExecutionContext, files: DataFiles
) -> dg.MaterializeResult[None]:
    """One row per labelled film: its label, who gave it, and its features."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from atx_assets.learning.features import FeatureEncoding

    clock = asset_page.Clock()
    titles = read_titles(files)
    files.require("feature_encoding", "titles")
    encoding = FeatureEncoding.from_json(files.read_text("feature_encoding"))
    changes = _label_changes(context, files, titles)
    training = titles.filter(titles["trains"])
    fixed = training.select([c.name for c in schemas.TRAINING_TABLE])
    columns = dict(zip(fixed.column_names, fixed.columns, strict=True))
    table = pa.table(columns | encoding.table(training))
    parts = files.fingerprints("titles", "feature_encoding")
    path = files.write_table("training_table", with_snapshot(table, snapshot_of(titles)), parts)
    keeps = pc.sum(pc.cast(table["label"], "int64")).as_py() or 0
    by_person = pc.sum(pc.cast(pc.equal(table["label_source"], "human"), "int64")).as_py() or 0
    unlabelled = pc.sum(pc.cast(titles["label"].is_null(), "int64")).as_py() or 0
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "labelled films": table.num_rows,
            "keeps": keeps,
            "skips": table.num_rows - keeps,
            "labelled by a person": by_person,
            "labelled by a rule": table.num_rows - by_person,
            "unlabelled films, left out": unlabelled,
            "labelled but left out": titles.num_rows - unlabelled - table.num_rows,
            "features": len(encoding.names),
            "seconds": clock.seconds,
            **_changes_metadata(changes),
            "preview": asset_page.preview(
                table, ["media_title", "label", "label_source", *encoding.names[:5]]
            ),
            "dagster/column_schema": asset_page.table_schema(
                (*schemas.TRAINING_TABLE, *feature_columns(encoding))
            ),
            "dagster/column_lineage": asset_page.lineage(
                asset_page.from_titles(c.name for c in schemas.TRAINING_TABLE)
                | _feature_parents(encoding)
            ),
            "file": dg.MetadataValue.path(str(path)),
            **fingerprint_metadata(snapshot_of(titles)),
        }
    )


def _label_changes(
    context: dg.AssetExecutionContext, files: DataFiles, titles: "pa.Table"
) -> "LabelChanges | None":
    """Compare the labels with those of the last training and log it; None if there was none.

    Compares with the version trained last, not with the last training table: a run that was
    interrupted between the two has trained nothing.
    """
    from atx_assets.models.bundles import Bundles

    try:
        trained = Bundles(files).trained_last()
        if trained is None:
            return None
        changes = label_changes(titles, trained.learned_from)
    except (MissingError, DamagedError) as error:  # the training reports how to fix it
        context.log.warning("labels cannot be compared with the last training: %s", error)
        return None
    context.log.info("labels since the last training: %s", changes)
    context.instance.add_run_tags(context.run.run_id, {"atx/labels": str(changes)})
    return changes


def _changes_metadata(changes: "LabelChanges | None") -> dict[str, Any]:
    if changes is None:
        return {}
    return {
        "labels added": changes.added,
        "labels changed": changes.changed,
        "labels removed": changes.removed,
        "changed since the last training": asset_page.preview(
            changes.first, ["media_title", "release_year", "was", "is"], limit=len(changes.first)
        ),
    }


def least_titles(layout: "Layout", settings: Settings) -> dict[str, int]:
    """Return how many training titles a category of each column needs to become a feature."""
    least = dict.fromkeys((*layout.lists, *layout.singles), settings.category_min_titles)
    if "production_companies" in least:
        least["production_companies"] = settings.company_min_titles
    return least


def feature_columns(encoding: "FeatureEncoding") -> list[schemas.Column]:
    """Describe the features as columns: one line per number, and one line per kind of category.

    One line per category would be hundreds, and would hide everything else on the asset's page.
    """
    numbers = [
        schemas.Column(n.feature, "float", f"{n.column}, scaled to 0-1 over the training rows")
        for n in encoding.numeric
    ]
    flags = [
        schemas.Column(
            f"{g.column}_…",
            "uint8",
            f"{len(g.categories)} columns, one per category: 1 if {g.column} has it",
        )
        for g in encoding.categorical
    ]
    return numbers + flags


def _feature_parents(encoding: "FeatureEncoding") -> dict[str, list[tuple[dg.AssetKey, str]]]:
    parent = dg.AssetKey("titles")
    numbers = {n.feature: [(parent, n.column)] for n in encoding.numeric}
    flags = {f"{g.column}_…": [(parent, g.column)] for g in encoding.categorical}
    return numbers | flags
