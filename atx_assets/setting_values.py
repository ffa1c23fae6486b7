"""Parses the text of one setting, and raises a one-line error if it is not valid.

No line repeats a value: a person who confused two settings may have written a password there, or an
address with a secret in it. Not here: which settings there are (`settings.py`).
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from atx_assets.errors import SettingError
from atx_assets.operating_point import OperatingPoint

#: What marks a URL or a connection string, and is in no folder and no name of a database.
_ADDRESS = re.compile(r"://|:[^/]*@|\b(password|passwd|pwd)\s*=", re.IGNORECASE)
#: The folder of a socket, an abstract socket, or a name.
_HOST = re.compile(r"/[^@]*|@[\w./-]+|\w[\w.-]*")


def read_path(values: Mapping[str, str], name: str, default: str, root: Path) -> Path:
    """Return an absolute path; a relative one starts at `root`."""
    text = values.get(name) or default
    if "\0" in text:
        raise SettingError(f"{name} is not a path: it holds a NUL character")
    if _ADDRESS.search(text):
        raise SettingError(f"{name} is not a path but an address: write only the folder")
    try:
        return (root / Path(text).expanduser()).absolute()
    except RuntimeError:
        raise SettingError(
            f"{name} begins with ~, and that home folder is unknown: write the whole path"
        ) from None


def read_choice(
    values: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str
) -> str:
    """Return one of the allowed words."""
    value = values.get(name) or default
    if value not in allowed:
        raise SettingError(f"{name} must be one of {', '.join(filter(None, allowed))}")
    return value


def read_integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number within its bounds."""
    text = values.get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise SettingError(f"{name} must be a whole number from {low} to {high}")
    return value


def read_address(values: Mapping[str, str], name: str, default: str) -> str:
    """Return an IPv4 address."""
    try:
        return str(IPv4Address(values.get(name) or default))
    except ValueError:
        raise SettingError(
            f"{name} must be an IPv4 address of this machine, such as 127.0.0.1, or 0.0.0.0 for "
            "all of them"
        ) from None


def read_hosts(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return names in the form of the header Host: lower-case, with or without a port."""
    hosts = [part.strip().lower() for part in values.get(name, "").split(",")]
    hosts = [host for host in hosts if host]
    for host in hosts:
        label = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
        known = re.fullmatch(rf"{label}(\.{label})*(:([1-9][0-9]{{0,4}}))?", host)
        if not known or int(known[5] or 1) > 65535:
            raise SettingError(
                f"{name} must name hosts, each with or without a port: write for instance "
                "media.example.org or media.example.org:8443, separated by commas"
            )
    return tuple(hosts)


def read_share(
    values: Mapping[str, str], name: str, default: float, *, none: bool = False
) -> float:
    """Return a share, above 0 and up to 1; also 0 if `none` is true."""
    text = values.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 < value <= 1 or (none and value == 0)):
        least = "from 0 to 1" if none else "above 0 and up to 1"
        raise SettingError(f"{name} must be a number {least}, such as {default}")
    return value


def read_yes_or_no(values: Mapping[str, str], name: str) -> bool:
    """Return whether the value is yes; the default is no."""
    return read_choice(values, name, ("yes", "no"), "no") == "yes"


def read_operating_point(values: Mapping[str, str], name: str) -> OperatingPoint:
    """Return the operating point; the default is the best F1."""
    text = values.get(name) or "f1"
    try:
        return OperatingPoint.parse(text)
    except ValueError as error:
        raise SettingError(f"{name} is not an operating point; {error}") from error


def read_database_host(values: Mapping[str, str], name: str) -> str:
    """Return the host of a database: names, addresses or socket folders, separated by commas."""
    host = values.get(name, "")
    if _ADDRESS.search(host) or not all(map(_is_host, host.split(",") if host else ())):
        raise SettingError(
            f"{name} is not a host: write only its name, its address or the folder of its socket, "
            "and the rest in PG_PORT, PG_DB, PG_USER and PG_PASS"
        )
    return host


def _is_host(text: str) -> bool:
    try:
        return bool(_HOST.fullmatch(text)) or bool(ip_address(text))
    except ValueError:
        return False


def read_database_name(values: Mapping[str, str], name: str, default: str) -> str:
    """Return the name of a database or of its user."""
    text = values.get(name) or default
    if ":" in text or _ADDRESS.search(text):
        raise SettingError(
            f"{name} is not a name but an address, or has a password in it: write only the name, "
            "the host in PG_HOST and the password in "
            + ("ATX_CORRECTION_PG_PASS" if name.startswith("ATX_CORRECTION") else "PG_PASS")
        )
    return text


def read_mlflow_host(values: Mapping[str, str], name: str) -> str:
    """Return a name or an address, optionally after `http://` and a user with a password."""
    host = values.get(name, "")
    if host and not re.fullmatch(r"(https?://([^@/?#\s]*@)?)?([\w.-]+|\[[0-9a-fA-F:.]+\])", host):
        raise SettingError(
            f"{name} is not the name of a host: write for instance mlflow.home, or "
            "https://USER:PASSWORD@mlflow.home (with @, : and / in the password written as %40, "
            "%3A and %2F); the port is MLFLOW_PORT"
        )
    return host


def read_model_name(values: Mapping[str, str], name: str) -> str:
    """Return the name of the registered model; MLflow accepts no slash, colon or quote in it."""
    text = values.get(name) or "atx"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", text):
        raise SettingError(f"{name} may hold only letters, digits, spaces and _ . -")
    return text


def read_timezone(values: Mapping[str, str], name: str) -> str:
    """Return the name of a time zone, by default the machine's own."""
    from zoneinfo import ZoneInfo

    from atx_assets.local_zone import local_zone

    zone = values.get(name) or local_zone()
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise SettingError(
            f"{name} is not the name of a time zone; write for instance Europe/Berlin"
        ) from None
    return zone


def read_url(values: Mapping[str, str], name: str) -> str:
    """Return a web address."""
    url = values.get(name, "")
    if url and not url.startswith(("http://", "https://")):
        raise SettingError(f"{name} is not an address that begins with http:// or https://")
    if not url.isprintable() or " " in url:
        raise SettingError(f"{name} is not an address: it holds a space, a line break or the like")
    return url
