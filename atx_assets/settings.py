"""Every setting of the project, read from the environment and `.env`: names, defaults, checks.

Not here: what is done with them. A process reads its settings once, where it starts
(`atx`, or the resources of a Dagster run), and hands them on.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.learning.operating_point import OperatingPoint
from atx_assets.schemas import FOLD_SCORES

#: The repository root when atx runs from a clone, else the folder it is started in.
ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "workspace.yaml").exists():
    ROOT = Path.cwd()

SOURCES = ("media", "training")
EXECUTORS = ("in_process", "multiprocess")
SEARCHES = ("race", "full", "off")
ALERT_FORMATS = ("ntfy", "slack", "discord", "json")

# Characters of a value that are told in a line.
_LONGEST = 100


@dataclass(frozen=True)
class Database:
    """How to reach the media database. `host` is a name, an address or a socket folder."""

    host: str
    port: int = 5432
    name: str = "media"
    user: str = "postgres"
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Name the database as a message should: never with its password."""
        return f"{self.name} on {self.host}:{self.port} as {self.user}"


@dataclass(frozen=True)
class Automation:
    """When things run by themselves, and who is told when they cannot. Times are in seconds.

    `label_drop_limit` is a share of the labels, above 0 and up to 1. The addresses may hold a
    secret, and are empty where nobody is to be told.
    """

    label_quiet_seconds: int
    label_max_wait_seconds: int
    rule_label_interval: int
    label_drop_limit: float
    retrain_cron: str
    timezone: str
    retrain_always: bool
    alert_url: str = field(repr=False)
    alert_format: str
    heartbeat_url: str = field(repr=False)


@dataclass(frozen=True)
class Learning:
    """How hyperparameters are searched and by which score, and where verdicts are taken."""

    search: str
    objective: str
    operating_point: OperatingPoint


