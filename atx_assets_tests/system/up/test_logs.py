"""The logs of a home stay small, whoever writes to them, and for as long as it does."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from atx_assets.home.postgres.cluster import Cluster
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import read_settings
from atx_assets.web.dagster_processes import CODE_SERVER, DAEMON, WEBSERVER
from atx_assets.web.healing import Healing
from atx_assets.web.processes import Children

#: Writes lines of 100 bytes, 10 MB a second at most, as a child that has gone wrong would.
CHATTY = """
import sys, time
while True:
    sys.stdout.write(('x' * 99 + '\\n') * 1000)
    time.sleep(0.01)
"""
LARGEST = 5_000_000


@pytest.mark.parametrize("name", [WEBSERVER, DAEMON, CODE_SERVER, "MLflow"])
def test_the_log_of_a_child_that_writes_on_and_on_stays_small(name: str, home: Path) -> None:
    own = {"ATX_HOME": str(home), "PG_HOST": "x", "DAGSTER_POSTGRES_URL": "postgresql://x/y"}
    settings = read_settings(own)
    logs = home / "logs"
    logs.mkdir(parents=True)
    children = Children(logs)
    try:
        child = children.start(name, [sys.executable, "-c", CHATTY], environment={}, folder=home)
        healing = Healing(settings, children, lambda _: None)
        moved = child.log.with_name(child.log.name + ".1")
        end = time.monotonic() + 30
        while not moved.exists() or moved.stat().st_size < LARGEST:
            assert time.monotonic() < end
            healing.look()
            time.sleep(0.01)
        child.process.terminate()
        child.process.wait()
        assert moved.read_bytes()[:200].count(b"x" * 99) >= 1
        assert [path.name for path in sorted(logs.iterdir())] == [child.log.name, moved.name]
    finally:
        children.end()


def test_a_log_that_there_is_no_room_to_keep_is_emptied_all_the_same(tmp_path: Path) -> None:
    """Kept out: a full disk that ended `atx up`, which trims logs as it goes."""
    log = tmp_path / "dagster.log"
    log.write_bytes(b"said\n" * 1_000)
    log.with_name("dagster.log.1").write_bytes(b"before\n")
    trimmed = (
        "import resource, sys; from pathlib import Path; from atx_assets.home.logs import trim;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); trim(Path(sys.argv[1]), 100)"
    )
    subprocess.run([sys.executable, "-c", trimmed, str(log)], check=True)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"dagster.log": 0}


def test_the_log_of_postgresql_stays_small_while_the_server_runs(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        log = Cluster(home).log
        with log.open("ab") as writer:  # as the server's own file, it appends
            writer.write(b"said\n" * (LARGEST // 5 + 1))
        with EmbeddedPostgres(home):  # any atx that comes by
            pass
        assert log.stat().st_size < 10_000
        assert log.with_name("postgres.log.1").stat().st_size > LARGEST
        assert server.is_running()

        with log.open("ab") as writer:
            writer.write(b"again\n" * (LARGEST // 6 + 1))
        settings = read_settings({"ATX_HOME": str(home)})
        Healing(settings, Children(home / "logs"), lambda _: None).look()
        assert log.stat().st_size < 10_000
        assert b"again" in log.with_name("postgres.log.1").read_bytes()[-100:]
