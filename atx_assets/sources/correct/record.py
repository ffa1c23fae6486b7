"""The record of every correction of labels: a file that is only ever appended to.

A correction is two lines of JSON. The first, the intent, holds who, when, and every row's values
before and after; it is on the disk before the database commits. The second holds the outcome. If
a crash kept the second out, an undo decides by comparing the rows with the intent.
Not here: the rows themselves (`sources/correct/corrections.py`).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atx_assets.errors import AtxError, FileError
from atx_assets.sources.correct.plan import Plan, RowChange
from atx_assets.storage.disk_errors import why_unreadable, why_unusable
from atx_assets.storage.locks import wait_for_lock

FILE = "corrections.jsonl"

COMMITTED, ROLLED_BACK, UNKNOWN = "committed", "rolled back", "unknown"

# Longer than any correction takes that itself waits for rows.
_LOCK_SECONDS = 60

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One correction as recorded. `outcome` is `unknown` if no line holds it."""

    number: int
    at: str
    who: str
    via: str
    database: str
    layout: str
    verdict: str
    undoes: int | None
    rows: tuple[RowChange, ...]
    outcome: str = UNKNOWN
    why: str = ""


@dataclass(frozen=True)
class CorrectionRecord:
    """The file in a home. It is created, readable only by its owner, when first written to."""

    home: Path

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.home / FILE

    def entries(self) -> list[Entry]:
        """Return the corrections in their order.

        A line that a crash cut short is ignored: what it recorded was never committed.

        Raises:
            AtxError: the file may not be read.
        """
        found: dict[int, Entry] = {}
        for event in filter(None, map(_parsed, self._lines())):
            if event["event"] == "intent":
                found[event["number"]] = _entry(event)
            elif event["number"] in found:
                result = {"outcome": event["event"], "why": event.get("why", "")}
                found[event["number"]] = replace(found[event["number"]], **result)
        return list(found.values())

    def damaged(self) -> int:
        """Return how many lines are cut short or have changed since they were written."""
        return sum(_parsed(line) is None for line in self._lines())

    def last_number(self) -> int:
        """Return the highest number in any line, 0 if none: it is never used again."""
        return max((event["number"] for event in map(_parsed, self._lines()) if event), default=0)

    def _lines(self) -> list[bytes]:
        try:
            return [line for line in self.path.read_bytes().split(b"\n") if line]
        except FileNotFoundError:
            return []
        except OSError as error:
            # Another ATX_HOME would start a record without what can be undone.
            raise FileError(f"{self.path} cannot be read: {why_unreadable(error)}") from error

    def entry(self, number: int) -> Entry:
        """Return one correction.

        Raises:
            AtxError: there is none with that number, or the file may not be read.
        """
        entries = self.entries()
        for entry in entries:
            if entry.number == number:
                return entry
        known = f"the last is {entries[-1].number}" if entries else "there is none yet"
        raise AtxError(f"{self.path} has no correction {number} ({known}): see `atx correct list`")

    @contextmanager
    def writing(self) -> Iterator[Journal]:
        """Lock the record for one correction, from before its rows are read to its last line.

        Raises:
            AtxError: another process holds it for too long, or the file cannot be written to.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise FileError(f"{self.path} {_cannot(error)}") from error
        try:
            self._lock(fd)
            yield Journal(self, fd)
        finally:
            os.close(fd)  # also releases the lock

    def _lock(self, fd: int) -> None:
        def log_waiting() -> None:
            logger.info("waiting for another correction to end")

        if not wait_for_lock(fd, self.path, seconds=_LOCK_SECONDS, waiting=log_waiting, pause=0.05):
            raise AtxError(
                f"another correction has held {self.path} for {_LOCK_SECONDS} s, and nothing was "
                "written: run it again when the other correction has ended"
            )


@dataclass(frozen=True)
class Journal:
    """The locked record, as the open file `fd`: what one correction adds to it."""

    record: CorrectionRecord
    fd: int

    def intend(self, plan: Plan, *, database: str, who: str, via: str) -> int:
        """Record, on the disk, what is about to be committed, and return its number.

        Raises:
            FileError: it cannot be written: then nothing may be committed.
        """
        number = self.record.last_number() + 1
        self._add(
            {
                "event": "intent",
                "number": number,
                "at": _now(),
                "who": who,
                "via": via,
                "database": database,
                "layout": plan.layout.name,
                "verdict": plan.verdict,
                "undoes": plan.undoes,
                "rows": [
                    {
                        "key": row.key,
                        "title": row.title,
                        "year": row.year,
                        "imdb_id": row.imdb_id,
                        "was": row.was,
                        "is": row.now,
                    }
                    for row in plan.rows
                ],
            }
        )
        return number

    def tell(self, number: int, outcome: str, why: str = "") -> None:
        """Record the outcome of an intent.

        Raises:
            FileError: it cannot be written; an undo does not need it.
        """
        self._add(
            {"event": outcome, "number": number, "at": _now(), **({"why": why} if why else {})}
        )

    def _add(self, event: Mapping[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            # A line that a crash cut short must not swallow this one.
            size = os.fstat(self.fd).st_size
            if size and os.pread(self.fd, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.fchmod(self.fd, 0o600)
            while line:
                line = line[os.write(self.fd, line) :]
            os.fsync(self.fd)
            if not size:
                _sync_folder(self.record.path.parent)
        except OSError as error:
            raise FileError(f"{self.record.path} {_cannot(error)}") from error


def _sync_folder(folder: Path) -> None:
    """Write the name of a new file to the disk, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cannot(error: OSError) -> str:
    return f"cannot be written to, and no label is changed without a record: {why_unusable(error)}"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, or None if the line is incomplete."""
    try:
        event = json.loads(line)
        if event["event"] == "intent":
            _entry(event)
        elif event["event"] not in (COMMITTED, ROLLED_BACK, UNKNOWN):
            return None
        return event if isinstance(event["number"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


def _entry(event: Mapping[str, Any]) -> Entry:
    names = ("number", "at", "who", "via", "database", "layout", "verdict", "undoes")
    rows = tuple(
        RowChange(row["key"], row["title"], row["year"], row["imdb_id"], row["was"], row["is"])
        for row in event["rows"]
    )
    return Entry(**{name: event[name] for name in names}, rows=rows)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