@dataclass(frozen=True)
class Settings:
    """The settings of one process; `read_settings` makes them.

    `pg_host` and `mlflow_host` are empty when the embedded servers stand in for them.
    `quarantine_warn` and `quarantine_block` are shares, from 0 to 1, of the rows that are read.
    """

    home: Path
    data_dir: Path
    pg_host: str
    pg_port: int
    pg_db: str
    pg_user: str
    pg_pass: str = field(repr=False)
    mlflow_host: str
    mlflow_port: int
    mlflow_on: bool
    model_name: str
    dagster_postgres_url: str = field(repr=False)
    source: str
    executor: str
    category_min_titles: int
    company_min_titles: int
    quarantine_warn: float
    quarantine_block: float
    statement_timeout: int
    keep_days: int
    ui_port: int
    report_port: int
    bind: str
    allowed_hosts: tuple[str, ...]
    correction_user: str
    correction_pass: str = field(repr=False)
    learning: Learning
    automation: Automation

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder, which holds a copy of the repository's `dagster.yaml`."""
        return self.home / "dagster"

    @property
    def web_host(self) -> str:
        """The address of this machine at which it finds its own pages, whatever `bind` is."""
        return "127.0.0.1" if self.bind == "0.0.0.0" else self.bind  # noqa: S104

    @property
    def database(self) -> Database:
        """The media database that `PG_*` names.

        Raises:
            AtxError: `PG_HOST` is not set and no embedded server has been started for it.
        """
        if not self.pg_host:
            raise AtxError(
                "PG_HOST is not set and the embedded PostgreSQL is not running: start it with "
                '`atx start`, then `eval "$(atx env)"`, or set PG_HOST to your own server'
            )
        return Database(self.pg_host, self.pg_port, self.pg_db, self.pg_user, self.pg_pass)

    @property
    def correction_database(self) -> Database:
        """The media database as the user who may correct labels in it.

        Raises:
            AtxError: see `database`.
        """
        if not self.correction_user:
            return self.database
        return replace(self.database, user=self.correction_user, password=self.correction_pass)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, by default the process's with `.env` beneath it.

    Paths are made absolute, from the repository root. An empty value counts as not set.

    Raises:
        AtxError: a value that cannot be used, named with what would be.
    """
    values = environment() if environ is None else environ
    quarantine_block = _share(values, "ATX_QUARANTINE_BLOCK", 0.2, none=True)
    # Who asks for a stop at less has not asked for a warning that comes later.
    quarantine_warn = _share(values, "ATX_QUARANTINE_WARN", min(0.01, quarantine_block), none=True)
    if quarantine_warn > quarantine_block:
        raise AtxError(
            f"ATX_QUARANTINE_WARN={quarantine_warn:g} is above "
            f"ATX_QUARANTINE_BLOCK={quarantine_block:g}: a run would stop before it warns"
        )
    return Settings(
        home=_path(values, "ATX_HOME", ".atx"),
        data_dir=_path(values, "ATX_DATA_DIR", "data"),
        pg_host=values.get("PG_HOST", ""),
        pg_port=_integer(values, "PG_PORT", 5432, 1, 65535),
        pg_db=values.get("PG_DB") or "media",
        pg_user=values.get("PG_USER") or "postgres",
        pg_pass=values.get("PG_PASS", ""),
        mlflow_host=_mlflow_host(values, "MLFLOW_HOST"),
        mlflow_port=_integer(values, "MLFLOW_PORT", 5050, 1, 65535),
        mlflow_on=_choice(values, "ATX_MLFLOW", ("on", "off"), "on") == "on",
        model_name=_model_name(values, "ATX_MODEL_NAME"),
        dagster_postgres_url=values.get("DAGSTER_POSTGRES_URL", ""),
        source=_choice(values, "ATX_SOURCE", ("", *SOURCES), ""),
        executor=_choice(values, "ATX_EXECUTOR", EXECUTORS, "in_process"),
        category_min_titles=_integer(values, "ATX_CATEGORY_MIN_TITLES", 2, 1, 1_000_000),
        company_min_titles=_integer(values, "ATX_COMPANY_MIN_TITLES", 5, 1, 1_000_000),
        quarantine_warn=quarantine_warn,
        quarantine_block=quarantine_block,
        statement_timeout=_integer(values, "ATX_STATEMENT_TIMEOUT", 300, 1, 86_400),
        keep_days=_integer(values, "ATX_KEEP_DAYS", 90, 1, 36_500),
        ui_port=_integer(values, "ATX_UI_PORT", 3000, 1, 65535),
        report_port=_integer(values, "ATX_REPORT_PORT", 3030, 1, 65535),
        bind=_address(values, "ATX_BIND", "127.0.0.1"),
        allowed_hosts=_hosts(values, "ATX_ALLOWED_HOSTS"),
        correction_user=values.get("ATX_CORRECTION_PG_USER", ""),
        correction_pass=values.get("ATX_CORRECTION_PG_PASS", ""),
        learning=Learning(
            search=_choice(values, "ATX_SEARCH", SEARCHES, "race"),
            objective=_choice(values, "ATX_OBJECTIVE", FOLD_SCORES, "average_precision"),
            operating_point=_operating_point(values, "ATX_OPERATING_POINT"),
        ),
        automation=Automation(
            label_quiet_seconds=_integer(values, "ATX_LABEL_QUIET_SECONDS", 20, 0, 3600),
            label_max_wait_seconds=_integer(values, "ATX_LABEL_MAX_WAIT_SECONDS", 300, 0, 86_400),
            rule_label_interval=_integer(values, "ATX_RULE_LABEL_INTERVAL", 3600, 0, 604_800),
            label_drop_limit=_share(values, "ATX_LABEL_DROP_LIMIT", 0.5),
            retrain_cron=values.get("ATX_RETRAIN_CRON") or "0 2 * * *",
            timezone=_timezone(values, "ATX_TIMEZONE"),
            retrain_always=_yes_or_no(values, "ATX_RETRAIN_ALWAYS"),
            alert_url=_url(values, "ATX_ALERT_URL"),
            alert_format=_choice(values, "ATX_ALERT_FORMAT", ALERT_FORMATS, "ntfy"),
            heartbeat_url=_url(values, "ATX_HEARTBEAT_URL"),
        ),
    )


def environment() -> dict[str, str]:
    """Return the process's environment over the values of `.env` in the repository root."""
    from dotenv import dotenv_values

    beneath = {
        k: v for k, v in dotenv_values(ROOT / ".env", interpolate=False).items() if v is not None
    }
    return {**beneath, **os.environ}


