"""`atx restore`: restores a home and its data folder from a backup, in any place.

Everything is unpacked next to its place, checked, and renamed when complete. The file may come from
anybody: no name in it leads out of the new folders, only the statements of its dumps are run, by a
role that may do nothing else (`home/postgres/dumps.py`), and anything that would run later is
refused. Not here: the format of the file (`archive.py`), making one (`backup.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.home.backup.archive import (
    CHUNK,
    DATA,
    HOME,
    LEFT_OUT,
    LONGEST_MANIFEST,
    MANIFEST,
    MLFLOW,
    Manifest,
    Member,
    work_folder,
)
from atx_assets.home.backup.record import record_backup
from atx_assets.home.backup.tar import Entry, TarError, TarReader
from atx_assets.home.home import own_databases
from atx_assets.home.mlflow_store import move_store, refuse_code
from atx_assets.home.postgres.dumps import restore as restore_database
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.models.embedded_registry import recorded_home
from atx_assets.models.mlflow_server import EXPERIMENT, embedded_store, store_uri
from atx_assets.plain_text import shown
from atx_assets.settings import Settings

#: Lines printed at most about what is not in a backup; atx writes four.
_MOST_LINES = 10


def restore(
    settings: Settings, file: Path, say: Callable[[str], None], *, trust_code: bool = False
) -> None:
    """Restore `file` into `ATX_HOME` and `ATX_DATA_DIR`, which must be empty or missing.

    Args:
        settings: which folders to create.
        file: what `atx backup` wrote, on this machine or another.
        say: is called with each line of output.
        trust_code: also restore functions, triggers and views of its databases, whatever they do.

    Raises:
        AtxError: a folder is not empty, or the file is damaged, cut short, from a later atx, not a
            backup, or holds code. Nothing is left behind then.
    """
    home, data = settings.home, settings.data_dir
    if home.resolve() == data.resolve():
        raise AtxError("ATX_HOME and ATX_DATA_DIR are the same folder: set them to two")
    if home.resolve().is_relative_to(data.resolve()):
        raise AtxError("ATX_HOME is inside ATX_DATA_DIR: set it to a folder of its own")
    if not file.is_file():
        raise AtxError(f"{file} does not exist")
    for folder, name in ((home, "ATX_HOME"), (data, "ATX_DATA_DIR")):
        _must_be_empty(folder, name)
    if settings.mlflow_on:  # a path that cannot be used would otherwise fail the next training
        store_uri(embedded_store(settings))
    try:
        with work_folder(_beside(home)) as made:
            nested = data.resolve().is_relative_to(home.resolve())
            new_home = made / "h"
            new_home.mkdir(mode=0o700)
            if nested:
                new_data = new_home / data.resolve().relative_to(home.resolve())
                manifest = _fill(file, made, new_home, new_data, settings, trust_code)
                _put([(new_home, home)])
            else:
                with work_folder(_beside(data)) as made_data:
                    new_data = made_data / "d"
                    manifest = _fill(file, made, new_home, new_data, settings, trust_code)
                    _put([(new_data, data), (new_home, home)])
    except OSError as error:
        name = f": {shown(str(error.filename), 300)}" if error.filename else ""
        raise AtxError(f"cannot restore {file} ({error.strerror}{name})") from error
    _report(settings, manifest, say)


def _must_be_empty(folder: Path, name: str) -> None:
    try:
        if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
            raise AtxError(
                f"{folder} is not empty: a backup is restored only into an empty or missing {name}"
            )
        if os.path.ismount(folder):
            raise AtxError(f"{folder} is a disk of its own: set {name} to a folder in it")
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtxError(f"{folder} cannot be created ({error.strerror}): set {name}") from error


def _beside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.restoring"


def _fill(
    file: Path, work: Path, home: Path, data: Path, settings: Settings, trust_code: bool
) -> Manifest:
    """Unpack and check everything, then restore databases and store, all in new folders."""
    _make(data)
    with _readable(file) as tar:
        manifest = _manifest(file, tar)
        _check_room(file, manifest, data, settings)
        _unpack(file, tar, manifest, work, home, data)
    # The file system is asked: it may take `Postgres` for `postgres`.
    for name in LEFT_OUT:
        if os.path.lexists(home / name):
            raise AtxError(f"{file} was not made by atx: it holds {HOME}{name}")
    try:
        if (work / MLFLOW).exists():
            _make(home / "mlflow" / "artifacts")
            store = home / "mlflow" / "mlflow.db"
            (work / MLFLOW).replace(store)
            _adopt(store, manifest, settings.home)
        if manifest.databases:
            # If we are killed here, the next restore removes its files, which ends the server.
            with EmbeddedPostgres(home) as server:
                for member, name in manifest.databases.items():
                    restore_database(server, name, work / member, trust_code=trust_code)
    except AtxError as error:
        raise AtxError(f"{file}: {error}") from error
    record_backup(home, manifest.made)
    _sync(home)
    if not data.is_relative_to(home):
        _sync(data)
    return manifest


def _adopt(store: Path, manifest: Manifest, home: Path) -> None:
    """Change the paths in a backup's MLflow store to those of the restored home.

    Raises:
        AtxError: the store holds code, or is damaged.
    """
    refuse_code(store)
    try:
        # If the home was moved before it was backed up, the store may name an earlier place.
        before = recorded_home(store, EXPERIMENT) or Path(manifest.home)
        move_store(store, store.parent / "artifacts", before, home)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise AtxError(f"its MLflow store is damaged ({shown(str(error))})") from error


@contextmanager
def _readable(file: Path) -> Iterator[TarReader]:
    """Open a backup, and raise a one-line error if it cannot be read to its end."""
    try:
        with file.open("rb") as raw, gzip.GzipFile(fileobj=raw) as packed:
            yield TarReader(packed)
    except EOFError as error:
        raise AtxError(f"{file} is cut short: copy it again, or use another backup") from error
    except (gzip.BadGzipFile, TarError, zlib.error) as error:
        raise AtxError(f"{file} is damaged, or not a backup of atx: use another one") from error


def _manifest(file: Path, tar: TarReader) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST or not first.is_file:
        raise AtxError(f"{file} is not a backup of atx: it does not begin with a list of files")
    if first.size > LONGEST_MANIFEST:
        raise AtxError(f"{file} is damaged: its list of files is {first.size:,} bytes long")
    parts = []
    while part := tar.read(CHUNK):
        parts.append(part)
    return Manifest.from_json(b"".join(parts), file)


def _check_room(file: Path, manifest: Manifest, folder: Path, settings: Settings) -> None:
    needed = sum(member.size for member in manifest.members)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise AtxError(
            f"{file} unpacks to {needed / 1e6:,.0f} MB and the disk of {settings.data_dir} has "
            f"{free / 1e6:,.0f} MB free: make room there"
        )


def _unpack(
    file: Path, tar: TarReader, manifest: Manifest, work: Path, home: Path, data: Path
) -> None:
    """Write each member of the list to its place, and refuse any other."""
    expected = {member.name: member for member in manifest.members}
    while (entry := tar.next()) is not None:
        member = expected.pop(entry.name, None)
        if member is None or not entry.is_file or entry.size != member.size:
            raise AtxError(f"{file} is damaged: '{shown(entry.name)}' differs from its list")
        target = _target(member.name, work, home, data)
        _make(target.parent)
        _copy(file, tar, entry, member, target)
    if expected:
        raise AtxError(f"{file} is cut short: {shown(next(iter(expected)))} is missing")


def _make(folder: Path) -> None:
    """Create a folder and its missing parents: `mkdir` would give the mode only to the last one."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700)


