"""Whether a file is still as it was written, and what it was made from, by a hidden file beside it.

If a disk or a copy flips one bit, most files stay readable, with another number in them.
Parquet's own checksums cover only its pages, and JSON has none; so each file has one for
the whole. Checking it takes half a second per gigabyte. Not here: replacing a file in one step
(`data_folder.py`), the files that make a model (`models/bundle.py`, which keeps their sums
in `bundle.json`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from atx_assets.storage.in_one_step import replace_file


def sums_of(path: Path) -> Path:
    """Return the path of a file's sums: `.media.parquet.sha256` beside `media.parquet`."""
    return path.with_name(f".{path.name}.sha256")


def announce(path: Path, coming: Path, made_from: Mapping[str, str] | None = None) -> None:
    """Record the sum of the file that is about to replace `path`, and what it was made from.

    Call this before the replacement. The line of the current file stays below the new one: if the
    process is killed between the two steps, the file is known, whether old or new. This does not
    make a damaged file a good one.

    Args:
        path: the file that is replaced or created.
        coming: its replacement.
        made_from: the sums of what it was made from, by name.
    """
    known = [_line(sum_of(coming), made_from or {})]
    if path.exists() and not is_damaged(path):
        now = sum_of(path)
        known.append(_line(now, _known(path).get(now, {})))
    lines = "".join(f"{one}\n" for one in dict.fromkeys(known))
    replace_file(sums_of(path), lines.encode("ascii"))


def is_damaged(path: Path) -> bool:
    """Return whether a file differs from what was written.

    A file without sums, from an earlier atx or put there by hand, counts as good.

    Raises:
        OSError: it cannot be read.
    """
    # The file first: if it is replaced meanwhile, the sums read afterwards include the new file's.
    found = sum_of(path)
    return sums_of(path).exists() and found not in _known(path)


def made_from(path: Path) -> dict[str, str]:
    """Return the sums of what a file was made from, by name; none if unknown.

    Raises:
        OSError: it cannot be read.
    """
    return _known(path).get(sum_of(path), {})


def sum_of(path: Path) -> str:
    """Return the sha256 of a file, in hex, which distinguishes it from every other file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(found: str, parts: Mapping[str, str]) -> str:
    """Return the line for one state of a file: its sum, its parts, a check of both."""
    if not parts:
        return found
    said = " ".join([found, *(f"{name}={made}" for name, made in sorted(parts.items()))])
    return f"{said} #{_check(said)}"


def _check(said: str) -> str:
    return hashlib.sha256(said.encode("ascii", "replace")).hexdigest()[:16]


def _known(path: Path) -> dict[str, dict[str, str]]:
    """Return the states that a file may be in, by their sums: what each was made from.

    A line that has changed since it was written is ignored.
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
