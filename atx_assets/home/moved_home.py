"""Updates the MLflow store of a home that was moved or copied to the home's new path.

The store names its artifacts by absolute paths. Unchanged, a moved home would write new artifacts
to the old path, which MLflow creates again, and a copied home into the original; a backup of either
would lack them. Not here: the rewriting itself (`mlflow_store.py`).
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path

from atx_assets.errors import MlflowError
from atx_assets.home.mlflow_store import artifact_folders, move_store
from atx_assets.models.mlflow_server import embedded_store, former_home
from atx_assets.models.sqlite_faults import store_fault
from atx_assets.settings import Settings
from atx_assets.storage.locks import locked

logger = logging.getLogger(__name__)


def follow_home(settings: Settings) -> None:
    """Update the paths in the embedded store if the home was moved or copied.

    Artifacts that an earlier atx has since written to the old path are copied. Nothing there is
    changed, because it may be another home in use.

    Raises:
        MlflowError: the store or its artifacts cannot be read or written.
    """
    if former_home(settings) is None:
        return
    (settings.home / "locks").mkdir(mode=0o700, exist_ok=True)
    with locked(
        settings.home / "locks" / "upgrade", waiting_for="another atx that prepares the home"
    ):
        before = former_home(settings)  # another atx may have done it meanwhile
        if before is None:
            return
        store = embedded_store(settings)
        try:
            copied = _copy_missing(store, before, settings.home)
            move_store(store, settings.home / "mlflow" / "artifacts", before, settings.home)
        except sqlite3.Error as error:
            raise MlflowError(f"{store} {store_fault(store, error)}") from error
        except (OSError, shutil.Error) as error:
            raise MlflowError(
                f"the home was moved from {before}, and MLflow's store cannot be updated "
                f"({error}): check that both can be read, and {settings.home} written to"
            ) from error
    logger.info("the home was moved or copied from %s: updated the paths in MLflow's store", before)
    if copied:
        logger.info(
            "copied the artifacts of %s runs and models that had been written to %s",
            f"{copied:,}",
            before / "mlflow" / "artifacts",
        )


def _copy_missing(store: Path, before: Path, home: Path) -> int:
    """Copy artifacts that the store names and only the old path has; return how many."""
    copied = 0
    for folder in artifact_folders(store, before):
        old, new = before / "mlflow" / folder, home / "mlflow" / folder
        if os.path.lexists(new) or not os.path.isdir(old):  # noqa: PTH112 no error if we may not look there
            continue
        new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = new.with_name(f".{new.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(old, unfinished)
        unfinished.rename(new)
        copied += 1
    return copied
