"""From titles to what a model learns from: the feature encoding and the training table.

Not here: how a title or a feature is made (`sources/titles.py`, `learning/features.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.extracted import read_titles, snapshot_of, with_snapshot
from atx_assets.errors import AtxError
from atx_assets.recipe import recipe_version
from atx_assets.resources.files import DataFiles
from atx_assets.settings import Settings, read_settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from atx_assets.learning.features import FeatureEncoding
    from atx_assets.sources.layouts import Layout


@dg.asset(
    deps=["raw_media", "quarantine"],
    group_name=story.TRAINING,
    kinds={"json", "python"},
    owners=story.OWNERS,
    code_version="1",
)
def feature_encoding(files: DataFiles) -> dg.MaterializeResult[None]:
    """How a title becomes numbers: each feature's range, each category's column."""
    from atx_assets.learning.features import fit_encoding

    clock = story.Clock()
    titles, layout = read_titles(files)
    encoding = fit_encoding(
        titles.filter(titles["trains"]),
        layout=layout.name,
        numeric=layout.numeric,
        categorical=(*layout.lists, *layout.singles),
        zero_is_unknown=layout.zero_is_unknown,
        all_ratings=titles["imdb_rating"],
        least_titles=least_titles(layout, read_settings()),
    )
    path = files.write_text("feature_encoding", encoding.to_json())
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
            "preview": story.preview(rows, ["feature", "from", "range"], limit=len(rows)),
            "dagster/column_schema": story.table_schema(feature_columns(encoding)),
            "dagster/column_lineage": story.lineage(_feature_parents(encoding)),
            "file": dg.MetadataValue.path(str(path)),
        }
    )


@dg.asset(
    deps=["raw_media", "quarantine", "feature_encoding"],
    group_name=story.TRAINING,
    kinds={"parquet"},
    owners=story.OWNERS,
    code_version="1",
)
def training_table(files: DataFiles) -> dg.MaterializeResult[None]:
    """One row a judged film: its verdict, who gave it, and its features."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from atx_assets.learning.features import FeatureEncoding

    clock = story.Clock()
    titles, layout = read_titles(files)
    encoding = FeatureEncoding.from_json(files.read_text("feature_encoding"))
    training = titles.filter(titles["trains"])
    fixed = training.select([c.name for c in schemas.TRAINING_TABLE])
    columns = dict(zip(fixed.column_names, fixed.columns, strict=True))
    table = pa.table(columns | encoding.table(training))
    path = files.write_table("training_table", with_snapshot(table, snapshot_of(titles)))
    keeps = pc.sum(pc.cast(table["label"], "int64")).as_py() or 0
    by_person = pc.sum(pc.cast(pc.equal(table["label_source"], "human"), "int64")).as_py() or 0
    unjudged = pc.sum(pc.cast(titles["label"].is_null(), "int64")).as_py() or 0
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "judged films": table.num_rows,
            "keeps": keeps,
            "skips": table.num_rows - keeps,
            "judged by a person": by_person,
            "judged by a rule": table.num_rows - by_person,
            "unjudged films, left out": unjudged,
            "judged but left out": titles.num_rows - unjudged - table.num_rows,
            "features": len(encoding.names),
            "seconds": clock.seconds,
            "preview": story.preview(
                table, ["media_title", "label", "label_source", *encoding.names[:5]]
            ),
            "dagster/column_schema": story.table_schema(
                (*schemas.TRAINING_TABLE, *feature_columns(encoding))
            ),
            "dagster/column_lineage": story.lineage(
                {
                    **story.title_parents(layout.name),
                    **_feature_parents(encoding),
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
            **story.fingerprint_metadata(snapshot_of(titles)),
        }
    )


def least_titles(layout: Layout, settings: Settings) -> dict[str, int]:
    """Return how many training titles a category of each column needs to become a feature."""
    least = dict.fromkeys((*layout.lists, *layout.singles), settings.category_min_titles)
    if "production_companies" in least:
        least["production_companies"] = settings.company_min_titles
    return least


def feature_columns(encoding: FeatureEncoding) -> list[schemas.Column]:
    """Describe the features as columns: each number, and the categories of a kind in one line.

    One line each would be hundreds, under which an asset's page hides its story.
    """
    numbers = [
        schemas.Column(n.feature, "float", f"{n.column}, scaled to 0-1 over the training rows")
        for n in encoding.numeric
    ]
    flags = [
        schemas.Column(
            f"{g.column}_…",
            "uint8",
            f"{len(g.categories)} columns, one a category: 1 where {g.column} has it",
        )
        for g in encoding.categorical
    ]
    return numbers + flags


def _feature_parents(encoding: FeatureEncoding) -> dict[str, list[tuple[dg.AssetKey, str]]]:
    parent = dg.AssetKey("raw_media")
    numbers = {n.feature: [(parent, n.column)] for n in encoding.numeric}
    flags = {f"{g.column}_…": [(parent, g.column)] for g in encoding.categorical}
    return numbers | flags


@dataclass(frozen=True)
class TrainingData:
    """The training table as models take it: n rows ordered by key."""

    table: pa.Table
    encoding: FeatureEncoding
    matrix: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


def read_training_data(files: DataFiles) -> TrainingData:
    """Read the training table and its encoding.

    Raises:
        AtxError: one is missing, they do not belong together, or there are too few labels.
    """
    import numpy as np

    from atx_assets.learning.evaluation import require_enough_labels
    from atx_assets.learning.features import FeatureEncoding

    table = files.read_table("training_table")
    encoding = FeatureEncoding.from_json(files.read_text("feature_encoding"))
    if table.column_names[len(schemas.TRAINING_TABLE) :] != encoding.names:
        raise AtxError(
            "training_table was made with another feature_encoding: materialise "
            "training_table again, or run full_rebuild"
        )
    labels = table["label"].to_numpy().astype(int)
    require_enough_labels(labels)
    matrix = np.empty((table.num_rows, len(encoding.names)), np.float32)
    for at, name in enumerate(encoding.names):
        matrix[:, at] = table[name].to_numpy()
    return TrainingData(table, encoding, matrix, labels)


def what_was_learned(data: TrainingData) -> dict[str, str]:
    """Say what was learned from, as sensors and the nightly schedule compare it."""
    fingerprints = story.fingerprint_metadata(snapshot_of(data.table))
    return {**fingerprints, "atx/recipe": recipe_version(read_settings())}


def training_sha256(data: TrainingData) -> str:
    """Fingerprint the rows alone, and not the state of the other films that they carry along."""
    import pyarrow as pa

    rows = data.table.replace_schema_metadata(None).combine_chunks()
    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows)
        return hashlib.sha256(stream.getvalue()).hexdigest()
