"""The record of a home's last backup: a small file in the home, which `atx doctor` reads.

It is not in the backup, which is made before its record; a restore writes the record anew.
Not here: backing up (`backup.py`).
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from atx_assets.errors import DamagedError, FileError
from atx_assets.storage.in_one_step import replace_file

FILE = "last_backup.json"


def record_backup(home: Path, made: str) -> None:
    """Record that a complete backup of `home` was made; `made` is the time in its manifest.

    Raises:
        OSError: it cannot be written.
    """
    replace_file(home / FILE, (json.dumps({"made": made}) + "\n").encode(), alone=False)


def last_backup(home: Path) -> datetime | None:
    """Return when the last backup was made, in local time; None if none is recorded.

    Raises:
        FileError: the record cannot be read.
        DamagedError: it is damaged.
    """
    path = home / FILE
    try:
        said = json.loads(path.read_bytes())
        return datetime.fromisoformat(said["made"]).astimezone()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(
            f"{path} cannot be read ({error.strerror}): check its permissions"
        ) from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: the next `atx backup` rewrites it") from error
