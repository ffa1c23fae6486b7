"""A database whose collation has changed: one line for each process, and what doctor says of it."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, pool, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import OperationalError

from atx_assets.commands.doctor.collations import check_collations
from atx_assets.defs.notices import _Connections
from atx_assets.errors import Note
from atx_assets.settings import Database, read_settings
from atx_assets_tests.builders.connections import opened


@pytest.fixture
def changed(database: Database) -> Database:
    """A database as after an upgrade of the operating system."""
    with opened(database) as connection:
        connection.execute(
            "UPDATE pg_database SET datcollversion = '0' WHERE datname = %s", (database.name,)
        )
    return database


def url(database: Database) -> URL:
    return URL.create(
        "postgresql+psycopg2",
        username=database.user,
        database=database.name,
        query={"host": database.host, "port": str(database.port)},
    )


def engine_of(database: Database) -> Engine:
    engine = create_engine(url(database), poolclass=pool.NullPool)
    event.listen(engine, "do_connect", _Connections().open)
    return engine


def test_many_connections_say_it_once(
    changed: Database, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Kept out: 1,332 lines of libpq's in one `atx run`, and none that says what to do."""
    engine = engine_of(changed)
    for _ in range(5):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    assert capfd.readouterr().err == ""
    assert [r.getMessage() for r in caplog.records] == [
        f"database {changed.name} was created with another collation version than the system has "
        "now: `atx doctor` says what to do"
    ]


def test_a_first_connection_that_fails_says_nothing_of_the_next(
    changed: Database, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Kept out: all warnings, where the database was still starting at the first."""
    connections = _Connections()
    for database in (replace(changed, port=1), changed):
        engine = create_engine(url(database), poolclass=pool.NullPool)
        event.listen(engine, "do_connect", connections.open)
        with suppress(OperationalError):
            engine.connect().close()
    assert capfd.readouterr().err == ""
    assert len(caplog.records) == 1


def test_without_a_folder_for_files_the_warning_stays_and_the_connection_is_made(
    changed: Database, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> object:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", none)
        engine_of(changed).connect().close()
    assert "collation version mismatch" in capfd.readouterr().err


def test_what_else_is_said_while_connecting_is_passed_on(
    changed: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = engine_of(replace(changed, user="stranger"))
    with pytest.raises(Exception, match='role "stranger" does not exist'):
        engine.connect()
    with _Connections()._without_warning():
        print_as_c_does("something else\nand more")
    assert capfd.readouterr().err == "something else\nand more"


def print_as_c_does(words: str) -> None:
    import os

    os.write(2, words.encode())


def test_a_database_that_is_as_it_was_says_nothing(
    database: Database, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    engine_of(database).connect().close()
    assert (capfd.readouterr().err, caplog.records) == ("", [])


def test_doctor_names_the_databases_and_the_cheapest_fix(changed: Database, tmp_path: Path) -> None:
    settings = read_settings(
        {
            "ATX_HOME": str(tmp_path),
            "PG_HOST": changed.host,
            "PG_PORT": str(changed.port),
            "PG_USER": changed.user,
            "PG_DB": changed.name,
            "DAGSTER_POSTGRES_URL": url(changed).render_as_string(),
        }
    )
    line = check_collations(settings)
    assert isinstance(line, Note)
    assert f"{changed.name} was created with version 0, and its server has 1" in line
    assert line.index(f'REINDEX DATABASE "{changed.name}"') < line.index(
        f'ALTER DATABASE "{changed.name}" REFRESH COLLATION VERSION'
    )
    with opened(changed) as connection:
        connection.execute(f'REINDEX DATABASE "{changed.name}"')  # type: ignore[call-overload]
        connection.execute(
            f'ALTER DATABASE "{changed.name}" REFRESH COLLATION VERSION'  # type: ignore[call-overload]
        )
    assert check_collations(settings) == "as they were when the databases were created"
