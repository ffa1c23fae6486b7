"""Reads the tar inside a backup in bounded memory. Not here: what is in it (`archive.py`).

`tarfile` writes backups but does not read them: it accepts many formats, and believes whatever
length a header claims. A backup holds only regular files, in the pax format.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

_BLOCK = 512

#: Bytes that the extended header of a file may have: a name of at most 4,096 bytes, and a time.
_LONGEST_HEADER = 64 << 10

#: Zero bytes that may follow the last file, to the end of a record.
_LONGEST_END = 1 << 20

_FILE, _HEADER = (b"0", b"\0"), b"x"


class TarError(Exception):
    """The data are not the tar of a backup."""


@dataclass(frozen=True)
class Entry:
    """One file inside: its name, its size in bytes, its time of change in seconds since 1970.

    `is_file` is false for anything but a regular file, such as a link.
    """

    name: str
    size: int
    time: float
    is_file: bool


class TarReader:
    """Reads a tar from its beginning to its end.

    Its methods raise TarError if the tar is not a backup's, and EOFError if it ends early.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        """Keep the stream; nothing is read yet."""
        self._stream = stream
        self._left = self._padding = 0

    def next(self) -> Entry | None:
        """Return the next file, whose content `read` returns; None at the end.

        The previous file must have been read to its end.
        """
        if self._left:
            raise RuntimeError("the previous file has not been read to its end")
        self._whole(self._padding)
        said: dict[bytes, bytes] = {}
        header = self._header()
        if header and header[156:157] == _HEADER:
            length = _number(header[124:136])
            if length > _LONGEST_HEADER:
                raise TarError(f"a header of {length:,} bytes")
            said = _said(self._whole(length + -length % _BLOCK)[:length])
            header = self._header()
            if not header:
                raise TarError("nothing after a header")
        if not header:
            self._end()
            return None
        entry = _entry(header, said)
        self._left = entry.size if entry.is_file else 0
        self._padding = -self._left % _BLOCK
        return entry

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the file's content; none at its end."""
        part = self._stream.read(min(size, self._left))
        if self._left and not part:
            raise EOFError
        self._left -= len(part)
        return part

    def _header(self) -> bytes:
        """Return a header; no bytes for the empty one, after which comes the end."""
        header = self._whole(_BLOCK)
        if not any(header):
            return b""
        # The checksum counts its own field as blanks.
        if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise TarError("a header with a wrong checksum")
        return header

    def _whole(self, size: int) -> bytes:
        parts, left = [], size
        while left:
            part = self._stream.read(left)
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _end(self) -> None:
        """Read the few remaining bytes, so that gzip verifies its checksum at their end."""
        left = _LONGEST_END
        while part := self._stream.read(left):
            left -= len(part)
            if not left or any(part):
                raise TarError("something after the end")


def _entry(header: bytes, said: dict[bytes, bytes]) -> Entry:
    kind = header[156:157]
    if kind in (b"g", b"L", b"K", b"S", b"X", _HEADER):  # headers that no backup has
        raise TarError(f"a header of the kind {kind!r}")
    name = said.get(b"path", header[:100].partition(b"\0")[0])
    try:
        time = float(said.get(b"mtime", b"")) if b"mtime" in said else _number(header[136:148])
        size = int(said[b"size"]) if b"size" in said else _number(header[124:136])
        if not (0 <= size < 2**62 and abs(time) < 2**40):  # neither infinite nor NaN
            raise TarError("a size or a time that no file has")
        return Entry(name.decode(), size, time, kind in _FILE)
    except ValueError as error:
        raise TarError("an invalid name or number") from error


def _said(content: bytes) -> dict[bytes, bytes]:
    """Parse lines of the form "length keyword=value"; the length is that of the whole line."""
    said = {}
    while content:
        length, blank, _ = content[:20].partition(b" ")
        size = int(length) if length.isdigit() and blank else 0
        line, content = content[len(length) + 1 : size], content[size:]
        keyword, equals, value = line.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise TarError("an invalid line in a header")
        said[keyword] = value[:-1]
    return said


def _number(field: bytes) -> int:
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise TarError("a number that is not octal")
    return int(digits or b"0", 8)
