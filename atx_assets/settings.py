"""Every setting of the project, read from the environment and `.env`: names and defaults.

Not here: how a value is parsed (`setting_values.py`), what it is used for. A process reads its
settings once, when it starts (`atx`, or the resources of a Dagster run), and passes them on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from atx_assets.embedded import data_folder, socket_folder
from atx_assets.errors import SettingError
from atx_assets.local_zone import is_understood
from atx_assets.operating_point import OperatingPoint
from atx_assets.schemas import FOLD_SCORES
from atx_assets.setting_values import (
    read_address,
    read_choice,
    read_database_host,
    read_database_name,
    read_hosts,
    read_integer,
    read_mlflow_host,
    read_model_name,
    read_operating_point,
    read_path,
    read_share,
    read_timezone,
    read_url,
    read_yes_or_no,
)

#: The repository root if atx runs from a clone, else the current folder at the start.
ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "workspace.yaml").exists():
    ROOT = Path.cwd()

SOURCES = ("media", "training")
EXECUTORS = ("in_process", "multiprocess")
SEARCHES = ("race", "full", "off")
ALERT_FORMATS = ("ntfy", "slack", "discord", "json")


@dataclass(frozen=True)
class Database:
    """How to reach the media database. `host` is a name, an address or a socket folder.

    `embedded` says that it is on the embedded server of the home.
    """

    host: str
    port: int = 5432
    name: str = "media"
    user: str = "postgres"
    password: str = field(default="", repr=False)
    embedded: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        """Return the database's name for messages, without its password."""
        return f"{self.name} on {self.host}:{self.port} as {self.user}"


