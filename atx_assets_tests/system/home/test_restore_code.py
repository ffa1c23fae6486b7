"""Backups that hold programs: a restore runs none of them, and leaves none to be run later."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from atx_assets.home.backup.backup import backup
from atx_assets.home.backup.restore import restore
from atx_assets.home.home import start_servers, stop_servers
from atx_assets.home.postgres.database_code import code_in
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database, Settings
from atx_assets_tests.builders.backups import contents, elsewhere, packed, refuses
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.postgres import dump_database
from atx_assets_tests.builders.program import end_processes_of

pytestmark = pytest.mark.xdist_group("backup")


@pytest.fixture
def made(database: Database) -> Iterator[psycopg.Connection]:
    """A connection to an empty database of the superuser's, to put something into."""
    with opened(database) as connection:
        connection.execute("CREATE SCHEMA atp")
        yield connection


def forged(settings: Settings, database: Database) -> Path:
    """A backup that holds a dump of a database as its media."""
    dump = settings.home.parent / "0.dump"
    dump_database(database, dump)
    name = "databases/0.dump"
    file = settings.home.parent / "b.tar.gz"
    return packed(file, {name: dump.read_bytes()}, databases={name: "media"})


def test_a_check_that_runs_a_program_runs_none(
    small: Settings, database: Database, made: psycopg.Connection, server_folder: Path
) -> None:
    """Kept out: the function of a CHECK ran as the server's user while the rows were restored."""
    trace = server_folder / "ran"
    server_folder.chmod(0o777)  # the server's user may be another
    function = "CREATE OR REPLACE FUNCTION atp.ran(text) RETURNS boolean LANGUAGE plpgsql AS"
    made.execute(f"{function} $$ BEGIN RETURN true; END $$".encode())
    made.execute("CREATE TABLE atp.media (hash text CHECK (atp.ran(hash)))")
    made.execute("INSERT INTO atp.media VALUES ('a')")
    program = f"COPY (SELECT 1) TO PROGRAM 'touch {trace}'"
    made.execute(f"{function} $$ BEGIN {program}; RETURN true; END $$".encode())
    assert "permission denied" in refuses(small, forged(small, database), "pg_restore failed")
    assert not trace.exists()


