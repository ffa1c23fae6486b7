"""Whether a file is still the one that was written, and from what: a hidden file beside it says.

A disk or a copy that turns one bit leaves most files readable, with another number in them.
Parquet's own checksums leave out all but its pages, and JSON has none; so each file has one for
the whole. Reading costs half a second a gigabyte for it. Not here: replacing a file in one step
(`data_folder.py`), the files that make a model (`models/bundle.py`, which keeps their sums
in `bundle.json`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from atx_assets.storage.in_one_step import replace_file


def sums_of(path: Path) -> Path:
    """Return where the sums of a file are: `.media.parquet.sha256` beside `media.parquet`."""
    return path.with_name(f".{path.name}.sha256")


def announce(path: Path, coming: Path, made_from: Mapping[str, str] | None = None) -> None:
    """Put down the sum of what is about to take the place of `path`, and what it was made from.

    Called before it does. The line of what is there now stays below it: whoever is killed
    between the two leaves a file that is known, be it the old one or the new. A file that was
    damaged is not made a good one by that.

    Args:
        path: the file that is replaced, or made.
        coming: what takes its place.
        made_from: the sums of what it was made from, each by its name.
    """
    known = [_line(sum_of(coming), made_from or {})]
    if path.exists() and not is_damaged(path):
        now = sum_of(path)
        known.append(_line(now, _known(path).get(now, {})))
    lines = "".join(f"{one}\n" for one in dict.fromkeys(known))
    replace_file(sums_of(path), lines.encode("ascii"))


def is_damaged(path: Path) -> bool:
    """Say whether a file is another one than was written.

    One that has no sums, of an earlier atx or put there by hand, is taken as it is.

    Raises:
        OSError: it cannot be read.
    """
    # The file first: one that is replaced meanwhile is among the sums that are read then.
    found = sum_of(path)
    return sums_of(path).exists() and found not in _known(path)


def made_from(path: Path) -> dict[str, str]:
    """Return the sums of what a file was made from, each by its name; none if it is not known.

    Raises:
        OSError: it cannot be read.
    """
    return _known(path).get(sum_of(path), {})


def sum_of(path: Path) -> str:
    """Return the sha256 of a file, in hex: what tells it from every other one.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(found: str, parts: Mapping[str, str]) -> str:
    """Return what is put down of one state of a file: its sum, its parts, a check of both."""
    if not parts:
        return found
    said = " ".join([found, *(f"{name}={made}" for name, made in sorted(parts.items()))])
    return f"{said} #{_check(said)}"


def _check(said: str) -> str:
    return hashlib.sha256(said.encode("ascii", "replace")).hexdigest()[:16]


def _known(path: Path) -> dict[str, dict[str, str]]:
    """Return the states that a file may be in, by their sums: what each was made from.

    A line that is not as it was written says nothing.
    """
    try:
        text = sums_of(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return {}
    states: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        said, _, check = line.partition(" #")
        found, *parts = said.split() or [""]
        if not parts or check == _check(said):
            made = {name: made for name, _, made in (part.partition("=") for part in parts)}
            states.setdefault(found, made)
    return states
