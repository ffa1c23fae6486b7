"""The source tables in PostgreSQL, and their copy. Not here: what rows mean."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.automation.failures import started_by_itself
from atx_assets.automation.observe import gone_from
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.defs.resources.media_database import MediaDatabase
from atx_assets.errors import AtxError
from atx_assets.sample import MADE_UP, is_sample
from atx_assets.sources.extracted import fingerprint_metadata
from atx_assets.sources.layouts import FILM

if TYPE_CHECKING:
    from atx_assets.sources.observed_labels import States
    from atx_assets.sources.observed_record import ObservedRecord

MEDIA_TABLE = dg.AssetSpec(
    ["atp", "media"],
    group_name=asset_page.DATABASE,
    kinds={"postgres", "table"},
    owners=asset_page.OWNERS,
    description="The downloader's table of releases. It has the labels in the `media` layout.",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.MEDIA)},
)
TRAINING_SOURCE = dg.AssetSpec(
    ["atp", "training"],
    group_name=asset_page.DATABASE,
    kinds={"postgres", "table"},
    owners=asset_page.OWNERS,
    description="The later database's table of titles. It has the labels in the `training` layout.",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.TRAINING)},
)


@dg.asset(
    deps=[MEDIA_TABLE, TRAINING_SOURCE],
    group_name=asset_page.DATABASE,
    kinds={"postgres", "parquet"},
    owners=asset_page.OWNERS,
    code_version="1",
)
def raw_media(
    context: dg.AssetExecutionContext,
    current_settings: CurrentSettings,
    media_database: MediaDatabase,
    files: DataFiles,
) -> dg.MaterializeResult[None]:
    """The source table, unchanged: every row and column at one moment."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from atx_assets.sources.observed_record import ObservedRecord, observed
    from atx_assets.sources.read.extract import extract
    from atx_assets.sources.read.fingerprints import read_fingerprints

    if gone := gone_from(context.instance, files.folder):
        if started_by_itself(context.run):
            raise AtxError(gone)
        context.log.warning("%s. A person started this run: it starts without them", gone)
    clock = asset_page.Clock()
    path = files.path("raw_media")
    # The transaction ends before the file is replaced: a server that stops after the last row
    # fails the run, which must then have changed nothing.
    settings = current_settings.read()
    record = ObservedRecord(settings.home)
    with files.replacing(path) as new_file:
        with media_database.reading(settings) as (connection, visible_source):
            source, states = observed(connection, visible_source, record.home, files.folder)
            context.log.info("reading atp.%s (%s layout)", source.layout.table, source.layout.name)
            fingerprints = asdict(read_fingerprints(connection, source))
            snapshot = {"layout": source.layout.name, "fingerprints": fingerprints}
            rows = extract(connection, source, new_file, snapshot)
        of_models = _record(record, states, new_file) if states else []
    # The file is replaced after the record is written: a run that is killed between the two leaves
    # a record of the table's content, to which the next extraction adds nothing new.
    if of_models:
        context.log.warning(
            "%d labels of reviewed rows are not learned from: the downloader gave them",
            len(of_models),
        )
    # Only single columns are read again: memory must not grow with the table.
    types = pq.read_table(path, columns=["media_type"])["media_type"]
    kinds = {str(v["values"]): v["counts"] for v in pc.value_counts(types).to_pylist()}
    first: Any = next(pq.ParquetFile(path).iter_batches(asset_page.PREVIEW_ROWS), [])
    columns = {c.name: c for c in source.layout.columns}
    made_up = "hash" in source.columns and is_sample(pq.read_table(path, columns=["hash"])["hash"])
    present = [
        columns.get(n, schemas.Column(n, schemas.STRING, "not one of the layout's columns"))
        for n in source.columns
    ]
    key = dg.AssetKey(["atp", source.layout.table])
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            **({"note": MADE_UP} if made_up else {}),
            "rows of films": kinds.get(FILM, 0),
            "other media, left alone": rows - kinds.get(FILM, 0),
            "layout": source.layout.name,
            "seconds": clock.seconds,
            **_observed_metadata(of_models),
            "preview": asset_page.preview(
                first, ["media_title", "release_year", "genre", "label", "rejection_status"]
            ),
            "dagster/column_schema": asset_page.table_schema(present),
            "dagster/column_lineage": asset_page.lineage({n: [(key, n)] for n in source.columns}),
            "file": dg.MetadataValue.path(str(path)),
            **fingerprint_metadata(snapshot),
        }
    )


def _record(record: "ObservedRecord", states: "States", extracted: Path) -> list[dict[str, Any]]:
    """Record the observed labels; return those that a model gave, with their titles."""
    import pyarrow.parquet as pq

    from atx_assets.sources.observed_labels import of_models

    rows = pq.read_table(extracted, columns=["imdb_id", "media_title"], memory_map=False)
    columns = (rows[name].to_pylist() for name in ("imdb_id", "media_title"))
    names = dict(zip(*columns, strict=True))
    record.write(states, names)
    return of_models(states, names)


def _observed_metadata(of_models: list[dict[str, Any]]) -> dict[str, Any]:
    if not of_models:
        return {}
    return {
        "labels of the downloader's": len(of_models),
        "not learned from": asset_page.preview(
            of_models, ["title", "was", "is", "why"], limit=len(of_models)
        ),
    }
