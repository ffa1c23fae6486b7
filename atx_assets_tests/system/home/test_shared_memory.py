"""The embedded PostgreSQL where /dev/shm is small, as in a container, or is cleared by others."""

import re
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from atx_assets.home.postgres.server import EmbeddedPostgres

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /dev/shm")


def _segments_of(postmaster: int) -> set[Path]:
    server = psutil.Process(postmaster)
    maps = [Path(f"/proc/{one.pid}/maps").read_text() for one in (server, *server.children())]
    return {Path(path) for path in re.findall(r"/dev/shm/PostgreSQL\.[0-9]+", "".join(maps))}


def test_a_server_lives_on_when_shared_memory_is_cleared(server_folder: Path) -> None:
    """Kept out: systemd clears what a user has there at the last logout (RemoveIPC)."""
    with EmbeddedPostgres(server_folder) as server:
        postmaster = int((server_folder / "postgres" / "postmaster.pid").read_text().split()[0])
        with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
            connection.execute("SELECT 1")
            for segment in _segments_of(postmaster):
                segment.unlink()
        with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
            connection.execute("SET debug_parallel_query = on")
            assert connection.execute("SELECT count(*) > 0 FROM pg_class").fetchone() == (True,)
