"""A home that was moved or copied: its MLflow store made one of the place where it is now.

The store names its artifacts by absolute paths. Left as it is, a moved home would write new ones
to the old path, which MLflow makes again, and a copy into the home that it was copied from; a
backup of either would lack them. Not here: the rewriting itself (`mlflow_store.py`).
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
    """Make the embedded store one of the home where it is now, if it was moved or copied.

    Artifacts that an earlier atx wrote to the old path meanwhile are copied over; nothing there is
    changed, as it may be somebody's home.

    Raises:
        MlflowError: the store or its artifacts cannot be read or written.
    """
    if former_home(settings) is None:
        return
    (settings.home / "locks").mkdir(mode=0o700, exist_ok=True)
    with locked(
        settings.home / "locks" / "upgrade", waiting_for="another atx that makes the home ready"
    ):
        before = former_home(settings)  # another one may have done it meanwhile
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
                f"the home was moved from {before}, and what MLflow keeps cannot be taken along "
                f"({error}): see that both can be read, and {settings.home} written to"
            ) from error
    logger.info("the home was moved or copied from %s: MLflow's store names this one now", before)
    if copied:
        logger.info(
            "copied the artifacts of %s runs and models that had been written to %s",
            f"{copied:,}",
            before / "mlflow" / "artifacts",
        )


def _copy_missing(store: Path, before: Path, home: Path) -> int:
    """Copy artifacts that the store names and that are at the old path alone; return how many."""
    copied = 0
    for folder in artifact_folders(store, before):
        old, new = before / "mlflow" / folder, home / "mlflow" / folder
        if os.path.lexists(new) or not os.path.isdir(old):  # noqa: PTH112 no error where it is not ours to see
            continue
        new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = new.with_name(f".{new.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(old, beside)
        beside.rename(new)
        copied += 1
    return copied
