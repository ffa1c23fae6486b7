"""The source's rows as every other asset takes them, and those that are set aside.

Not here: which rows are set aside (`sources/contract.py`), when that stops a run (`checks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.extracted import in_words, read_sorted, with_snapshot
from atx_assets.resources.files import DataFiles

#: Lines of a table of reasons or mends on the page.
_KINDS_SHOWN = 12


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
    path = files.write_table("quarantine", with_snapshot(table, snapshot))
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


def _kinds(counts: Mapping[str, int], what: str, of: str) -> Any:
    if not counts:
        return dg.MetadataValue.md("none")
    most = sorted(counts.items(), key=lambda item: -item[1])
    rows = [{what: kind, of: number} for kind, number in most]
    return story.preview(rows, [what, of], limit=_KINDS_SHOWN)
