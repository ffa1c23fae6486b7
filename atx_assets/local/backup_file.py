"""What `atx backup` and `atx restore` agree on: the parts of the one file, and its manifest.

The file is a gzipped tar. First comes `manifest.json`: the number of this format, the versions of
what made it, what is inside with size and sha256, and what is not. Then `data/` and `home/` with
files as they lay there, `databases/` with dumps that any later PostgreSQL reads, and `mlflow.db`.
Not here: what is taken (`backup.py`), where it is put (`restore.py`).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from atx_assets.errors import AtxError
from atx_assets.local.backup_record import FILE as RECORD
from atx_assets.local.cluster import MADE

#: Raised when a file of today can no longer be read as if it were of tomorrow.
FORMAT = 1

MANIFEST, MLFLOW = "manifest.json", "mlflow.db"
DATA, HOME, DATABASES = "data/", "home/", "databases/"

#: What lies in a home and is made anew, is another form of what is inside, or is a lock. All else
#: is taken, so that what a later atx keeps there is not lost by this list. None of it is put back:
#: a cluster of PostgreSQL's own files, or settings of Dagster's, would run what they say.
LEFT_OUT: tuple[str, ...] = ("postgres", "logs", "locks", "tmp", "alerts.lock", RECORD, MADE)
LEFT_OUT += ("dagster/dagster.yaml", "dagster/.nux", "dagster/.telemetry", "dagster/logs")
LEFT_OUT += ("mlflow/mlflow.db",)
LEFT_OUT += tuple(f"mlflow/mlflow.db-{end}" for end in ("journal", "wal", "shm"))

#: Bytes of a manifest at most: one of a million files, and no more.
LONGEST_MANIFEST = 256 << 20

#: Bytes that are held at once.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """One file inside: its name in the tar, its size in bytes, and its sha256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is told of a backup.

    `home` and `data_dir` are the folders that it was made of; `databases` are names of databases
    by the member that holds the dump; `versions` are those of atx, PostgreSQL, Dagster, MLflow;
    `not_inside` are lines for people.
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
        """Return it as it stands in the file."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, file: Path) -> Manifest:
        """Read one, and refuse names that would lead out of where they belong.

        Raises:
            AtxError: a later atx made it, or it is none.
        """
        try:
            said: dict[str, Any] = json.loads(text)
            number = int(said["format"])
            if number > FORMAT:
                raise AtxError(
                    f"{file} was made by a later atx ({said.get('versions', {}).get('atx', '?')}), "
                    "whose backups this one does not know: restore it with that"
                )
            members = [Member(m["name"], int(m["size"]), m["sha256"]) for m in said["members"]]
            manifest = cls(**{**said, "members": members})
            names = [member.name for member in members]
            for name in names:
                _belongs(name)
            if len(set(names)) != len(names) or not set(manifest.databases) <= set(names):
                raise ValueError("names twice, or none")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise AtxError(
                f"{file} is no backup of atx, or damaged: its list is not one"
            ) from error
        return manifest


def _belongs(name: str) -> None:
    path = PurePosixPath(name)
    if name == MLFLOW:
        return
    plain = not path.is_absolute() and str(path) == name and "\0" not in name
    if not plain or ".." in path.parts or not name.startswith((DATA, HOME, DATABASES)):
        raise ValueError(f"the name {name!r}")


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Make `path`, hold it against others, and remove it with all that is in it at the end.

    What a process that was killed has left there is removed first.

    Raises:
        AtxError: another process holds it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AtxError(f"another atx is at work in {path}: let it end first") from None
        for left in path.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)