def _path(values: Mapping[str, str], name: str, default: str) -> Path:
    text = values.get(name) or default
    if "\0" in text:
        raise AtxError(f"{name}={_quoted(text)} is no path: it holds a NUL character")
    try:
        return (ROOT / Path(text).expanduser()).absolute()
    except RuntimeError as error:
        raise AtxError(
            f"{name}={_quoted(text)} has no home that is known for its ~: write the whole path"
        ) from error


def _quoted(text: str) -> str:
    """Return a value as a line shows it, be it as long as it may."""
    return repr(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _choice(values: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = values.get(name) or default
    if value not in allowed:
        raise AtxError(f"{name}={_quoted(value)} is none of {', '.join(filter(None, allowed))}")
    return value


def _integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise AtxError(f"{name}={_quoted(text)} is not a whole number from {low} to {high}")
    return value


def _address(values: Mapping[str, str], name: str, default: str) -> str:
    text = values.get(name) or default
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise AtxError(
            f"{name}={_quoted(text)} is no IPv4 address of this machine, such as 127.0.0.1, or "
            "0.0.0.0 for all of them"
        ) from error


def _hosts(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return names as a browser sends them in Host: lower-case, with a port or without."""
    hosts = [part.strip().lower() for part in values.get(name, "").split(",")]
    hosts = [host for host in hosts if host]
    for host in hosts:
        label = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
        known = re.fullmatch(rf"{label}(\.{label})*(:([1-9][0-9]{{0,4}}))?", host)
        if not known or int(known[5] or 1) > 65535:
            raise AtxError(
                f"{name}={_quoted(host)} is no name of a host, with a port or without; write for "
                "instance media.example.org or media.example.org:8443, with commas between"
            )
    return tuple(hosts)


def _share(values: Mapping[str, str], name: str, default: float, *, none: bool = False) -> float:
    """Return a share up to 1; one of nothing, where `none` allows it."""
    text = values.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 < value <= 1 or (none and value == 0)):
        least = "from 0 to 1" if none else "above 0 and up to 1"
        raise AtxError(f"{name}={_quoted(text)} is not a number {least}, such as {default}")
    return value


def _yes_or_no(values: Mapping[str, str], name: str) -> bool:
    return _choice(values, name, ("yes", "no"), "no") == "yes"


def _operating_point(values: Mapping[str, str], name: str) -> OperatingPoint:
    text = values.get(name) or "f1"
    try:
        return OperatingPoint.parse(text)
    except ValueError as error:
        raise AtxError(f"{name}={_quoted(text)} is no operating point; {error}") from error


def _mlflow_host(values: Mapping[str, str], name: str) -> str:
    """Return a name or an address, with `http://` and a user and password before it, or without."""
    host = values.get(name, "")
    if host and not re.fullmatch(r"(https?://([^@/?#\s]*@)?)?([\w.-]+|\[[0-9a-fA-F:.]+\])", host):
        # Not repeated: it may hold a secret.
        raise AtxError(
            f"{name} is no name of a host: write for instance mlflow.home, or "
            "https://USER:PASSWORD@mlflow.home (with @, : and / in the password written as %40, "
            "%3A and %2F)"
        )
    return host


def _model_name(values: Mapping[str, str], name: str) -> str:
    """Return the name of the registered model; MLflow takes no slash, colon or quote in it."""
    text = values.get(name) or "atx"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", text):
        raise AtxError(
            f"{name}={_quoted(text)} is not made of letters, digits, spaces and _ . - alone"
        )
    return text


def _timezone(values: Mapping[str, str], name: str) -> str:
    """Return the name of a time zone, by default the machine's own."""
    from zoneinfo import ZoneInfo

    from tzlocal import get_localzone_name

    zone = values.get(name) or get_localzone_name() or "UTC"
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise AtxError(
            f"{name}={_quoted(zone)} is no time zone; write for instance Europe/Berlin"
        ) from error
    return zone


def _url(values: Mapping[str, str], name: str) -> str:
    url = values.get(name, "")
    # Not repeated: it may hold a secret.
    if url and not url.startswith(("http://", "https://")):
        raise AtxError(f"{name} is no address that begins with http:// or https://")
    if not url.isprintable() or " " in url:
        raise AtxError(f"{name} is no address: it holds a space, a line break or the like")
    return url
