"""The throwaway servers and the data that tests anywhere in this folder ask for."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from atx_assets.local.postgres import EmbeddedPostgres
from atx_assets.settings import ROOT, Database

_SETTINGS = ("PG_", "ATX_", "MLFLOW_", "DAGSTER_")
_NAMES = ("PG_HOST", "PG_PORT", "PG_DB", "PG_USER", "PG_PASS", "MLFLOW_HOST", "MLFLOW_PORT")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that is thrown away after the last test."""
    with _server_folder() as home, EmbeddedPostgres(home) as server:
        yield server


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty temporary folder for what holds an embedded server.

    Not `tmp_path`: as root the server runs as another user, and every other pytest that starts
    takes the search permission from the folder above it again.
    """
    with _server_folder() as folder:
        yield folder


@contextmanager
def _server_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="atx-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.ensure_database(name)
    try:
        yield Database(postgres.host, postgres.port, name, postgres.user)
    finally:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        where = f"host={postgres.host} port={postgres.port} user={postgres.user} dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(drop)


@pytest.fixture
def shared_data() -> Path:
    """The folder of the owner's exports, beside the repository; CI must have it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"the exports of real libraries are not in {folder}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment of a child process in which no setting of the project is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    # Empty counts as not set, and hides what a developer's own `.env` says.
    return kept | dict.fromkeys((*_NAMES, "DAGSTER_POSTGRES_URL", "ATX_SOURCE"), "")
