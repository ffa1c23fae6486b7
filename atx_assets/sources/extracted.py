"""What extracted rows and titles carry along, and how many rows are set aside, in words.

Not here: sorting rows and making titles (`sorted_library.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from atx_assets.settings import Settings
from atx_assets.sources.layouts import LAYOUTS, Layout
from atx_assets.storage.data_folder import DataFolder

if TYPE_CHECKING:
    import pyarrow as pa


#: The name under which parquet files carry a snapshot along.
_SNAPSHOT = b"atx"


def with_snapshot(table: pa.Table, snapshot: Mapping[str, Any]) -> pa.Table:
    """Return the table carrying what it was made from: layout and fingerprints."""
    return table.replace_schema_metadata({_SNAPSHOT: json.dumps(dict(snapshot)).encode()})


def snapshot_of(table: pa.Table) -> dict[str, Any]:
    """Return what `with_snapshot` attached."""
    said = json.loads((table.schema.metadata or {})[_SNAPSHOT])
    return {name: said[name] for name in ("layout", "fingerprints")}


def fingerprint_metadata(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprints as metadata; sensors compare them with the database's."""
    return {f"atx/{k}": v for k, v in snapshot["fingerprints"].items()}


def read_titles(files: DataFolder, columns: Collection[str] | None = None) -> pa.Table:
    """Read the titles, or those of their columns that are named.

    Raises:
        AtxError: the file is missing or damaged.
    """
    return files.read_table("titles", columns)


def layout_of(table: pa.Table) -> Layout:
    """Return the layout of the source that extracted rows or titles are from."""
    return LAYOUTS[snapshot_of(table)["layout"]]


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


def set_aside(files: DataFolder) -> tuple[int, int]:
    """Return how many rows were set aside, and how many read; none before the first run.

    Raises:
        AtxError: a file is damaged.
    """
    if not files.path("quarantine").exists():
        return 0, 0
    quarantine = files.read_table("quarantine", ())
    said = json.loads((quarantine.schema.metadata or {}).get(_SNAPSHOT, b"{}"))
    read: int = said.get("rows_read", 0)
    if not read and files.path("raw_media").exists():  # an earlier atx made it
        read = files.read_table("raw_media", ()).num_rows
    return quarantine.num_rows, read


def told_if_any(files: DataFolder) -> str:
    """Say how many rows are set aside; nothing where none is."""
    quarantined, read = set_aside(files)
    return in_words(quarantined, read) if quarantined else ""
