"""The name of the machine's time zone, which schedules need, whatever the form of TZ.

Not here: the setting that names another one (`ATX_TIMEZONE`).
"""

import os
import re
import zoneinfo
from functools import lru_cache
from pathlib import Path

#: A zone in POSIX form: a name, its offset, and optionally summer time with its rules.
_POSIX = re.compile(r"(?P<name>[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d[\d:]*(?P<summer>\D.*)?")


def local_zone() -> str:
    """Return the name of the machine's zone, or of a zone with the rules that TZ spells out."""
    from tzlocal import get_localzone_name

    written = _written()
    return (written and _named(written)) or get_localzone_name() or "UTC"


def is_understood() -> bool:
    """Return whether TZ, if it is set, identifies a zone."""
    written = _written()
    return not written or bool(_named(written))


def _written() -> str:
    written = os.environ.get("TZ", "").removeprefix(":")
    return "" if written == "/etc/localtime" else written  # that file is the machine's own zone


@lru_cache(maxsize=8)
def _named(written: str) -> str:
    """Return the name of the zone that TZ means; empty if there is none."""
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
    """Return a zone with the future rules of a POSIX zone; of several, the best named."""
    form = _POSIX.fullmatch(written)
    if not form:
        return ""
    # Without rules for its summer time, it means the rules of zones with these names.
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
    """Return the future rules of each zone: a zone's file ends with them, in POSIX form."""
    rules = {}
    for name in zoneinfo.available_timezones():
        for folder in zoneinfo.TZPATH:
            file = Path(folder) / name
            if file.is_file():
                rules[name] = file.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].decode("latin-1")
                break
    return rules
