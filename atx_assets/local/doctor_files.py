"""`atx doctor` on files: room, the data folder's writer, results and models as written, backups.

Each check returns what it found, as a `Note` where that is to be known, and raises an AtxError
with the mend where a run or a reader would fail. Not here: servers (`doctor.py`), settings
(`doctor_settings.py`), versions and records (`doctor_records.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from atx_assets.assets.extracted import in_words, set_aside, too_many
from atx_assets.errors import AtxError
from atx_assets.file_lock import take_lock
from atx_assets.local.backup_record import last_backup
from atx_assets.local.doctor_note import Note
from atx_assets.resources.bundles import Bundles
from atx_assets.resources.checksums import is_damaged
from atx_assets.resources.data_folder import FILES, DataFolder, damaged, why_unreadable
from atx_assets.settings import Settings

#: A run makes some hundred files, and PostgreSQL as many.
_LEAST_INODES = 2_000


def check_inodes(settings: Settings) -> str:
    """See that there is room for more files, which may be over before the bytes are."""
    for folder, name in ((settings.home, "ATX_HOME"), (settings.data_dir, "ATX_DATA_DIR")):
        if not folder.is_dir():
            continue
        there = os.statvfs(folder)
        if there.f_files and there.f_favail < _LEAST_INODES:  # btrfs counts none
            raise AtxError(
                f"the disk of {folder} has room for {there.f_favail} more files, and a run needs "
                f"{_LEAST_INODES:,}: remove small files there, or set {name}"
            )
    return "enough"


def check_writer(settings: Settings) -> str:
    """Say who writes to the data folder now; the kernel frees its lock when a holder dies."""
    lock = settings.data_dir / ".writer.lock"
    try:
        with lock.open("r") as file:
            try:
                take_lock(file.fileno(), lock, shared=True)
            except BlockingIOError:
                return Note(f"{file.read() or 'somebody'} is writing to it; others wait for that")
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise AtxError(f"{lock} is another user's: run atx as the owner of the folder") from error
    return "nobody is writing to it"


def check_results(settings: Settings) -> str:
    """Read each asset's file to its end."""
    files = DataFolder(settings.data_dir)
    there = [name for name in FILES if files.path(name).exists()]
    if not there:
        return Note("none yet: `atx run` makes them")
    faults = [fault for name in there if (fault := _fault(files, name))]
    for figure in sorted(settings.data_dir.glob("report_*.png")):
        if is_damaged(figure):
            faults.append(damaged(figure, "analysis_report"))
    if faults:
        raise AtxError("; ".join(faults))
    missing = [FILES[name] for name in FILES if name not in there]
    if missing:
        return Note(f"{', '.join(missing)} missing: `atx run` makes what is not there")
    return f"{len(there)} files, all readable"


def check_quarantine(settings: Settings) -> str:
    """Say how many rows of the source could not be used when it was read last.

    Raises:
        AtxError: so many that runs are stopped.
    """
    files = DataFolder(settings.data_dir)
    if not files.path("quarantine").exists():
        return Note("not sorted yet: `atx run` does")
    quarantined, read = set_aside(files)
    told = in_words(quarantined, read)
    if limit := too_many(quarantined, read, settings):
        raise AtxError(
            f"{told}{limit}, and runs are stopped: mend them at their source (`atx show "
            "quarantine` lists them) or set it higher, then `atx run`"
        )
    return Note(f"{told}: `atx show quarantine` says why") if quarantined else told


def _fault(files: DataFolder, asset: str) -> str:
    """Say what is wrong with an asset's file, and the mend; nothing if it is well."""
    path = files.path(asset)
    try:
        if is_damaged(path):
            if asset == "tuned_classifier":  # a copy of the champion's: no training for that
                return f"{path} is damaged: `atx run --select key:scored_results` copies it anew"
            return damaged(path, asset)
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            try:
                for _ in pq.ParquetFile(path).iter_batches():  # not the whole file at once
                    pass
            except (pa.ArrowException, OSError):
                return damaged(path, asset)
        elif path.suffix == ".json" and asset != "feature_encoding":
            files.read_records(asset)
        elif path.suffix != ".ubj":  # a copy of the champion's, which is looked at there
            files.read_text(asset)
    except AtxError as error:
        return str(error)
    except OSError as error:
        return f"{path} cannot be read: {why_unreadable(error)}"
    except UnicodeDecodeError:
        return damaged(path, asset)
    return ""


def check_models(settings: Settings) -> str:
    """See that the champion and the versions beside it are what was saved."""
    bundles = Bundles(DataFolder(settings.data_dir))
    versions = bundles.versions()
    if not versions and not (bundles.folder / "champion.json").exists():
        files = DataFolder(settings.data_dir)
        if any(files.path(name).exists() for name in ("tuned_classifier", "scored_results")):
            raise AtxError(
                f"all versions are gone from {bundles.folder}: mount their disk, or restore it "
                "from a backup; to begin anew without them, run full_rebuild"
            )
        return Note("none yet: `atx run` trains the first")
    champion = bundles.champion()
    _ = champion.about  # one of another atx says so itself
    if not champion.is_whole:
        raise AtxError(
            f"version {champion.version}, the champion, is not what was saved: {bundles.mend()}, "
            f"or restore {champion.folder} from a backup"
        )
    spoilt = [str(v) for v in versions if not bundles.version(v).is_whole]
    if spoilt:
        return Note(
            f"version {champion.version} scores; damaged, or of another atx, and in nobody's way: "
            f"{', '.join(spoilt)}"
        )
    return f"version {champion.version} scores; {len(versions)} kept, all as they were saved"


def check_leftovers(settings: Settings) -> str:
    """Look for what crashes have left half-written."""
    left = [*_left(settings.data_dir), *_left(settings.data_dir / "models")]
    left += [path.name for path in settings.home.glob("postgres.new-*")]
    for folder in (settings.home, settings.data_dir):
        left += [p.name for p in folder.parent.glob(f".{folder.name}.restoring")]
    if left:
        return Note(
            f"a crash has left {', '.join(sorted(left))}: harmless, written over or removed by the "
            "next that makes the same"
        )
    return "none"


def check_backups(settings: Settings) -> str:
    """Say when the last backup was made. No run fails for want of one, nor for a record of it."""
    try:
        made = last_backup(settings.home)
    except AtxError as error:
        return Note(str(error))
    if made is None:
        return Note("none is recorded: `atx backup` makes one")
    return f"the last was made on {made:%Y-%m-%d %H:%M}"


def _left(folder: Path) -> list[str]:
    return [p.name for pattern in (".*.new", ".new-*") for p in folder.glob(pattern)]
