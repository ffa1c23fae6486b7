"""`atx backup`: writes everything in a home and its data folder into one file.

Not here: the format of the file (`archive.py`), restoring it (`restore.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from atx_assets.errors import AtxError
from atx_assets.home.backup.archive import (
    CHUNK,
    DATA,
    DATABASES,
    FORMAT,
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
from atx_assets.home.home import own_databases
from atx_assets.home.mlflow_store import copy_store
from atx_assets.home.moved_home import follow_home
from atx_assets.home.postgres.dumps import code_inside, databases, dump, server_version
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.models.integrity import check_models, check_results
from atx_assets.plain_text import shown
from atx_assets.settings import Settings

_logger = logging.getLogger("atx_assets")


def backup(settings: Settings, file: Path | None, say: Callable[[str], None]) -> Path:
    """Write everything in a home into one file that only its owner can read; return the file.

    `atx up` may go on running: the backup waits for a run in progress, and new runs wait for it.

    Args:
        settings: the home, the data folder, and which servers belong to the home.
        file: the file to write; by default `atx-backup-<date>-<time>.tar.gz` in the current folder.
        say: is called with each line of output.

    Raises:
        AtxError: the file already exists, there is nothing to back up, or something cannot be read
            or written. Nothing is left behind then.
    """
    now = datetime.now().astimezone()
    file = (file or Path(f"atx-backup-{now:%Y-%m-%d-%H%M}.tar.gz")).absolute()
    if file.exists() or file.is_symlink():
        raise AtxError(f"{file} already exists: name another file, or move it away")
    if not file.parent.is_dir():
        raise AtxError(f"there is no folder {file.parent}: create it, or name another")
    if not settings.home.is_dir():
        raise AtxError(f"{settings.home} is missing, so there is nothing to back up: set ATX_HOME")
    if settings.home.resolve() == settings.data_dir.resolve():
        raise AtxError("ATX_HOME and ATX_DATA_DIR are the same folder: set them to two")
    follow_home(settings)
    try:
        with work_folder(file.parent / f".{file.name}.new") as work:
            size, count, code = _write(settings, now, file, work)
    except OSError as error:
        name = f": {error.filename}" if error.filename else ""
        raise AtxError(f"cannot write the backup {file} ({error.strerror}{name})") from error
    try:
        record_backup(settings.home, _as_text(now))
    except OSError as error:  # the backup itself is complete
        _logger.warning("the home could not record this backup (%s)", error.strerror)
    say(f"{file}: {_size(size)}, {count} files")
    for check in (check_results, check_models):
        try:
            check(settings)
        except AtxError as error:  # a fault in the data does not prevent a backup
            say(f"WARNING, it is in the backup as it is: {error}")
    if code:
        say(
            f"WARNING, restoring it needs --trust-code, because of code of yours: {shown(code[0])}"
            + (f" and {len(code) - 1} more" if len(code) > 1 else "")
        )
    for line in _not_inside(settings):
        say(f"not in it: {line}")
    return file


def _write(settings: Settings, now: datetime, file: Path, work: Path) -> tuple[int, int, list[str]]:
    """Write the file; return its size in bytes, the number of files in it, and the code in it."""
    from atx_assets.storage.writer_lock import only_writer

    with only_writer(settings.data_dir, "atx backup", _logger):
        made, versions, code = _dumped(settings, work)
        sources: dict[str, Path] = {}
        if (settings.home / "mlflow" / "mlflow.db").exists():
            copy_store(settings.home / "mlflow" / "mlflow.db", work / MLFLOW)
            sources[MLFLOW] = work / MLFLOW
        sources |= {name: work / Path(name).name for name in made}
        # After the databases: the record of corrections may hold more than they do, but not less.
        apart = (file, work)
        sources |= dict(_files(settings.home, HOME, [settings.data_dir, *apart]))
        sources |= dict(_files(settings.data_dir, DATA, [settings.home, *apart]))
        members = [_member(name, path) for name, path in sources.items()]
        manifest = Manifest(
            format=FORMAT,
            made=_as_text(now),
            home=str(settings.home),
            data_dir=str(settings.data_dir),
            versions=versions,
            databases=made,
            not_inside=_not_inside(settings),
            members=members,
        )
        unfinished = work / "whole"
        with unfinished.open("xb") as raw:
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=5) as packed:
                _pack(packed, manifest, sources)
            raw.flush()
            os.fsync(raw.fileno())
            size = raw.tell()
    # The name is claimed first, so that a file that appeared meanwhile is not overwritten.
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise AtxError(f"{file} was created meanwhile: name another file") from error
    unfinished.chmod(0o600)
    unfinished.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size, len(members), code


def _as_text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _dumped(settings: Settings, work: Path) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Dump every database of the embedded server.

    Returns:
        Their names by member, the versions of the programs, and the code in the databases.
    """
    versions = {"atx": version("atx-assets"), "dagster": version("dagster")}
    versions["mlflow"] = version("mlflow")
    made: dict[str, str] = {}
    code: list[str] = []
    # Even if the settings do not use the server now: it may hold what they used before.
    if (settings.home / "postgres").is_dir():
        with EmbeddedPostgres(settings.home) as server:
            versions["postgresql"] = server_version(server)
            for number, name in enumerate(databases(server)):
                member = f"{DATABASES}{number}.dump"
                dump(server, name, work / f"{number}.dump")
                made[member] = name
                code += [f"{found} in {name}" for found in code_inside(server, name)]
    return made, versions, code


