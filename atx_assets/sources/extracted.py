"""The snapshot that extracted rows and titles carry, and how many rows are set aside, in words.

Not here: sorting rows and making titles (`sorted_library.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from atx_assets.settings import Settings
from atx_assets.sources.layouts import LAYOUTS, Layout
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.parts import CARRIED, carried_by

if TYPE_CHECKING:
    import pyarrow as pa


def with_snapshot(table: pa.Table, snapshot: Mapping[str, Any]) -> pa.Table:
    """Return the table with what it was made from attached: layout and fingerprints."""
    return table.replace_schema_metadata({CARRIED: json.dumps(dict(snapshot)).encode()})


def snapshot_of(table: pa.Table) -> dict[str, Any]:
    """Return what `with_snapshot` attached."""
    said = carried_by(table.schema)
    return {name: said[name] for name in ("layout", "fingerprints")}


def fingerprint_metadata(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprints as metadata; sensors compare them with the database's."""
    return {f"atx/{k}": v for k, v in snapshot["fingerprints"].items()}


def read_titles(files: DataFolder, columns: Collection[str] | None = None) -> pa.Table:
    """Read the titles, all columns or only the named ones.

    Raises:
        AtxError: the file is missing or damaged.
    """
    return files.read_table("titles", columns)


def layout_of(table: pa.Table) -> Layout:
    """Return the source layout of extracted rows or titles."""
    return LAYOUTS[snapshot_of(table)["layout"]]


def in_words(quarantined: int, read: int) -> str:
    """Say how many rows are set aside."""
    if not quarantined:
        return f"none of {read:,} rows is set aside"
    are = "is" if quarantined == 1 else "are"
    return f"{quarantined:,} of {read:,} rows {are} set aside ({quarantined / read:.2%})"


def too_many(quarantined: int, read: int, settings: Settings) -> str:
    """Say so if more rows are set aside than a run accepts; otherwise return nothing."""
    if not read or quarantined / read <= settings.quarantine_block:
        return ""
    return f", more than ATX_QUARANTINE_BLOCK ({settings.quarantine_block:g}) allows"


def set_aside(files: DataFolder) -> tuple[int, int]:
    """Return how many rows were set aside, and how many read; zeros before the first run.

    Raises:
        AtxError: a file is damaged.
    """
    if not files.path("quarantine").exists():
        return 0, 0
    quarantine = files.read_table("quarantine", ())
    read: int = carried_by(quarantine.schema).get("rows_read", 0)
    if not read and files.path("raw_media").exists():  # made by an earlier atx
        read = files.read_table("raw_media", ()).num_rows
    return quarantine.num_rows, read


def told_if_any(files: DataFolder) -> str:
    """Say how many rows are set aside; nothing if there are none."""
    quarantined, read = set_aside(files)
    return in_words(quarantined, read) if quarantined else ""