def _target(name: str, work: Path, home: Path, data: Path) -> Path:
    for prefix, folder in ((HOME, home), (DATA, data)):
        if name.startswith(prefix):
            return folder / name.removeprefix(prefix)
    return work / name


def _copy(file: Path, tar: TarReader, entry: Entry, member: Member, target: Path) -> None:
    digest = hashlib.sha256()
    # New, and never through a link.
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as written:
        while part := tar.read(CHUNK):
            digest.update(part)
            written.write(part)
        written.flush()
        os.fsync(fd)
    if digest.hexdigest() != member.sha256:
        raise AtxError(
            f"{file} is damaged: {shown(member.name)} has another checksum than its list says"
        )
    os.utime(target, (entry.time, entry.time))


def _sync(folder: Path) -> None:
    """Write names and databases to the disk; the unpacked files already are."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _put(places: list[tuple[Path, Path]]) -> None:
    """Rename each new folder to its place; if one rename fails, undo the others."""
    done: list[tuple[Path, Path]] = []
    try:
        for made, place in places:
            made.rename(place)  # also replaces an empty folder
            done.append((made, place))
    except BaseException:
        for made, place in reversed(done):
            place.rename(made)
        raise


def _report(settings: Settings, manifest: Manifest, say: Callable[[str], None]) -> None:
    # Anybody may have written the texts of a manifest.
    versions = shown(", ".join(f"{name} {of}" for name, of in manifest.versions.items()), 200)
    say(f"restored what {shown(manifest.home, 300)} held on {shown(manifest.made)} ({versions})")
    say(f"home {settings.home}   data {settings.data_dir}")
    for line in manifest.not_inside[:_MOST_LINES]:
        say(f"not in the backup: {shown(line, 300)}")
    own, _ = own_databases(settings)
    if own and manifest.databases and settings.pg_db not in manifest.databases.values():
        names = ", ".join(name for name in manifest.databases.values() if name != "postgres")
        say(
            f"PG_DB is {settings.pg_db}, and the backup has {shown(names, 300)}: set it to the one "
            "with the media"
        )
    say("`atx doctor` checks everything, `atx up` carries on")
