"""Every setting of the project, read from the environment and `.env`: names, defaults, checks.

Not here: what is done with them. A process reads its settings once, where it starts
(`atx`, or the resources of a Dagster run), and hands them on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atx_assets.errors import AtxError

#: The repository root when atx runs from a clone, else the folder it is started in.
ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "workspace.yaml").exists():
    ROOT = Path.cwd()

SOURCES = ("media", "training")
EXECUTORS = ("in_process", "multiprocess")


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
class Settings:
    """The settings of one process; `read_settings` makes them.

    `pg_host` and `mlflow_host` are empty when the embedded servers stand in for them.
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
    dagster_postgres_url: str = field(repr=False)
    source: str
    executor: str
    company_min_titles: int
    statement_timeout: int
    ui_port: int

    @property
    def dagster_home(self) -> Path:
        """Dagster's own folder, which holds a copy of the repository's `dagster.yaml`."""
        return self.home / "dagster"

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


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, by default the process's with `.env` beneath it.

    Paths are made absolute, from the repository root. An empty value counts as not set.

    Raises:
        AtxError: a value that cannot be used, named with what would be.
    """
    values = environment() if environ is None else dict(environ)
    return Settings(
        home=_path(values, "ATX_HOME", ".atx"),
        data_dir=_path(values, "ATX_DATA_DIR", "data"),
        pg_host=values.get("PG_HOST", ""),
        pg_port=_integer(values, "PG_PORT", 5432, 1, 65535),
        pg_db=values.get("PG_DB") or "media",
        pg_user=values.get("PG_USER") or "postgres",
        pg_pass=values.get("PG_PASS", ""),
        mlflow_host=values.get("MLFLOW_HOST", ""),
        mlflow_port=_integer(values, "MLFLOW_PORT", 5050, 1, 65535),
        dagster_postgres_url=values.get("DAGSTER_POSTGRES_URL", ""),
        source=_choice(values, "ATX_SOURCE", ("", *SOURCES), ""),
        executor=_choice(values, "ATX_EXECUTOR", EXECUTORS, "in_process"),
        company_min_titles=_integer(values, "ATX_COMPANY_MIN_TITLES", 5, 1, 1_000_000),
        statement_timeout=_integer(values, "ATX_STATEMENT_TIMEOUT", 300, 1, 86_400),
        ui_port=_integer(values, "ATX_UI_PORT", 3000, 1, 65535),
    )


def environment() -> dict[str, str]:
    """Return the process's environment over the values of `.env` in the repository root."""
    from dotenv import dotenv_values

    beneath = {
        k: v for k, v in dotenv_values(ROOT / ".env", interpolate=False).items() if v is not None
    }
    return {**beneath, **os.environ}


def _path(values: Mapping[str, str], name: str, default: str) -> Path:
    return (ROOT / Path(values.get(name) or default).expanduser()).absolute()


def _choice(values: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = values.get(name) or default
    if value not in allowed:
        raise AtxError(f"{name}={value!r} is none of {', '.join(filter(None, allowed))}")
    return value


def _integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name) or str(default)
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise AtxError(f"{name}={text!r} is not a whole number from {low} to {high}")
    return value
