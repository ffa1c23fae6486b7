"""`atx doctor` on files: room on disk, the data folder's writer, quarantine, leftovers, backups.

Each check returns what it found, as a `Note` if it is worth knowing, and raises an AtxError with
the fix if a run or a reader would fail. Not here: servers (`doctor.py`), settings (`settings.py`),
versions and records (`records.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from atx_assets.errors import AtxError, FileError, Note
from atx_assets.home.backup.record import last_backup
from atx_assets.settings import Settings
from atx_assets.sources.extracted import in_words, set_aside, too_many
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.locks import take_lock

#: A run makes about a hundred files, and PostgreSQL as many.
_LEAST_INODES = 2_000


def check_inodes(settings: Settings) -> str:
    """Check that the disks have inodes left: they may run out before the bytes do."""
    for folder, name in ((settings.home, "ATX_HOME"), (settings.data_dir, "ATX_DATA_DIR")):
        if not folder.is_dir():
            continue
        disk = os.statvfs(folder)
        if disk.f_files and disk.f_favail < _LEAST_INODES:  # btrfs reports none
            raise AtxError(
                f"the disk of {folder} has room for {disk.f_favail} more files, and a run needs "
                f"{_LEAST_INODES:,}: remove small files there, or set {name}"
            )
    return "enough"


def check_writer(settings: Settings) -> str:
    """Say who is writing to the data folder. The kernel frees the lock when its holder dies."""
    lock = settings.data_dir / ".writer.lock"
    try:
        with lock.open("r") as file:
            try:
                take_lock(file.fileno(), lock, shared=True)
            except BlockingIOError:
                return Note(f"{file.read() or 'somebody'} is writing to it; others wait")
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise AtxError(f"{lock} is another user's: run atx as the owner of the folder") from error
    return "nobody is writing to it"


def check_quarantine(settings: Settings) -> str:
    """Say how many rows of the source could not be used when it was last read.

    Raises:
        AtxError: there are so many that runs stop.
    """
    files = DataFolder(settings.data_dir)
    if not files.path("quarantine").exists():
        return Note("not checked yet: `atx run` checks them")
    quarantined, read = set_aside(files)
    counted = in_words(quarantined, read)
    if limit := too_many(quarantined, read, settings):
        raise AtxError(
            f"{counted}{limit}, and runs stop: fix them at their source (`atx show "
            "quarantine` lists them) or set it higher, then `atx run`"
        )
    return Note(f"{counted}: `atx show quarantine` says why") if quarantined else counted


def check_leftovers(settings: Settings) -> str:
    """Look for files that crashes have left half-written."""
    left = [*_left(settings.data_dir), *_left(settings.data_dir / "models")]
    left += [path.name for path in settings.home.glob("postgres.new-*")]
    for folder in (settings.home, settings.data_dir):
        left += [p.name for p in folder.parent.glob(f".{folder.name}.restoring")]
    if left:
        return Note(
            f"a crash left {', '.join(sorted(left))}: harmless; the next step that writes the same "
            "file overwrites or removes it"
        )
    return "none"


def check_backups(settings: Settings) -> str:
    """Say when the last backup was made. A missing backup, or record of one, fails no run."""
    try:
        last = last_backup(settings.home)
    except FileError as error:
        return Note(str(error))
    if last is None:
        return Note("none is recorded: `atx backup` makes one")
    return f"the last was made on {last:%Y-%m-%d %H:%M}"


def _left(folder: Path) -> list[str]:
    return [p.name for pattern in (".*.new", ".new-*") for p in folder.glob(pattern)]
