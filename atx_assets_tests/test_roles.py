"""The two roles that `sql/` makes, by the real psql: what each may do, and that it is no more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from atx_assets.settings import ROOT, Database, Settings, read_settings
from atx_assets.sources.correct import correction as corrections
from atx_assets.sources.correct.plan import written_values
from atx_assets.sources.layouts import LAYOUTS, find_source
from atx_assets.sources.load.tables import ensure_table
from atx_assets.sources.read.database import connect
from atx_assets.sources.read.extract import extract
from atx_assets.sources.read.fingerprints import read_fingerprints
from atx_assets.sources.read.rights import more_than_needed
from atx_assets_tests.builders.connections import opened

pytestmark = pytest.mark.slow

READER, CORRECTOR = "atx_reader", "atx_corrector"
ONE = {"media": "0" * 39 + "1", "training": "tt0000001"}

#: What neither may do, on the table of a layout; `{}` is the table, `{key}` its key.
FORBIDDEN = [
    "INSERT INTO {} DEFAULT VALUES",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "UPDATE {} SET {key} = {key}",
    "UPDATE {} SET media_title = 'x'",
    "ALTER TABLE {} ADD COLUMN x int",
    "DROP TABLE {}",
    "CREATE INDEX ON {} (media_title)",
    "CREATE TABLE atp.mine (x int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "SELECT * FROM atp.secrets",
    "SELECT * FROM pg_authid",
    "COPY {} TO PROGRAM 'true'",
    "COPY {} TO '/tmp/x'",
    "SELECT pg_read_file('postgresql.conf')",
    "SET ROLE {owner}",
]


@pytest.fixture(params=["media", "training"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(
    layout: str, database: Database, run_script: Callable[..., Any]
) -> Iterator[psycopg.Connection]:
    """The owner's connection to one title in a layout and a table of the owner's own."""
    with opened(database) as connection:
        create(connection, layout)
        connection.execute("CREATE TABLE atp.secrets (x int)")
        run_script(database, READER)
        run_script(database, CORRECTOR)
        yield connection


def create(connection: psycopg.Connection, layout: str) -> None:
    known = LAYOUTS[layout]
    ensure_table(connection, known, known.columns, beside_others=True)
    values = {known.key: ONE[layout], "media_type": "movie", "media_title": "One"}
    values |= {"imdb_id": "tt0000001", "release_year": 2001}
    values |= {"original_title": "One"} if layout == "media" else {"tmdb_id": 1}
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier("atp", layout),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Literal, values.values())),
        )
    )


@contextmanager
def reading(database: Database, role: str = READER) -> Iterator[psycopg.Connection]:
    with connect(replace(database, user=role), statement_timeout=60, read_only=True) as connection:
        yield connection


def settings_of(database: Database, home: Path, **more: str) -> Settings:
    return read_settings(
        {
            "PG_HOST": database.host,
            "PG_PORT": str(database.port),
            "PG_DB": database.name,
            "PG_USER": READER,
            "ATX_CORRECTION_PG_USER": CORRECTOR,
            "ATX_HOME": str(home),
            **more,
        }
    )


# What each may do


@pytest.mark.usefixtures("library")
def test_the_reader_reads_all_that_atx_reads(database: Database, tmp_path: Path) -> None:
    with reading(database) as connection:
        source = find_source(connection)
        assert extract(connection, source, tmp_path / "rows.parquet", {}) == 1
        assert read_fingerprints(connection, source).media.startswith("1-")
        assert more_than_needed(connection) == ""
    with opened(replace(database, user=READER)) as connection:
        for name, value in {
            "default_transaction_read_only": "on",
            "statement_timeout": "10min",
            "idle_in_transaction_session_timeout": "10min",
        }.items():
            assert connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == (value,)


def test_the_corrector_corrects_and_undoes(
    database: Database, library: psycopg.Connection, layout: str, tmp_path: Path
) -> None:
    query = sql.SQL("SELECT to_jsonb(t) - 'updated_at' FROM {} t").format(
        sql.Identifier("atp", layout)
    )
    before = library.execute(query).fetchone()
    settings = settings_of(database, tmp_path)
    for verdict in ("keep", "skip"):
        done = corrections.correct(settings, ["tt0000001"], verdict, write=True, via="a test")  # type: ignore[arg-type]
        assert len(done.plan.rows) == 1
        assert library.execute(query).fetchone() != before
        assert done.number
        corrections.undo(settings, done.number, write=True, via="a test")
        assert library.execute(query).fetchone() == before
    assert corrections.check_permission(settings) == (f"{CORRECTOR} may change labels", "")


def test_the_reader_cannot_correct(
    database: Database, library: psycopg.Connection, tmp_path: Path
) -> None:
    del library
    settings = settings_of(database, tmp_path, ATX_CORRECTION_PG_USER="")
    with pytest.raises(Exception, match=r"may not change labels.*GRANT"):
        corrections.correct(settings, ["tt0000001"], "keep", write=True, via="a test")


def test_the_columns_of_a_correction_are_those_of_the_script(
    layout: str, library: psycopg.Connection
) -> None:
    found = library.execute(
        "SELECT column_name FROM information_schema.column_privileges"
        " WHERE grantee = %s AND table_name = %s AND privilege_type = 'UPDATE'",
        (CORRECTOR, layout),
    )
    columns = dict.fromkeys(c.name for c in LAYOUTS[layout].columns)
    # A keep writes all that a skip writes, and more.
    assert {name for (name,) in found} == set(written_values(LAYOUTS[layout], "keep", columns))


# And no more


@pytest.mark.parametrize("role", [READER, CORRECTOR])
@pytest.mark.usefixtures("library")
def test_all_else_is_refused(database: Database, layout: str, role: str) -> None:
    with opened(replace(database, user=role)) as connection:
        # The belt can be undone by who wears it: the grants must hold alone.
        connection.execute("SET default_transaction_read_only = off")
        allowed = []
        for statement in FORBIDDEN:
            words = {"key": LAYOUTS[layout].key, "owner": database.user}
            try:
                connection.execute(statement.format(f"atp.{layout}", **words))  # type: ignore[arg-type]
            except errors.InsufficientPrivilege:
                continue
            allowed.append(statement)
        assert allowed == []


@pytest.mark.usefixtures("library")
def test_the_reader_changes_no_column_and_the_corrector_no_other(
    database: Database, layout: str
) -> None:
    for role, may in ((READER, set()), (CORRECTOR, set(_written(layout)))):
        with opened(replace(database, user=role)) as connection:
            changed = set()
            connection.execute("SET default_transaction_read_only = off")
            for column in LAYOUTS[layout].columns:
                name = sql.Identifier(column.name)
                statement = sql.SQL("UPDATE {} SET {} = {}").format(
                    sql.Identifier("atp", layout), name, name
                )
                try:
                    connection.execute(statement)
                except errors.InsufficientPrivilege:
                    continue
                changed.add(column.name)
            assert changed == may


def _written(layout: str) -> dict[str, Any]:
    known = LAYOUTS[layout]
    return written_values(known, "keep", dict.fromkeys(c.name for c in known.columns))


# The scripts themselves


@pytest.mark.parametrize("name", [READER, CORRECTOR])
def test_a_script_run_again_takes_away_what_was_too_much(
    database: Database, library: psycopg.Connection, layout: str, name: str, run_script: Any
) -> None:
    acl = (
        "SELECT relname, unnest(relacl)::text FROM pg_class"
        " WHERE relnamespace = 'atp'::regnamespace AND relkind = 'r' ORDER BY 1, 2"
    )
    before = library.execute(acl).fetchall()
    for grant in (
        f"GRANT ALL ON atp.{layout}, atp.secrets TO {name}",
        f"GRANT UPDATE (media_title) ON atp.{layout} TO {name}",
        f"GRANT CREATE ON SCHEMA atp TO {name}",
    ):
        library.execute(grant)  # type: ignore[arg-type]
    with reading(database, name) as connection:
        told = more_than_needed(connection)
    for words in (
        f"DELETE in atp.{layout}",
        f"INSERT in atp.{layout}",
        f"TRUNCATE in atp.{layout}",
        f"UPDATE in atp.{layout}",
        "make tables in atp",
        "use 1 other table (atp.secrets)",
    ):
        assert words in told
    told = run_script(database, name).stdout
    assert f"atp.{layout}" in told
    assert "too much" not in told
    assert library.execute(acl).fetchall() == before


def test_a_table_that_comes_later_is_read_after_the_script_was_run_again(
    database: Database, run_script: Any
) -> None:
    """The owner's table was media and became training: neither is lost, nor another won."""
    with opened(database) as owner:
        create(owner, "media")
        run_script(database, READER)
        create(owner, "training")
        with reading(database) as connection, pytest.raises(Exception, match=r"GRANT SELECT"):
            find_source(connection)
        assert run_script(database, READER).stdout == (
            "atx_reader may read atp.media, atp.training\n"
        )
        run_script(database, CORRECTOR)
        with reading(database) as connection:
            assert find_source(connection).layout.name == "training"
        media = replace(database, user=CORRECTOR)
        with opened(media) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute("UPDATE atp.media SET rejection_status = NULL")
        told = run_script(database, CORRECTOR, "-v", "source=media").stdout
        assert "of atp.media" in told
        assert "atp.training" not in told


