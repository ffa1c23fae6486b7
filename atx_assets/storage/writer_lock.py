"""The lock that lets one process at a time write to the data folder, and removing leftovers.

Not here: the lock itself (`locks.py`), the files (`data_folder.py`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets.storage.data_folder import FILES, SCRATCH
from atx_assets.storage.disk_errors import writable
from atx_assets.storage.locks import wait_for_lock


@contextmanager
def only_writer(folder: Path, run_id: str, log: logging.Logger | None) -> Iterator[None]:
    """Wait until no other process writes to the folder, and keep others out.

    The kernel releases the lock when its process ends, in whatever way.
    """
    with writable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ".writer.lock").touch(mode=0o600)
        opened = (folder / ".writer.lock").open("a+b", buffering=0)
    with opened as lock:

        def name_writer() -> None:
            if log is not None:
                lock.seek(0)
                writer = lock.read().decode()
                log.info("waiting for run %s, which is writing to %s", writer, folder)

        wait_for_lock(lock.fileno(), folder / ".writer.lock", waiting=name_writer, pause=0.5)
        with writable(folder):
            lock.truncate(0)
            lock.write(run_id.encode())
        _sweep(folder)
        yield


def _sweep(folder: Path) -> None:
    """Remove half-written files of a process that was killed; the caller holds the folder.

    Only files with a name of ours: others may use the folder as well.
    """
    models = folder / "models"
    ours = [
        *(left for left in folder.glob(".*.new") if _is_ours(left.name)),
        *models.glob(".champion.json*.new"),
        *models.glob("[0-9]*/.*.json*.new"),
    ]
    with writable(folder):
        for left in ours:
            left.unlink(missing_ok=True)
    for asset in FILES:
        shutil.rmtree(folder / f".{asset}{SCRATCH}", ignore_errors=True)


def _is_ours(beside: str) -> bool:
    name = beside.removeprefix(".").removesuffix(".new").removesuffix(".sha256")
    return name in FILES.values() or name.startswith("report_")
