"""The source's rows as every other asset takes them, and those that are set aside.

Not here: which rows are set aside (`sources/contract.py`), when that stops a run (`checks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.resources.files import DataFiles
from atx_assets.settings import Settings

if TYPE_CHECKING:
    from atx_assets.sources.contract import SortedRows
    from atx_assets.sources.layouts import Layout

#: Lines of a table of reasons or mends on the page.
_KINDS_SHOWN = 12


def read_sorted(files: DataFiles) -> tuple[SortedRows, dict[str, Any], Layout]:
    """Sort the extracted rows; return them with what they are a snapshot of, and their layout.

    They have the columns that atx uses alone: one film's overview may be larger than a library.

    Raises:
        AtxError: the file is missing, damaged, or not of its layout.
    """
    from atx_assets.sources.contract import sort_rows
    from atx_assets.sources.layouts import LAYOUTS

    used = {
        column.name
        for layout in LAYOUTS.values()
        for column in layout.columns
        if column.required or column.type in (schemas.BOOL, schemas.TIME)
    }
    rows = files.read_table("raw_media", used)
    snapshot = story.snapshot_of(rows)
    layout = LAYOUTS[snapshot["layout"]]
    return sort_rows(rows, layout), snapshot, layout


@dg.asset(
    deps=["raw_media"],
    group_name=story.DATABASE,
    kinds={"parquet"},
    owners=story.OWNERS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.QUARANTINE)},
)
def quarantine(files: DataFiles) -> dg.MaterializeResult[None]:
    """Rows of the source that cannot be used, each with its reasons; all others go on."""
    from atx_assets.sources.extract import mended_on_reading
    from atx_assets.sources.quarantine import quarantine_table

    clock = story.Clock()
    found, snapshot, layout = read_sorted(files)
    source = files.path("raw_media")
    table = quarantine_table(source, found, layout)
    path = files.write_table("quarantine", story.with_snapshot(table, snapshot))
    mends = found.mends | {f"while reading: {k}": n for k, n in mended_on_reading(source).items()}
    raw = dg.AssetKey("raw_media")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "in short": in_words(found.quarantined, found.read),
            "rows read": found.read,
            "good": found.good,
            "mended": found.mended,
            "set aside": found.quarantined,
            "share set aside": round(found.share, 6),
            "seconds": clock.seconds,
            "reasons": _kinds(found.reasons, "reason", "rows"),
            "mends": _kinds(mends, "mend", "values"),
            "preview": story.preview(table, ["media_title", "source_key", "reasons"])
            if table.num_rows
            else dg.MetadataValue.md("No row is set aside."),
            "dagster/column_lineage": story.lineage(
                {
                    "source_key": [(raw, layout.key)],
                    **{n: [(raw, n)] for n in ("imdb_id", "media_title", "media_type")},
                    "reasons": [(raw, c.name) for c in layout.columns if c.required],
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
        }
    )


def in_words(quarantined: int, read: int) -> str:
    """Say how many rows are set aside."""
    if not quarantined:
        return f"none of {read:,} rows is set aside"
    are = "is" if quarantined == 1 else "are"
    return f"{quarantined:,} of {read:,} rows {are} set aside ({quarantined / read:.2%})"


def too_many(quarantined: int, read: int, settings: Settings) -> str:
    """Say so where more rows are set aside than runs go on with; else nothing."""
    if not read or quarantined / read <= settings.quarantine_block:
        return ""
    return f", more than ATX_QUARANTINE_BLOCK ({settings.quarantine_block:g}) lets"


def set_aside(files: DataFiles) -> tuple[int, int]:
    """Return how many rows were set aside, and how many read; none before the first run.

    Raises:
        AtxError: a file is damaged.
    """
    if not all(files.path(name).exists() for name in ("quarantine", "raw_media")):
        return 0, 0
    return files.read_table("quarantine", ()).num_rows, files.read_table("raw_media", ()).num_rows


def told_if_any(files: DataFiles) -> str:
    """Say how many rows are set aside; nothing where none is."""
    quarantined, read = set_aside(files)
    return in_words(quarantined, read) if quarantined else ""


def _kinds(counts: Mapping[str, int], what: str, of: str) -> Any:
    if not counts:
        return dg.MetadataValue.md("none")
    most = sorted(counts.items(), key=lambda item: -item[1])
    rows = [{what: kind, of: number} for kind, number in most]
    return story.preview(rows, [what, of], limit=_KINDS_SHOWN)
