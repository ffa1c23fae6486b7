"""PostgreSQL that goes away in the middle of `atx run`: the media's, Dagster's storage, or both.

Not here: under `atx up` (`test_under_up.py`).
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from atx_assets import schemas
from atx_assets.home.home import DAGSTER_DATABASE
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.homes import Home, bare
from atx_assets_tests.builders.program import end_processes_of
from atx_assets_tests.system.faults.conftest import OwnServer, held_up, storage_on

AGAIN = "    PostgreSQL was gone: started again"


def statuses(server: EmbeddedPostgres) -> list[str]:
    """How Dagster's runs stand, the first one first."""
    where = f"host={server.host} port={server.port} user={server.user} dbname={DAGSTER_DATABASE}"
    with psycopg.connect(where) as connection:
        rows = connection.execute("SELECT status FROM runs ORDER BY id").fetchall()
    return [status for (status,) in rows]


@pytest.fixture
def home(server_folder: Path, small_library: Path) -> Iterator[Home]:
    """A home of which the embedded server has everything, with the small library."""
    found = Home(server_folder, bare())
    try:
        loaded = found.run("load", str(small_library))
        assert loaded.returncode == 0, loaded.stderr
        yield found
    finally:
        end_processes_of(found.home)


def test_the_embedded_server_is_started_again_and_the_run_goes_on(home: Home) -> None:
    """Kept out: tracebacks for more than a minute, and a run that seems to go on for ever."""
    run = home.begin("run", "--select", "+key:hyperparameters")
    run.tells("hyperparameters: nested search 1 ")
    kill_postgres(home)
    # A statement that was under way cannot be made up for: then the run says so, and ends.
    ended_well = run.end() == 0
    assert ended_well or run.failure.endswith("is back: run it again; what was made stays in place")
    assert run.lines.count(AGAIN) == 1
    # Killed while the table is read: that cannot go on, and is not taken for an empty table.
    with EmbeddedPostgres(home.home) as server:
        database = Database(server.host, server.port, "media", server.user)
        before = home.contents()
        with held_up(database) as wait_for_reader:
            run = home.begin("run", "--select", "key:raw_media")
            wait_for_reader()
            kill_postgres(home)
            assert run.end() == 1
        assert "raw_media: the connection to media on " in run.failure
        assert run.failure.endswith("Nothing was changed; run it again")
        assert run.lines.count(AGAIN) == 1
        assert home.contents() == before
        again = home.run("run", "--select", "key:raw_media")
        assert again.returncode == 0, again.stderr
        first = "SUCCESS" if ended_well else "FAILURE"
        assert statuses(server) == [first, "FAILURE", "SUCCESS"]
    assert not home.left_over()
    assert not home.damaged()


def kill_postgres(home: Home) -> None:
    pid = int((home.home / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)


def test_a_media_database_that_is_stopped_in_the_middle_of_the_extraction(
    tmp_path: Path, own_server: OwnServer, postgres: EmbeddedPostgres, small_library: Path
) -> None:
    own_server.load(small_library)
    where: dict[str, Any] = own_server.settings | storage_on(postgres)
    home = Home(tmp_path, bare(), **where)
    words = ("run", "--select", "key:raw_media")
    first = home.run(*words)
    assert first.returncode == 0, first.stderr
    before = home.contents()
    with held_up(own_server.database) as wait_for_reader:
        run = home.begin(*words)
        wait_for_reader()
        own_server.stop_at_once()
    assert run.end() == 1
    assert "raw_media: the connection to media on " in run.failure
    assert "is the server up? Nothing was changed; run it again" in run.failure
    assert home.contents() == before
    assert not home.left_over()
    down = home.run(*words)  # while it is down
    assert down.returncode == 1
    assert "cannot connect to media on " in down.stderr
    assert "Traceback" not in down.stderr
    own_server.start_again()
    again = home.run(*words)
    assert again.returncode == 0, again.stderr
    assert home.contents() == before


#: A view that gives rows for more than a minute while it is copied whole, and 16 MB, with which a
#: part of the file is written, in seconds. Each is evaluated as it is sent, behind the sort.
SLOW = """
    CREATE FUNCTION atp.slowly(hash text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        IF current_query() LIKE 'COPY%target_path%' THEN PERFORM pg_sleep(0.01); END IF;
        RETURN repeat('x', 60000);
    END $$;
    ALTER TABLE atp.media RENAME TO releases;
    CREATE VIEW atp.media AS SELECT {columns}, slow.target_path
    FROM (SELECT * FROM atp.releases, generate_series(1, 5) ORDER BY hash COLLATE "C") r,
        LATERAL (SELECT atp.slowly(r.hash) AS target_path) slow;
"""
AS_BEFORE = """
    DROP VIEW atp.media;
    ALTER TABLE atp.releases RENAME TO media;
    DROP FUNCTION atp.slowly;
"""


def test_a_media_database_that_is_stopped_with_half_of_the_file_written(
    tmp_path: Path, own_server: OwnServer, postgres: EmbeddedPostgres, small_library: Path
) -> None:
    """Kept out: half a table that passes for the whole one."""
    own_server.load(small_library)
    home = Home(tmp_path, bare(), **own_server.settings, **storage_on(postgres))
    words = ("run", "--select", "key:raw_media")
    first = home.run(*words)
    assert first.returncode == 0, first.stderr
    before = home.contents()
    columns = ", ".join(c.name for c in schemas.MEDIA if c.name != "target_path")
    with opened(own_server.database) as connection:
        connection.execute(SLOW.format(columns=columns))
    half = home.data / ".media.parquet.new"
    run = home.begin(*words)
    first_words = len(b"PAR1")  # with which a file begins that has no row yet
    wait_until(lambda: half.exists() and half.stat().st_size > first_words, "rows", 120)
    own_server.stop_at_once()
    assert run.end() == 1
    assert "raw_media: the connection to media on " in run.failure
    assert "is the server up? Nothing was changed; run it again" in run.failure
    assert home.contents() == before
    assert not home.left_over()
    own_server.start_again()
    with opened(own_server.database) as connection:
        connection.execute(AS_BEFORE)
    again = home.run(*words)
    assert again.returncode == 0, again.stderr
    assert home.contents() == before


def test_a_storage_of_somebodys_own_that_stays_away_ends_the_run_in_one_line(
    tmp_path: Path, own_server: OwnServer, database: Database, small_library: Path
) -> None:
    """Kept out: a wall of tracebacks, and a run that stays under way in the records for ever."""
    from atx_assets.sources.load.load import load_file
    from atx_assets.sources.read.database import connect

    with connect(database, statement_timeout=60) as connection:
        load_file(connection, small_library)
    media = {"PG_HOST": database.host, "PG_DB": database.name, "PG_USER": database.user}
    home = Home(tmp_path, bare(), **media, **own_server.storage())
    run = home.begin("run", "--select", "+key:hyperparameters")
    run.tells("  training_table ")
    own_server.stop_at_once()
    assert run.end() == 1
    assert run.failure.startswith("atx: Dagster's storage cannot be reached (")
    told = [line for line in run.lines if "does not answer" in line]
    assert told == ["    Dagster's storage does not answer: trying again for a minute"]
    own_server.start_again()
    again = home.run("run", "--select", "+key:hyperparameters")
    assert again.returncode == 0, again.stderr
    (lost,) = (line for line in again.stdout.splitlines() if "had lost its process" in line)
    assert lost.endswith(": marked as failed")
    assert not home.left_over()
    assert not home.damaged()
