"""What the tests of faults share: a PostgreSQL that stands for somebody's own, and a clock."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from atx_assets.home.home import DAGSTER_DATABASE
from atx_assets.home.postgres.cluster import Cluster
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.environment import require, wait_until
from atx_assets_tests.builders.postgres import storage_url
from atx_assets_tests.programs import faketime_libraries


def storage_on(server: EmbeddedPostgres) -> dict[str, str]:
    """Return what keeps Dagster's storage on a server, in a database that is made if missing."""
    server.ensure_database(DAGSTER_DATABASE)
    return {"DAGSTER_POSTGRES_URL": storage_url(server, DAGSTER_DATABASE)}


class OwnServer:
    """A PostgreSQL server that no atx looks after, with the database `media`."""

    def __init__(self, folder: Path) -> None:
        self._cluster = Cluster(folder.resolve())
        self._server = EmbeddedPostgres(folder)

    @property
    def database(self) -> Database:
        return Database(self._server.host, self._server.port, "media", self._server.user)

    @property
    def settings(self) -> dict[str, str]:
        """What reaches its database as the media."""
        found = self.database
        return {"PG_HOST": found.host, "PG_PORT": str(found.port), "PG_USER": found.user}

    def storage(self) -> dict[str, str]:
        """What keeps Dagster's storage on it."""
        return storage_on(self._server)

    def open(self) -> None:
        self._server.acquire()
        self._server.ensure_database("media")

    def load(self, library: Path) -> None:
        with connect(self.database, statement_timeout=60) as connection:
            load_file(connection, library)

    def stop_at_once(self) -> None:
        """Stop as `pg_ctl -m immediate` does, and wait until nothing of it is left."""
        pid = int((self._cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        end = time.monotonic() + 60
        while self._cluster.lives:
            assert time.monotonic() < end
            time.sleep(0.02)

    def start_again(self) -> None:
        assert self._server.revive()

    def close(self) -> None:
        self._server.release()


@contextmanager
def held_up(database: Database) -> Iterator[Callable[[], None]]:
    """Hold the media's table; yields what waits until somebody wants to read it."""
    where = f"host={database.host} port={database.port} user={database.user} dbname=media"
    connection = psycopg.connect(where)
    try:
        connection.execute("LOCK TABLE atp.media IN ACCESS EXCLUSIVE MODE")
        wants = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        yield lambda: wait_until(
            lambda: connection.execute(wants).fetchone() != (0,), "a reader", 120
        )
    finally:
        connection.close()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    # Not a folder of pytest's: the server runs as another user there.
    folder = Path(tempfile.mkdtemp(prefix="atx-own-"))
    server = OwnServer(folder)
    try:
        server.open()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


class SetClock:
    """A clock that is set for the programs started with `settings`, and for nobody else."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.settings = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",  # 0 takes a run half as long again
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set it so many seconds ahead of the right time, for each program within a second."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.chmod(0o644)
        beside.replace(self._file)


@pytest.fixture(scope="module")
def set_clock(tmp_path_factory: pytest.TempPathFactory) -> SetClock:
    """The clock of Debian's package `faketime`, at the right time."""
    require("faketime")
    library, *_ = faketime_libraries()
    return SetClock(library, tmp_path_factory.mktemp("clock") / "offset")
