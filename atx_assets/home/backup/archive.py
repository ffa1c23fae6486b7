"""The format of a backup, shared by `atx backup` and `atx restore`: its parts and its manifest.

The file is a gzipped tar. First comes `manifest.json`: the number of this format, the versions of
the programs that made it, what is inside with size and sha256, and what is not. Then `data/` and
`home/` with unchanged files, `databases/` with dumps that any later PostgreSQL reads, and
`mlflow.db`. Not here: what is backed up (`backup.py`), where it is put (`restore.py`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from atx_assets.errors import AtxError, NoLocksError
from atx_assets.home.backup.record import FILE as RECORD
from atx_assets.home.postgres.cluster import MADE
from atx_assets.plain_text import shown
from atx_assets.storage.locks import take_lock

#: To be incremented when a later atx can no longer read the files of an earlier one unchanged.
FORMAT = 1

MANIFEST, MLFLOW = "manifest.json", "mlflow.db"
DATA, HOME, DATABASES = "data/", "home/", "databases/"

#: Files of a home that are rebuilt, are in the backup in another form, or are locks. Everything
#: else is backed up, so that this list does not lose what a later atx keeps there. A restore
#: refuses them: PostgreSQL's own files, or settings of Dagster, would run what they say.
LEFT_OUT: tuple[str, ...] = ("postgres", "logs", "locks", "tmp", "alerts.lock", RECORD, MADE)
LEFT_OUT += ("dagster/dagster.yaml", "dagster/.nux", "dagster/.telemetry", "dagster/logs")
LEFT_OUT += ("mlflow/mlflow.db",)
LEFT_OUT += tuple(f"mlflow/mlflow.db-{end}" for end in ("journal", "wal", "shm"))

#: The largest manifest in bytes: enough for 300,000 files.
LONGEST_MANIFEST = 64 << 20

#: Databases, or versions of programs, that a backup names at most.
_MOST_NAMED = 1_000
#: The lock file in a working folder that keeps other processes out of it.
_LOCK = ".lock"

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

#: Bytes held in memory at a time.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file inside: its name in the tar, its size in bytes, and its sha256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The description of a backup.

    `home` and `data_dir` are the folders that were backed up; `databases` has the name of each
    database by the member that holds its dump; `versions` are those of atx, PostgreSQL, Dagster,
    MLflow; `not_inside` are lines for people.
    """

    format: int
    made: str
    home: str
    data_dir: str
    versions: dict[str, str]
    databases: dict[str, str]
    not_inside: list[str]
    members: list[Member] = field(default_factory=list)

    def to_json(self) -> bytes:
        """Return the content of `manifest.json`."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, file: Path) -> Manifest:
        """Parse a manifest, and refuse names that would lead out of the restored folders.

        Raises:
            AtxError: a later atx made the backup, or the text is not a manifest.
        """
        try:
            if _is_too_dense(text):
                raise ValueError("more values than a list of files has")
            said: dict[str, Any] = json.loads(text)
            if _whole(said["format"]) > FORMAT:
                versions = said.get("versions")
                by = versions.get("atx", "?") if isinstance(versions, dict) else "?"
                raise AtxError(
                    f"{file} was made by a later atx ({shown(str(by), 20)}), whose backups this "
                    "one cannot read: restore it with that version"
                )
            return _manifest(said)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise AtxError(
                f"{file} is damaged, or not a backup of atx: its list of files is not valid"
            ) from error


def _is_too_dense(text: bytes) -> bool:
    """Return whether JSON has so many values for its size that they would take gigabytes.

    The entry of a file has four of these marks in more than a hundred bytes.
    """
    bare = _STRING.sub(b"", text)
    return 20 * sum(bare.count(mark) for mark in (b"[", b"{", b",")) > len(text) + 20_000


def _manifest(said: dict[str, Any]) -> Manifest:
    """Return a manifest from parsed JSON; raise ValueError or KeyError if it is not valid."""
    members = [
        Member(_name(entry["name"]), _whole(entry["size"]), _digest(entry["sha256"]))
        for entry in _each(said["members"], dict)
    ]
    made = _text(said["made"], 40)
    datetime.fromisoformat(made)
    manifest = Manifest(
        format=_whole(said["format"]),
        made=made,
        home=_folder(said["home"]),
        data_dir=_folder(said["data_dir"]),
        versions=_texts(said["versions"], 100),
        databases=_texts(said["databases"], 63),
        not_inside=[_text(line, 1000) for line in _each(said["not_inside"], str)],
        members=members,
    )
    if said.keys() != {part.name for part in fields(Manifest)}:
        raise ValueError("unknown entries")
    names = {member.name for member in members}
    dumps, databases = manifest.databases.keys(), set(manifest.databases.values())
    if len(names) != len(members) or not dumps <= names or len(databases) != len(dumps):
        raise ValueError("a name that is missing or there twice")
    # A changed template would change every database that is created later.
    wrong = databases & {"", "template0", "template1"}
    if wrong or not all(dump.startswith(DATABASES) for dump in dumps):
        raise ValueError("not a database of a backup")
    return manifest


def _each(said: Any, kind: type) -> list[Any]:
    if not isinstance(said, list) or not all(isinstance(entry, kind) for entry in said):
        raise ValueError("not a list of the expected kind")
    return said


def _texts(said: Any, most: int) -> dict[str, str]:
    if not isinstance(said, dict) or len(said) > _MOST_NAMED:
        raise ValueError("not an object, or too many names")
    return {_text(name, 4096): _text(value, most) for name, value in said.items()}


def _text(said: Any, most: int) -> str:
    """Return a text of at most `most` bytes, without NUL and lone surrogates, or raise."""
    if not isinstance(said, str) or len(said.encode()) > most or "\0" in said:
        raise ValueError("not a text, or too long")
    return said


def _whole(said: Any) -> int:
    if type(said) is not int or not 0 <= said < 2**62:
        raise ValueError("not a whole number")
    return said


def _digest(said: Any) -> str:
    if not re.fullmatch("[0-9a-f]{64}", _text(said, 64)):
        raise ValueError("not a checksum")
    return str(said)


def _folder(said: Any) -> str:
    if not PurePosixPath(_text(said, 4096)).is_absolute():
        raise ValueError("not an absolute path")
    return str(said)


def _name(said: Any) -> str:
    """Return the name of a file if it stays in the folders of a backup, or raise ValueError."""
    name = _text(said, 4096)
    path = PurePosixPath(name)
    plain = not path.is_absolute() and str(path) == name and ".." not in path.parts
    if name != MLFLOW and not (plain and name.startswith((DATA, HOME, DATABASES))):
        raise ValueError(f"the name {name!r}")
    return name


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Create `path`, lock it, and remove it with its content at the end.

    The leftovers of a killed process are removed first.

    Raises:
        AtxError: another process holds it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # A file in it is locked, because NFS cannot lock a folder.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        held = os.open(_LOCK, flags, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    lock = path / _LOCK
    try:
        take_lock(held, lock)
        # Its last holder may have removed the file since it was opened: the lock is useless then.
        if not os.path.samestat(os.fstat(held), lock.lstat()):
            raise FileNotFoundError
    except (BlockingIOError, FileNotFoundError):
        os.close(held)
        raise AtxError(f"another atx is using {path}: let it end first") from None
    except NoLocksError:  # the content may belong to another atx
        os.close(held)
        if [*path.iterdir()] == [lock]:
            lock.unlink()
            path.rmdir()
        raise
    try:
        _clear(path, lock)
        yield path
    finally:
        _remove(path, lock, held)


def _clear(path: Path, lock: Path, *, ignore_errors: bool = False) -> None:
    """Remove everything in a folder except the lock."""
    for left in [*path.iterdir()]:
        if left == lock:
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=ignore_errors)
        else:
            left.unlink(missing_ok=ignore_errors)


def _remove(path: Path, lock: Path, held: int) -> None:
    """Remove a folder that we hold, the lock last: without it another atx may start using it."""
    with suppress(OSError):
        _clear(path, lock, ignore_errors=True)
    with suppress(OSError):
        lock.unlink()
    os.close(held)  # before the folder goes: NFS keeps an open file in it under another name
    with suppress(OSError):  # another atx is already using it
        path.rmdir()
