"""Brings the tables of Dagster's storage and of the embedded MLflow store up to date.

A home may have been made by an earlier release of atx, whose Dagster and MLflow used other tables.
Dagster's and MLflow's own migrations update them once, when they are first needed; tables of a
later release are left alone. Not here: PostgreSQL's own files (`home/postgres/cluster.py` and
`home/backup/backup.py`), the models (`models/bundle.py`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from enum import Enum
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.home.dagster_storage import connect_storage, open_instance, reach_storage
from atx_assets.home.logs import last_lines
from atx_assets.home.mlflow_store import copy_store
from atx_assets.home.moved_home import follow_home
from atx_assets.models.mlflow_server import embedded_store, store_uri
from atx_assets.models.sqlite_faults import store_fault
from atx_assets.settings import Settings
from atx_assets.storage.locks import locked

logger = logging.getLogger(__name__)

#: Seconds to wait for another writer of MLflow's store.
_PATIENCE = 60


class Age(Enum):
    """The version of tables, compared with the installed packages."""

    NONE = "not created yet"
    OLDER = "from an earlier release"
    CURRENT = "up to date"
    LATER = "from a later release"


def ready_stores(settings: Settings) -> None:
    """Reach Dagster's storage, and bring it and the embedded MLflow store up to date.

    First updates the paths in a store whose home was moved or copied.

    Raises:
        AtxError: one cannot be reached or brought up to date, or a later release made it.
    """
    reach_storage(settings)
    follow_home(settings)
    if _dagster_is(settings, Age.OLDER) or _mlflow_is(settings, Age.OLDER):
        locks = settings.home / "locks"
        locks.mkdir(mode=0o700, exist_ok=True)
        with locked(locks / "upgrade", waiting_for="another atx that brings the home up to date"):
            # Another atx may have done it meanwhile.
            if _dagster_is(settings, Age.OLDER):
                _upgrade_dagster(settings)
            if _mlflow_is(settings, Age.OLDER):
                _upgrade_mlflow(settings)
    check_stores(settings)


def check_stores(settings: Settings) -> None:
    """Check that no later release made the tables.

    Raises:
        AtxError: a later release made them.
    """
    for name, age in (("Dagster", dagster_age(settings)), ("MLflow", mlflow_age(settings))):
        if age is Age.LATER:
            raise AtxError(
                f"the tables of {name} in {settings.home} are from a later release of atx: "
                "install that one again, or restore a backup that this one made"
            )


def dagster_age(settings: Settings) -> Age:
    """Compare the version of Dagster's tables, which can be reached, with the installed Dagster."""
    with connect_storage(settings) as connection:
        table = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
        if table == (None,):
            return Age.NONE
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return _age(row[0] if row else None, _folder_of("dagster", "_core/storage/alembic/versions"))


def mlflow_age(settings: Settings) -> Age:
    """Compare the version of the embedded store's tables with the installed MLflow."""
    store = embedded_store(settings)
    if settings.mlflow_host or not settings.mlflow_on or not store.exists():
        return Age.NONE
    try:
        with closing(sqlite3.connect(store, timeout=_PATIENCE)) as connection:
            exists = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            if not connection.execute(exists).fetchone():
                return Age.NONE
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise AtxError(f"{store} {store_fault(store, error)}") from error
    return _age(row[0] if row else None, _folder_of("mlflow", "store/db_migrations/versions"))


def revisions(folder: Path) -> tuple[set[str], set[str]]:
    """Read the migrations in a folder of alembic: return all of them, and those without successor.

    They are read, not run: running them would import all of MLflow, which takes seconds.
    """
    known, followed = set(), set()
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if named := re.search(r'^revision\b[^=\n]*=\s*["\'](\w+)', text, re.MULTILINE):
            known.add(named[1])
        if before := re.search(r"^down_revision\b[^=\n]*=([^#\n]*)", text, re.MULTILINE):
            followed.update(re.findall(r'["\'](\w+)["\']', before[1]))
    return known, known - followed


def _age(revision: str | None, folder: Path) -> Age:
    if revision is None:
        return Age.NONE
    known, heads = revisions(folder)
    if revision in heads:
        return Age.CURRENT
    return Age.OLDER if revision in known else Age.LATER


def _dagster_is(settings: Settings, age: Age) -> bool:
    return dagster_age(settings) is age


def _mlflow_is(settings: Settings, age: Age) -> bool:
    return mlflow_age(settings) is age


def _upgrade_dagster(settings: Settings) -> None:
    logger.info("the home is from an earlier release: bringing Dagster's tables up to date")
    # Alembic sets up logging of its own, which would silence ours.
    with open_instance(settings) as instance:
        instance.upgrade()


def _upgrade_mlflow(settings: Settings) -> None:
    """Bring a copy of the store up to date, and replace the store with it if that succeeded."""
    logger.info("the home is from an earlier release: bringing MLflow's tables up to date")
    store = embedded_store(settings)
    copy = store.with_name(f"{store.name}.upgrading")
    log = settings.home / "logs" / "mlflow-upgrade.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    copy.unlink(missing_ok=True)
    try:
        copy_store(store, copy)
        with log.open("wb") as output:
            done = subprocess.run(
                # Python imports from its current folder: not the store's, which a restore fills.
                [sys.executable, "-P", "-m", "mlflow", "db", "upgrade", store_uri(copy)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=os.environ | {"MLFLOW_TRACKING_URI": store_uri(copy)},
                check=False,
            )
        if done.returncode:
            cause = last_lines(log, 1)
            full = "is full" in cause or "No space left" in cause
            fix = "make room on its disk, or set" if full else "set"
            raise AtxError(
                f"MLflow cannot bring {store} up to date: {cause} (log: {log}); it is unchanged: "
                f"{fix} ATX_MLFLOW=off"
            )
        with copy.open("rb") as written:
            os.fsync(written.fileno())
        copy.replace(store)
    finally:
        copy.unlink(missing_ok=True)


def _folder_of(package: str, folder: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise AtxError(f"the package {package} is missing: reinstall atx")
    return Path(spec.origin).parent / folder
