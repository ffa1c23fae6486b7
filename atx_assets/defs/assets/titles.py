"""Turns the source's rows into titles, which every later asset reads, and sets unusable rows aside.

Not here: which rows are set aside (`sources/contract.py`), what a title is (`sources/titles.py`).
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.sources.extracted import fingerprint_metadata, in_words, too_many, with_snapshot
from atx_assets.storage import data_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from atx_assets.sources.layouts import Layout
    from atx_assets.sources.sorted_library import SortedLibrary

#: Who gave labels: the page's words and the values of `label_source`.
_GIVERS = {
    "labelled by a person": "human",
    "labelled by a rule": "rule",
    "labelled by a model": "model",
    "unlabelled": None,
}
#: Lines in a table of reasons or mends on the page.
_KINDS_SHOWN = 12
_RAW = dg.AssetKey("raw_media")

QUARANTINE = dg.AssetSpec(
    "quarantine",
    deps=[_RAW],
    group_name=asset_page.DATABASE,
    kinds={"parquet"},
    owners=asset_page.OWNERS,
    code_version="2",
    description="Rows of the source that cannot be used, with the reasons. All others go on.",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.QUARANTINE)},
)
TITLES = dg.AssetSpec(
    "titles",
    deps=[_RAW],
    group_name=asset_page.DATABASE,
    kinds={"parquet"},
    owners=asset_page.OWNERS,
    code_version="1",
    description="One row per title, cleaned, with its label and who gave it.",
    metadata={"dagster/column_schema": asset_page.table_schema(schemas.TITLES)},
)


@dg.multi_asset(name="titles", specs=[QUARANTINE, TITLES], can_subset=True)
def titles(
    context: dg.AssetExecutionContext, current_settings: CurrentSettings, files: DataFiles
) -> Iterator[dg.MaterializeResult[None]]:
    """Sort the rows, set aside what cannot be used, and make titles from all others."""
    from atx_assets.sources.sorted_library import SortedLibrary

    clock = asset_page.Clock()
    with files.scratch("titles") as folder:
        library = SortedLibrary(files, folder)
        parts = files.fingerprints("raw_media")
        if QUARANTINE.key in context.selected_asset_keys:
            yield _quarantine(files, library, parts, clock)
        if TITLES.key not in context.selected_asset_keys:
            return
        counts = library.counts
        if limit := too_many(counts.quarantined, counts.read, current_settings.read()):
            # The existing titles stay, and with them everything that was made from them.
            context.log.error("%s%s", in_words(counts.quarantined, counts.read), limit)
            return
        yield _titles(files, library, parts)


def _quarantine(
    files: DataFiles, library: "SortedLibrary", parts: Mapping[str, str], clock: asset_page.Clock
) -> dg.MaterializeResult[None]:
    """Write the rows that are set aside, and return the asset's metadata."""
    from atx_assets.sources.quarantine import quarantine_table
    from atx_assets.sources.read.extract import mended_on_reading

    source, counts, layout = files.path("raw_media"), library.counts, library.layout
    table = quarantine_table(source, counts, layout)
    carried = with_snapshot(table, {**library.snapshot, "rows_read": counts.read})
    path = files.write_table("quarantine", carried, parts)
    mends = counts.mends | {f"while reading: {k}": n for k, n in mended_on_reading(source).items()}
    return dg.MaterializeResult(
        asset_key=QUARANTINE.key,
        metadata={
            "dagster/row_count": table.num_rows,
            "in short": in_words(counts.quarantined, counts.read),
            "rows read": counts.read,
            "good": counts.good,
            "mended": counts.mended,
            "set aside": counts.quarantined,
            "share set aside": round(counts.share, 6),
            "seconds": clock.seconds,
            "reasons": _kinds(counts.reasons, "reason", "rows"),
            "mends": _kinds(mends, "mend", "values"),
            "preview": asset_page.preview(table, ["media_title", "source_key", "reasons"])
            if table.num_rows
            else dg.MetadataValue.md("No row is set aside."),
            "dagster/column_lineage": asset_page.lineage(
                {
                    "source_key": [(_RAW, layout.key)],
                    **{n: [(_RAW, n)] for n in ("imdb_id", "media_title", "media_type")},
                    "reasons": [(_RAW, c.name) for c in layout.columns if c.required],
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
        },
    )


def _titles(
    files: DataFiles, library: "SortedLibrary", parts: Mapping[str, str]
) -> dg.MaterializeResult[None]:
    """Make and write the titles, and return the asset's metadata."""
    clock, tally = asset_page.Clock(), _Tally()
    with files.writing_table("titles", library.schema, parts) as writer:
        for table in library.titles():
            writer.write_table(table, data_folder.ROWS_A_GROUP)
            tally.add(table)
    return dg.MaterializeResult(
        asset_key=TITLES.key,
        metadata={
            "dagster/row_count": tally.titles,
            "titles": tally.titles,
            **tally.givers(),
            "learned from": tally.learned_from,
            "layout": library.layout.name,
            "seconds": clock.seconds,
            "preview": asset_page.preview(
                tally.first, ["media_title", "release_year", "label", "label_source"]
            ),
            "the preview shows": "the first titles that a model learns from",
            "dagster/column_schema": asset_page.table_schema(
                _columns(library.schema.names, library.layout)
            ),
            "dagster/column_lineage": asset_page.lineage(_parents(library.layout)),
            "file": dg.MetadataValue.path(str(files.path("titles"))),
            **fingerprint_metadata(library.snapshot),
        },
    )


class _Tally:
    """The figures on the asset's page, added up part by part."""

    def __init__(self) -> None:
        self.titles = self.learned_from = 0
        self.first: list[dict[str, Any]] = []
        self._givers: Counter[str | None] = Counter()

    def add(self, titles: "pa.Table") -> None:
        """Count the titles of a part, and remember the first that a model learns from."""
        from atx_assets.models.scored import counts

        trains = titles.filter(titles["trains"])
        self.titles += titles.num_rows
        self.learned_from += trains.num_rows
        self._givers.update(counts(titles["label_source"]))
        wanted = asset_page.PREVIEW_ROWS - len(self.first)
        self.first += trains.slice(0, wanted).to_pylist()

    def givers(self) -> dict[str, int]:
        """Return the number of titles by who gave their label."""
        return {words: self._givers[source] for words, source in _GIVERS.items()}


def _columns(names: Collection[str], layout: "Layout") -> list[schemas.Column]:
    known = {c.name: c for c in (*layout.columns, *schemas.TITLES)}
    return [known[name] for name in names]


def _parents(layout: "Layout") -> dict[str, list[tuple[dg.AssetKey, str]]]:
    """Return which columns of the source each column of the titles comes from."""
    labels = {
        "media": ("rejection_status", "rejection_reason"),
        "training": ("label", "human_labeled", "reviewed", "anomalous"),
    }[layout.name]
    own = {
        "key": ("imdb_id", "media_title", "release_year"),
        **dict.fromkeys(("label", "label_source", "trains"), labels),
        "label_reason": ("rejection_reason",) if layout.name == "media" else (),
        "label_date": ("updated_at",),
    }
    same = ("imdb_id", "tmdb_id", "media_title", "hash", "original_title", "created_at")
    known = {c.name for c in layout.columns}
    own |= {name: (name,) for name in (*same, *layout.features) if name in known}
    return {column: [(_RAW, name) for name in names] for column, names in own.items() if names}


def _kinds(counts: Mapping[str, int], what: str, of: str) -> Any:
    if not counts:
        return dg.MetadataValue.md("none")
    most = sorted(counts.items(), key=lambda item: -item[1])
    rows = [{what: kind, of: number} for kind, number in most]
    return asset_page.preview(rows, [what, of], limit=_KINDS_SHOWN)