@pytest.mark.parametrize("script", [READER, CORRECTOR])
@pytest.mark.usefixtures("library")
def test_a_name_of_ones_own_may_hold_anything(
    database: Database, script: str, run_script: Any
) -> None:
    name = 'it\'s "mine"; DROP TABLE atp.secrets'
    with opened(database) as owner:
        try:
            run_script(database, script, "-v", f"role={name}")
            with opened(replace(database, user=name)) as connection:
                assert connection.execute("SELECT session_user").fetchone() == (name,)
            assert owner.execute("SELECT to_regclass('atp.secrets') IS NULL").fetchone() == (False,)
        finally:
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.mark.parametrize("script", [READER, CORRECTOR])
@pytest.mark.usefixtures("library")
def test_a_role_that_no_revoke_closes_is_refused(
    database: Database, script: str, run_script: Any
) -> None:
    done = run_script(database, script, "-v", f"role={database.user}", check=False)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "name another with -v role=NAME" in done.stderr
    with opened(database) as owner:
        owner.execute("CREATE ROLE grouped LOGIN IN ROLE pg_read_all_data")
        try:
            done = run_script(database, script, "-v", "role=grouped", check=False)
            assert done.returncode == 3
            assert "REVOKE pg_read_all_data FROM grouped" in done.stderr
        finally:
            owner.execute("DROP ROLE grouped")