def _files(folder: Path, prefix: str, apart: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the regular files below a folder that belong in a backup, ordered by name."""
    folder = folder.resolve()
    left_out = {folder / name for name in (LEFT_OUT if prefix == HOME else (".writer.lock",))}
    for path in sorted(_walked(folder, left_out | {path.resolve() for path in apart})):
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISREG(path.lstat().st_mode):
            _logger.warning("not in the backup, because it is not a regular file: %s", path)
        elif not _is_text(name):
            _logger.warning("not in the backup, because its name is not UTF-8: %s", ascii(name))
        elif not (prefix == HOME and name.startswith(("postgres.new-", "mlflow/mlflow.db."))):
            yield prefix + name, path


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walked(folder: Path, left_out: set[Path]) -> Iterator[Path]:
    for entry in os.scandir(folder):
        path = Path(entry.path)
        # Half-written leftovers of killed processes.
        half = entry.name.startswith(".") and (entry.name.endswith(".new") or ".new-" in entry.name)
        # Passwords stay out of the backup, in whatever folder the file is.
        if half or path in left_out or entry.name == ".env":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walked(path, left_out)
        else:
            yield path


def _member(name: str, path: Path) -> Member:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
            size += len(part)
    return Member(name, size, digest.hexdigest())


def _pack(packed: gzip.GzipFile, manifest: Manifest, sources: dict[str, Path]) -> None:
    with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        about = manifest.to_json()
        if len(about) > LONGEST_MANIFEST:
            raise AtxError(
                f"{manifest.home} and {manifest.data_dir} hold {len(manifest.members):,} files, "
                "and a backup holds at most 300,000: remove old runs' logs from dagster/storage"
            )
        tar.addfile(_info(MANIFEST, len(about)), io.BytesIO(about))
        for member in manifest.members:
            path = sources[member.name]
            with ExitStack() as opened:
                reading = _Hashed(opened.enter_context(path.open("rb")), member)
                # The time of its file says when a version was saved.
                tar.addfile(_info(member.name, member.size, path.stat().st_mtime), reading)
                reading.finish(path)


def _info(name: str, size: int, time: float = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, time, 0o600
    return info


class _Hashed(io.RawIOBase):
    """A file that checks that its content is what was hashed for the manifest."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._file, self._member, self._digest = file, member, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._digest.update(part)
        return part

    def finish(self, path: Path) -> None:
        if self._digest.hexdigest() != self._member.sha256 or self._file.read(1):
            raise AtxError(f"{path} changed while it was read: try again")


def _not_inside(settings: Settings) -> list[str]:
    from atx_assets.models.mlflow_server import shown_uri

    media, dagster = own_databases(settings)
    lines = ["your .env, with your settings and passwords: keep a copy elsewhere"]
    if not media:
        lines.append(f"the media database, {settings.database}: back it up with its own tools")
    if not dagster:
        lines.append("the database of DAGSTER_POSTGRES_URL: back it up with its own tools")
    if settings.mlflow_on and settings.mlflow_host:
        lines.append(f"the MLflow server at {shown_uri(settings)}: back it up with its own tools")
    return lines


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