_FUNCTION = "CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
_TRIGGER = "CREATE FUNCTION atp.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS "
#: What runs as the superuser once the table is used, by what it is called when it is found.
CODE = {
    "function public.f(integer)": [_FUNCTION],
    "default value for column b of table atp.media": [
        "ALTER TABLE atp.media ALTER b SET DEFAULT length(pg_read_file('/etc/passwd'))"
    ],
    "constraint media_a_check on table atp.media": [
        "ALTER TABLE atp.media ADD CHECK (query_to_xml('SELECT 1', true, true, a) IS NOT NULL)"
    ],
    "function atp.touch_updated_at()": [f"{_TRIGGER} $$ BEGIN PERFORM 1; RETURN NEW; END $$"],
    "trigger t on table atp.media": [
        "CREATE TRIGGER t BEFORE UPDATE ON atp.media"
        " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ],
    "view public.v": ["CREATE VIEW public.v AS SELECT 1"],
    "rule r on table atp.media": ["CREATE RULE r AS ON UPDATE TO atp.media DO ALSO NOTIFY x"],
    "policy p on table atp.media": ["CREATE POLICY p ON atp.media USING (b > 1)"],
    "operator public.###(integer,integer)": [
        _FUNCTION.replace("f(int)", "f(int, int)"),
        "CREATE OPERATOR public.### (FUNCTION = public.f, LEFTARG = int, RIGHTARG = int)",
    ],
    "type public.span": ["CREATE TYPE public.span AS RANGE (SUBTYPE = int)"],
    "extension hstore": ["CREATE EXTENSION hstore"],
    "event trigger e": [
        "CREATE FUNCTION public.g() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION g()",
    ],
    "default privileges on new relations belonging to role postgres": [
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC"
    ],
}


@pytest.mark.parametrize("name", CODE)
def test_whatever_runs_code_is_found_by_its_name(made: psycopg.Connection, name: str) -> None:
    made.execute("CREATE TABLE atp.media (a text, b int, updated_at timestamptz)")
    assert code_in(made) == []
    for statement in CODE[name]:
        made.execute(statement.encode())
    assert name in code_in(made)


def test_a_function_that_hides_one_of_postgresqls_is_told_from_it(
    made: psycopg.Connection,
) -> None:
    made.execute("CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'")
    made.execute("CREATE TABLE atp.media (a text DEFAULT public.lower('A'))")
    assert "function public.lower(text)" in code_in(made)
    assert "default value for column a of table atp.media" in code_in(made)


def test_tables_of_ones_own_are_no_code(made: psycopg.Connection) -> None:
    """What people put beside: keys, identities, domains, enums, ranges of numbers, indexes."""
    made.execute("CREATE TYPE public.mood AS ENUM ('good', 'bad')")
    made.execute("CREATE DOMAIN public.score AS int DEFAULT 5 CHECK (VALUE BETWEEN 0 AND 100)")
    made.execute("""
        CREATE TABLE public.mine (
            id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial, mood mood[], score score,
            at timestamp DEFAULT now(), day date DEFAULT CURRENT_DATE, key uuid DEFAULT
            gen_random_uuid(), title text CHECK (title ~ '^a' OR title IN ('', 'N/A')),
            short text GENERATED ALWAYS AS (lower(coalesce(title, 'x'))) STORED, other int
            REFERENCES public.mine)
    """)
    made.execute("CREATE INDEX ON public.mine (lower(title)) WHERE score > 1")
    assert code_in(made) == []


def test_code_that_runs_later_is_refused_in_a_line(
    small: Settings, database: Database, made: psycopg.Connection
) -> None:
    made.execute("CREATE TABLE atp.media (a text)")
    made.execute(f"{_TRIGGER} $$ BEGIN PERFORM 1; RETURN NEW; END $$".encode())
    made.execute('CREATE TABLE atp."\x1b[2J" (a text)')
    made.execute('CREATE VIEW atp."\x1b[2J\nall is well" AS SELECT 1')
    told = refuses(
        small, forged(small, database), r"holds code that .* restore it with --trust-code"
    )
    assert "\x1b" not in told


def test_a_backup_of_ones_own_code_says_so_and_is_restored_if_it_is_trusted(
    small: Settings, home: Path
) -> None:
    """And who owns what, and may do what, is in any case what it was."""
    settings = start_servers(small)
    file, new, lines = home.parent / "b.tar.gz", elsewhere(small), list[str]()
    try:
        with opened(settings.database) as connection:
            connection.execute("CREATE SCHEMA atp")
            connection.execute("CREATE TABLE atp.media (hash text)")
            connection.execute("INSERT INTO atp.media VALUES ('a')")
        backup(small, home.parent / "data alone.tar.gz", lines.append)
        assert "trust" not in " ".join(lines)
        with opened(settings.database) as connection:
            before = _rights(connection)
            connection.execute("CREATE VIEW atp.mine AS SELECT * FROM atp.media")
        backup(small, file, lines.append)
    finally:
        stop_servers(small)
    told = "WARNING, restoring it needs --trust-code, because of code of yours: view atp.mine"
    assert f"{told} in media" in lines
    refuses(small, file, "view atp.mine")
    restore(new, file, lines.append, trust_code=True)
    assert _restored(new, "SELECT * FROM atp.mine") == [("a",)]
    end_processes_of(new.home)
    other = replace(new, home=new.home / "2", data_dir=new.home / "3")
    restore(other, home.parent / "data alone.tar.gz", lines.append)
    try:
        with EmbeddedPostgres(other.home) as server, opened(_media(server)) as connection:
            assert _rights(connection) == before
            assert connection.execute("SELECT FROM pg_roles WHERE oid >= 16384").fetchall() == []
    finally:
        end_processes_of(other.home)


def _media(server: EmbeddedPostgres) -> Database:
    return Database(server.host, server.port, "media", server.user)


def _restored(settings: Settings, question: str) -> list[tuple[object, ...]]:
    with EmbeddedPostgres(settings.home) as server, opened(_media(server)) as connection:
        return connection.execute(question.encode()).fetchall()


def _rights(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """Who owns the database, its schemas and tables, and who else may do what with them."""
    found = connection.execute("""
        SELECT kind, name, pg_get_userbyid(owner), acl::text FROM (
            SELECT 'database' kind, datname::text name, datdba owner,
                   coalesce(datacl, acldefault('d', datdba)) acls
            FROM pg_database WHERE datname = current_database()
            UNION ALL
            SELECT 'schema', nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
            FROM pg_namespace WHERE nspname IN ('atp', 'public')
            UNION ALL
            SELECT 'table', relname, relowner, coalesce(relacl, acldefault('r', relowner))
            FROM pg_class WHERE relnamespace = 'atp'::regnamespace AND relkind = 'r'
        ) owned, LATERAL unnest(acls) acl ORDER BY 1, 2, 4
    """)
    return found.fetchall()


# -- files


@pytest.mark.parametrize(
    "name",
    [
        "home/postgres/PG_VERSION",
        "home/postgres",
        "home/dagster/dagster.yaml",
        "home/mlflow/mlflow.db-wal",
        "home/locks/postgres.kept",
    ],
)
def test_a_cluster_or_settings_in_the_place_of_data_are_refused(small: Settings, name: str) -> None:
    """Kept out: a whole cluster, whose own settings name programs that the server starts."""
    file = packed(small.home.parent / "b.tar.gz", {name: b"18\n"})
    refuses(small, file, r"b\.tar\.gz was not made by atx: it holds home/")


def store(folder: Path, *statements: str) -> bytes:
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in ("CREATE TABLE runs (uri TEXT)", *statements):
            connection.execute(statement)
    return path.read_bytes()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM runs; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIRTUAL TABLE x USING fts5(y)",
    ],
)
def test_a_store_of_mlflows_with_code_is_refused(small: Settings, statement: str) -> None:
    file = packed(
        small.home.parent / "b.tar.gz", {"mlflow.db": store(small.home.parent, statement)}
    )
    refuses(small, file, "its MLflow store holds code that is not MLflow's: [tvx]")


def test_a_damaged_store_of_mlflows_is_one_line(small: Settings) -> None:
    file = packed(small.home.parent / "b.tar.gz", {"mlflow.db": b"no database" * 100})
    refuses(small, file, "its MLflow store is damaged")


def test_a_store_and_artifacts_that_are_no_text_come_back(small: Settings) -> None:
    name = "home/mlflow/artifacts/models/m/artifacts/MLmodel"
    file = small.home.parent / "b.tar.gz"
    packed(file, {"mlflow.db": store(small.home.parent), name: b"\xff"})
    new = elsewhere(small)
    restore(new, file, lambda _: None)
    assert contents(new.home)[name.removeprefix("home/")] == b"\xff"