def test_a_database_without_the_tables_is_named(database: Database, run_script: Any) -> None:
    for script in (READER, CORRECTOR):
        done = run_script(database, script, check=False)
        assert done.returncode == 3
        assert database.name in done.stderr
        assert "with -d" in done.stderr
    with opened(database) as owner:
        owner.execute("CREATE SCHEMA atp")
    assert "nothing yet" in run_script(database, READER).stdout


def test_what_everybody_may_do_is_told(
    database: Database, library: psycopg.Connection, layout: str, run_script: Any
) -> None:
    library.execute(f"GRANT DELETE ON atp.{layout} TO PUBLIC")  # type: ignore[arg-type]
    for script in (READER, CORRECTOR):
        assert f"REVOKE ALL ON atp.{layout} FROM PUBLIC" in run_script(database, script).stdout


@pytest.mark.parametrize("name", [READER, CORRECTOR])
def test_that_everybody_may_make_tables_is_told(
    database: Database, library: psycopg.Connection, name: str, run_script: Any
) -> None:
    """As in `public` before PostgreSQL 15."""
    library.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert "REVOKE CREATE ON SCHEMA public FROM PUBLIC" in run_script(database, name).stdout
    with reading(database, name) as connection:
        assert "make tables in public" in more_than_needed(connection)
    library.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    assert "too much" not in run_script(database, name).stdout


def test_no_script_holds_a_password() -> None:
    for path in (ROOT / "sql").glob("*.sql"):
        statements = [line for line in path.read_text().splitlines() if not line.startswith("--")]
        assert "password" not in " ".join(statements).lower(), path


# The tests of this folder


def test_the_tests_of_the_graph_read_as_the_reader(copied: Any, run_script: Any) -> None:
    """The table says itself by whom it is read."""
    import pyarrow.parquet as pq

    with copied.connect() as owner:
        owner.execute("ALTER TABLE atp.media RENAME TO kept")
        owner.execute(
            "CREATE VIEW atp.media AS SELECT *, current_user::text AS seen_by FROM atp.kept"
        )
        owner.execute("REVOKE ALL ON atp.kept FROM atx_reader, atx_corrector")
    assert copied.learns("score").success
    seen = pq.read_table(copied.home / "data" / "media.parquet")["seen_by"]
    assert set(seen.to_pylist()) == {READER}
