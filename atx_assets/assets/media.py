"""The source tables in PostgreSQL, and their copy. Not here: what rows mean."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.extracted import read_titles
from atx_assets.automation.failures import started_by_itself
from atx_assets.automation.observe import gone_from
from atx_assets.errors import AtxError
from atx_assets.resources.files import DataFiles
from atx_assets.resources.media_database import MediaDatabase
from atx_assets.sample import MADE_UP, is_sample
from atx_assets.settings import read_settings
from atx_assets.sources.label_changes import LabelChanges, label_changes
from atx_assets.sources.verdicts import FILM

if TYPE_CHECKING:
    from atx_assets.resources.observed_record import ObservedRecord
    from atx_assets.sources.observed_labels import States

MEDIA_TABLE = dg.AssetSpec(
    ["atp", "media"],
    group_name=story.DATABASE,
    kinds={"postgres", "table"},
    owners=story.OWNERS,
    description="The downloader's table of releases; in the `media` layout the labels are here.",
    metadata={"dagster/column_schema": story.table_schema(schemas.MEDIA)},
)
TRAINING_SOURCE = dg.AssetSpec(
    ["atp", "training"],
    group_name=story.DATABASE,
    kinds={"postgres", "table"},
    owners=story.OWNERS,
    description="The later database's table of titles; in the `training` layout, labels are here.",
    metadata={"dagster/column_schema": story.table_schema(schemas.TRAINING)},
)


@dg.asset(
    deps=[MEDIA_TABLE, TRAINING_SOURCE],
    group_name=story.DATABASE,
    kinds={"postgres", "parquet"},
    owners=story.OWNERS,
    code_version="1",
)
def raw_media(
    context: dg.AssetExecutionContext, media_database: MediaDatabase, files: DataFiles
) -> dg.MaterializeResult[None]:
    """The source table as it stands, every row and column, at one moment."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from atx_assets.resources.observed_record import ObservedRecord, observed
    from atx_assets.sources.extract import extract
    from atx_assets.sources.fingerprints import read_fingerprints

    if gone := gone_from(context.instance, files.folder):
        if started_by_itself(context.run):
            raise AtxError(gone)
        context.log.warning("%s. A person started this run: it begins anew", gone)
    clock = story.Clock()
    path = files.path("raw_media")
    # The transaction ends before the file is replaced: a server that stops after the last row
    # fails the run, which must then have changed nothing.
    record = ObservedRecord(read_settings().home)
    with files.replacing(path) as beside:
        with media_database.reading() as (connection, found_source):
            source, states = observed(connection, found_source, record.home, files.folder)
            context.log.info("reading atp.%s (%s layout)", source.layout.table, source.layout.name)
            fingerprints = asdict(read_fingerprints(connection, source))
            snapshot = {"layout": source.layout.name, "fingerprints": fingerprints}
            rows = extract(connection, source, beside, snapshot)
        of_models = _record(record, states, beside) if states else []
    # The file takes its place after the record: whoever is killed between the two leaves a record
    # of what the table holds, from which the next extraction sees nothing new.
    if of_models:
        context.log.warning(
            "%d labels of reviewed rows are not learned from: the downloader gave them",
            len(of_models),
        )
    # Not the whole file again: memory must not grow with the table.
    types = pq.read_table(path, columns=["media_type"])["media_type"]
    kinds = {str(v["values"]): v["counts"] for v in pc.value_counts(types).to_pylist()}
    first: Any = next(pq.ParquetFile(path).iter_batches(story.PREVIEW_ROWS), [])
    columns = {c.name: c for c in source.layout.columns}
    made_up = "hash" in source.columns and is_sample(pq.read_table(path, columns=["hash"])["hash"])
    found = [
        columns.get(n, schemas.Column(n, schemas.STRING, "not one of the layout's columns"))
        for n in source.columns
    ]
    key = dg.AssetKey(["atp", source.layout.table])
    changes = _label_changes(context, files) if kinds.get(FILM) else None
    if changes is not None:
        _tell(context, changes)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            **({"note": MADE_UP} if made_up else {}),
            "rows of films": kinds.get(FILM, 0),
            "other media, left alone": rows - kinds.get(FILM, 0),
            "layout": source.layout.name,
            "seconds": clock.seconds,
            **_changes_metadata(changes),
            **_observed_metadata(of_models),
            "preview": story.preview(
                first, ["media_title", "release_year", "genre", "label", "rejection_status"]
            ),
            "dagster/column_schema": story.table_schema(found),
            "dagster/column_lineage": story.lineage({n: [(key, n)] for n in source.columns}),
            "file": dg.MetadataValue.path(str(path)),
            **story.fingerprint_metadata(snapshot),
        }
    )


def _label_changes(context: dg.AssetExecutionContext, files: DataFiles) -> LabelChanges | None:
    """Compare the labels just read with those learned from last; None where nothing was learned."""
    if not files.path("training_table").exists():
        return None
    try:
        titles, _ = read_titles(files)
        learned = files.read_table("training_table")
    except AtxError as error:
        # This run may be the one that makes it again; or no row can be used, which a check tells.
        context.log.warning("labels cannot be compared with the last training: %s", error)
        return None
    return label_changes(titles, learned)


def _tell(context: dg.AssetExecutionContext, changes: LabelChanges) -> None:
    """Say on the run's page and in its log why there is something to do."""
    context.log.info("labels since the last training: %s", changes)
    context.instance.add_run_tags(context.run.run_id, {"atx/labels": str(changes)})


def _record(record: "ObservedRecord", states: "States", extracted: Path) -> list[dict[str, Any]]:
    """Write down what was seen of labels; return those that are a model's, with their titles."""
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
        "not learned from": story.preview(
            of_models, ["title", "was", "is", "why"], limit=len(of_models)
        ),
    }


def _changes_metadata(changes: LabelChanges | None) -> dict[str, Any]:
    if changes is None:
        return {}
    return {
        "labels added": changes.added,
        "labels changed": changes.changed,
        "labels removed": changes.removed,
        "changed since the last training": story.preview(
            changes.first, ["media_title", "release_year", "was", "is"], limit=len(changes.first)
        ),
    }
