"""The machine's time zone by name, as schedules need it, whatever form TZ has.

Not here: the setting that names another one (`ATX_TIMEZONE`).
"""

import os
import re
import zoneinfo
from functools import lru_cache
from pathlib import Path

#: A zone as POSIX writes it: a name, its offset, and perhaps summer time with its rules.
_POSIX = re.compile(r"(?P<name>[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d[\d:]*(?P<summer>\D.*)?")


def local_zone() -> str:
    """Return the name of the machine's zone, or of one that has the rules which TZ writes out."""
    from tzlocal import get_localzone_name

    written = _written()
    return (written and _named(written)) or get_localzone_name() or "UTC"


def is_understood() -> bool:
    """Whether TZ, if it is set, says which zone is meant."""
    written = _written()
    return not written or bool(_named(written))


def _written() -> str:
    written = os.environ.get("TZ", "").removeprefix(":")
    return "" if written == "/etc/localtime" else written  # the machine's own, in other words


@lru_cache(maxsize=8)
def _named(written: str) -> str:
    """Return the name of the zone that TZ means; nothing if there is none."""
    if written.startswith("/"):
        return _of_file(Path(written))
    try:
        zoneinfo.ZoneInfo(written)
    except (KeyError, ValueError, OSError):
        return _of_rules(written)
    return written


def _of_file(file: Path) -> str:
    for folder in map(Path, zoneinfo.TZPATH):
        if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
            return str(file.resolve().relative_to(folder.resolve()))
    return ""


def _of_rules(written: str) -> str:
    """Return a zone that has the rules of a POSIX zone from now on; the plainest name of those."""
    form = _POSIX.fullmatch(written)
    if not form:
        return ""
    # Without rules for its summer time, it means those of the zones that call it so.
    start = f"{written}," if form["summer"] and "," not in written else ""
    alike = [
        name
        for name, rules in _rules().items()
        if rules == written or (start and rules.startswith(start))
    ]
    short = form["name"].strip("<>")
    return min(
        alike, key=lambda name: (name != short, not name.startswith("Etc/"), name), default=""
    )


@lru_cache(maxsize=1)
def _rules() -> dict[str, str]:
    """Return the rules of each zone from now on: a zone's file ends with them, as POSIX has it."""
    found = {}
    for name in zoneinfo.available_timezones():
        for folder in zoneinfo.TZPATH:
            file = Path(folder) / name
            if file.is_file():
                found[name] = file.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].decode("latin-1")
                break
    return found
