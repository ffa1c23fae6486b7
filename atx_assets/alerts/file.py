"""The file `alerts.json` of the home: which causes were raised, and which of them were reported.

Not here: when a cause is raised, and reporting it (`alerts.py`).
"""

import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atx_assets.errors import NoLocksError
from atx_assets.storage.in_one_step import replace_file
from atx_assets.storage.locks import unlock, wait_for_lock

_KEPT_SECONDS = 30 * 86_400
_LOCK_SECONDS = 10


@dataclass
class Raised:
    """One cause that was raised. Times are in seconds since 1970.

    `tried` is the time of the last attempt to send it. `told` is true once it has arrived, or if
    there was no address to send it to.
    """

    title: str
    text: str
    at: float
    tried: float
    told: bool


class AlertFile:
    """The raised causes, shared by every process of a home."""

    def __init__(self, home: Path) -> None:
        """Compute the path of the file; it is created when something is raised."""
        self.path = home / "alerts.json"

    def peek(self) -> dict[str, Raised] | None:
        """Return the entries of 30 days without waiting for a lock; None if the file is damaged.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            entries = _parsed(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, RecursionError):
            return None
        oldest = time.time() - _KEPT_SECONDS
        return {cause: entry for cause, entry in entries.items() if entry.at >= oldest}

    @contextmanager
    def changing(self, log: logging.Logger) -> Iterator[dict[str, Raised]]:
        """Yield the entries for changing, while no other process can change them.

        If the block succeeds, they are written in one step. A damaged file is put aside first, and
        the entries are then empty.

        Raises:
            OSError: the file cannot be read or written, or another process holds it for seconds.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self.path.with_suffix(".lock")):
            entries = self.peek()
            if entries is None:
                aside = self.path.with_suffix(".json.damaged")
                self.path.replace(aside)
                log.warning("%s is damaged and was moved to %s", self.path, aside.name)
                entries = {}
            before = _written(entries)
            yield entries
            if (after := _written(entries)) != before:
                replace_file(self.path, after)


def _written(entries: dict[str, Raised]) -> bytes:
    return (json.dumps({c: asdict(e) for c, e in entries.items()}, indent=2) + "\n").encode()


def _parsed(content: bytes) -> dict[str, Raised]:
    values = json.loads(content)
    if not isinstance(values, dict):
        raise TypeError("not an object")
    return {cause: _entry(**fields) for cause, fields in values.items()}


def _entry(*, title: Any, text: Any, at: Any, tried: Any, told: Any) -> Raised:
    if not (isinstance(title, str) and isinstance(text, str) and isinstance(told, bool)):
        raise TypeError("not an entry")
    return Raised(title, text, float(at), float(tried), told)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file of its own: a lock on the data file would be lost when that is replaced."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd, path)
    except BaseException:
        os.close(fd)
        raise
    try:
        yield
    finally:
        unlock(fd)


def _lock(fd: int, path: Path) -> None:
    try:
        # Not for ever: a holder that was stopped would hang the sensors.
        if not wait_for_lock(fd, path, seconds=_LOCK_SECONDS, pause=0.01):
            raise TimeoutError(errno.EAGAIN, "another process has locked it for too long")
    except NoLocksError as error:  # callers handle it like any other failure to write
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)) from error
