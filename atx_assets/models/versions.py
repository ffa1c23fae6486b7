"""Which versions of the model are in the data folder. Not here: what is in them (`bundles.py`).

Sensors ask at each tick: reading a version needs numpy and Arrow, and listing the folder neither.
"""

from __future__ import annotations

from pathlib import Path

from atx_assets.storage.data_folder import DataFolder


def models_folder(files: DataFolder) -> Path:
    """Return the folder of all versions."""
    return files.folder / "models"


def kept_versions(files: DataFolder) -> list[int]:
    """Return the versions that are kept, the oldest first."""
    folder = models_folder(files)
    if not folder.exists():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