@dataclass(frozen=True)
class Automation:
    """When things run by themselves, and where alerts go. Times are in seconds.

    `label_drop_limit` is a share of the labels, above 0 and up to 1. The addresses may hold a
    secret, and are empty if nothing is to be sent.
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
    """How hyperparameters are searched, which score that optimises, and the operating point."""

    search: str
    objective: str
    operating_point: OperatingPoint


@dataclass(frozen=True)
class Settings:
    """The settings of one process, made by `read_settings`.

    `pg_host` and `mlflow_host` are empty if the embedded servers are used.
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
        """The address at which this machine reaches its own pages, whatever `bind` is."""
        return "127.0.0.1" if self.bind == "0.0.0.0" else self.bind  # noqa: S104

    @property
    def database(self) -> Database:
        """The media database that `PG_*` names.

        Raises:
            SettingError: `PG_HOST` is not set and no embedded server has been started for it.
        """
        if not self.pg_host:
            raise SettingError(
                "PG_HOST is not set and the embedded PostgreSQL is not running: start it with "
                '`atx start`, then `eval "$(atx env)"`, or set PG_HOST to your own server'
            )
        embedded = self.pg_host == str(socket_folder(data_folder(self.home)))
        return Database(
            self.pg_host, self.pg_port, self.pg_db, self.pg_user, self.pg_pass, embedded
        )

    @property
    def correction_database(self) -> Database:
        """The media database, with the user that may correct labels in it.

        Raises:
            SettingError: see `database`.
        """
        if not self.correction_user:
            return self.database
        return replace(self.database, user=self.correction_user, password=self.correction_pass)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, by default the process's with `.env` beneath it.

    Paths are made absolute, from the repository root. An empty value counts as not set.

    Raises:
        SettingError: a value cannot be used; the line says which values can.
    """
    values = environment() if environ is None else environ
    quarantine_block = read_share(values, "ATX_QUARANTINE_BLOCK", 0.2, none=True)
    # A stop below the default warning lowers the warning, too: it would otherwise come later.
    quarantine_warn = read_share(
        values, "ATX_QUARANTINE_WARN", min(0.01, quarantine_block), none=True
    )
    if quarantine_warn > quarantine_block:
        raise SettingError(
            f"ATX_QUARANTINE_WARN={quarantine_warn:g} is above "
            f"ATX_QUARANTINE_BLOCK={quarantine_block:g}: a run would stop before it warns"
        )
    return Settings(
        home=read_path(values, "ATX_HOME", ".atx", ROOT),
        data_dir=read_path(values, "ATX_DATA_DIR", "data", ROOT),
        pg_host=read_database_host(values, "PG_HOST"),
        pg_port=read_integer(values, "PG_PORT", 5432, 1, 65535),
        pg_db=read_database_name(values, "PG_DB", "media"),
        pg_user=read_database_name(values, "PG_USER", "postgres"),
        pg_pass=values.get("PG_PASS", ""),
        mlflow_host=read_mlflow_host(values, "MLFLOW_HOST"),
        mlflow_port=read_integer(values, "MLFLOW_PORT", 5050, 1, 65535),
        mlflow_on=read_choice(values, "ATX_MLFLOW", ("on", "off"), "on") == "on",
        model_name=read_model_name(values, "ATX_MODEL_NAME"),
        dagster_postgres_url=values.get("DAGSTER_POSTGRES_URL", ""),
        source=read_choice(values, "ATX_SOURCE", ("", *SOURCES), ""),
        executor=read_choice(values, "ATX_EXECUTOR", EXECUTORS, "in_process"),
        category_min_titles=read_integer(values, "ATX_CATEGORY_MIN_TITLES", 2, 1, 1_000_000),
        company_min_titles=read_integer(values, "ATX_COMPANY_MIN_TITLES", 5, 1, 1_000_000),
        quarantine_warn=quarantine_warn,
        quarantine_block=quarantine_block,
        statement_timeout=read_integer(values, "ATX_STATEMENT_TIMEOUT", 300, 1, 86_400),
        keep_days=read_integer(values, "ATX_KEEP_DAYS", 90, 1, 36_500),
        ui_port=read_integer(values, "ATX_UI_PORT", 3000, 1, 65535),
        report_port=read_integer(values, "ATX_REPORT_PORT", 3030, 1, 65535),
        bind=read_address(values, "ATX_BIND", "127.0.0.1"),
        allowed_hosts=read_hosts(values, "ATX_ALLOWED_HOSTS"),
        correction_user=read_database_name(values, "ATX_CORRECTION_PG_USER", ""),
        correction_pass=values.get("ATX_CORRECTION_PG_PASS", ""),
        learning=Learning(
            search=read_choice(values, "ATX_SEARCH", SEARCHES, "race"),
            objective=read_choice(values, "ATX_OBJECTIVE", FOLD_SCORES, "average_precision"),
            operating_point=read_operating_point(values, "ATX_OPERATING_POINT"),
        ),
        automation=Automation(
            label_quiet_seconds=read_integer(values, "ATX_LABEL_QUIET_SECONDS", 20, 0, 3600),
            label_max_wait_seconds=read_integer(
                values, "ATX_LABEL_MAX_WAIT_SECONDS", 300, 0, 86_400
            ),
            rule_label_interval=read_integer(values, "ATX_RULE_LABEL_INTERVAL", 3600, 0, 604_800),
            label_drop_limit=read_share(values, "ATX_LABEL_DROP_LIMIT", 0.5),
            retrain_cron=values.get("ATX_RETRAIN_CRON") or "0 2 * * *",
            timezone=read_timezone(values, "ATX_TIMEZONE"),
            retrain_always=read_yes_or_no(values, "ATX_RETRAIN_ALWAYS"),
            alert_url=read_url(values, "ATX_ALERT_URL"),
            alert_format=read_choice(values, "ATX_ALERT_FORMAT", ALERT_FORMATS, "ntfy"),
            heartbeat_url=read_url(values, "ATX_HEARTBEAT_URL"),
        ),
    )


def environment() -> dict[str, str]:
    """Return the process's environment over the values of `.env` in the repository root.

    Raises:
        SettingError: `.env` is not encoded in UTF-8.
    """
    from dotenv import dotenv_values

    path = ROOT / ".env"
    try:
        values = dotenv_values(path, interpolate=False)
    except UnicodeDecodeError:
        # Without the cause: it shows the bytes, which may be a password.
        raise SettingError(f"{path} is not text in UTF-8: save it as UTF-8") from None
    beneath = {name: value for name, value in values.items() if value is not None}
    return {**beneath, **os.environ}


def guessed_zone() -> str:
    """Return a line if the nightly run's zone is a guess, because TZ names none; else empty."""
    if environment().get("ATX_TIMEZONE") or is_understood():
        return ""
    return "TZ is set but names no time zone: set ATX_TIMEZONE, for instance to Europe/Berlin"
