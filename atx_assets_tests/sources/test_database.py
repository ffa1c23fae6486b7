"""Connections as they are set up, and each way in which they fail, in one line."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from atx_assets.errors import AtxError
from atx_assets.settings import Database
from atx_assets.sources.read.database import connect, explained


def failure(database: Database) -> str:
    with pytest.raises(AtxError) as caught:
        connect(database, statement_timeout=5)
    line = str(caught.value)
    assert "\n" not in line
    assert not database.password or database.password not in line
    return line


def shown(connection: psycopg.Connection, setting: str) -> str:
    row = connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(setting))).fetchone()
    assert row
    return str(row[0])


def test_a_session_is_in_utc_bounded_and_named(database: Database) -> None:
    with psycopg.connect(
        host=database.host, user=database.user, dbname=database.name, port=database.port
    ) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(
                sql.Identifier(database.name)
            )
        )
    with connect(database, statement_timeout=7) as connection:
        assert shown(connection, "timezone") == "UTC"
        assert shown(connection, "statement_timeout") == "7s"
        assert shown(connection, "application_name") == "atx"
        assert shown(connection, "client_encoding") == "UTF8"
        connection.rollback()
        assert shown(connection, "statement_timeout") == "7s"


def test_reading_sees_one_moment_and_cannot_write(database: Database) -> None:
    with connect(database, statement_timeout=5) as writer:
        writer.execute("CREATE TABLE t AS SELECT 1 AS n")
        writer.commit()
        with connect(database, statement_timeout=5, read_only=True) as reader:
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
            writer.execute("INSERT INTO t VALUES (2)")
            writer.commit()
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reader.execute("INSERT INTO t VALUES (3)")


def test_over_tcp_with_the_password(tcp_database: Database) -> None:
    with connect(tcp_database, statement_timeout=5) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("owner",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "guessed"}, "wrong password or user; check PG_USER and PG_PASS"),
        ({"user": "stranger"}, "wrong password or user; check PG_USER and PG_PASS"),
        ({"password": ""}, "the server wants a password; set PG_PASS"),
        (
            {"name": "nowhere"},
            "no such database; check PG_DB, or make it with `createdb nowhere`",
        ),
        ({"port": 1}, "Connection refused; is it up? Check PG_HOST and PG_PORT"),
        ({"host": "nowhere.invalid"}, "no such host; check PG_HOST"),
    ],
)
def test_what_is_wrong_in_the_settings_is_named(
    tcp_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    assert words in failure(replace(tcp_database, **change))  # type: ignore[arg-type]


def test_a_user_unknown_to_a_trusting_server_is_named(database: Database) -> None:
    assert "no such user; check PG_USER" in failure(replace(database, user="stranger"))


def test_a_socket_folder_without_a_server_is_named(database: Database) -> None:
    line = failure(replace(database, host="/nonexistent"))
    assert line.endswith("No such file or directory; is it up? Check PG_HOST and PG_PORT")


def test_a_database_that_the_user_may_not_enter_is_named(database: Database) -> None:
    with connect(database, statement_timeout=5) as connection:
        connection.execute(
            sql.SQL("REVOKE CONNECT ON DATABASE {} FROM public").format(
                sql.Identifier(database.name)
            )
        )
        with role(connection) as name:
            connection.commit()
            assert "GRANT CONNECT ON DATABASE" in failure(replace(database, user=name))


def test_a_server_without_a_free_connection_is_told_as_such(tcp_database: Database) -> None:
    def fill() -> None:
        with ExitStack() as held:
            for _ in range(10):
                held.enter_context(connect(tcp_database, statement_timeout=5))

    with pytest.raises(AtxError, match="no connection is free"):
        fill()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("the database system is starting up", "the server is starting up; try again in a moment"),
        ("the database system is shutting down", "the server is shutting down"),
        ("no pg_hba.conf entry for host", "add a line to its pg_hba.conf"),
        ("la base de données est fermée", "check PG_USER, PG_PASS and PG_DB"),
    ],
)
def test_a_server_that_turns_us_away_is_told_in_its_words(said: str, words: str) -> None:
    with server_that_says(said) as port:
        assert words in failure(Database("127.0.0.1", port, "media", "owner", "secret"))


@contextmanager
def server_that_says(message: str) -> Iterator[int]:
    """Something on a port that refuses each session as PostgreSQL does."""
    fields = b"SFATAL\0VFATAL\0C57P03\0M" + message.encode() + b"\0\0"
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    if client.recv(8)[4:8] == (80877103).to_bytes(4, "big"):  # it asks for TLS
                        client.sendall(b"N")
                        client.recv(1024)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


@contextmanager
def role(connection: psycopg.Connection) -> Iterator[str]:
    """A user who may do nothing, until the end of the test."""
    name = sql.Identifier("nobody_at_all")
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    try:
        yield "nobody_at_all"
    finally:
        connection.rollback()
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))
        connection.commit()


def test_a_statement_over_its_time_names_the_setting(database: Database) -> None:
    with connect(database, statement_timeout=1) as connection:
        with (
            pytest.raises(AtxError, match=r"statement timeout.*ATX_STATEMENT_TIMEOUT"),
            explained(database),
        ):
            connection.execute("SELECT pg_sleep(5)")
        connection.rollback()


def test_a_missing_permission_is_told_with_the_user(database: Database) -> None:
    with connect(database, statement_timeout=5) as connection:
        connection.execute("CREATE TABLE secret (n int)")
        with role(connection) as name:
            connection.commit()
            user = replace(database, user=name)
            with connect(user, statement_timeout=5) as other:
                with (
                    pytest.raises(AtxError, match="secret; GRANT what is missing to nobody_at"),
                    explained(user),
                ):
                    other.execute("SELECT * FROM secret")
                other.rollback()


def test_a_lost_connection_is_told_as_such(database: Database) -> None:
    connection = connect(database, statement_timeout=5)
    with connect(database, statement_timeout=5) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    for _ in range(2):
        with (
            pytest.raises(AtxError, match=r"was lost \(.*\): is the server up\?"),
            explained(database),
        ):
            connection.execute("SELECT 1")


def test_a_full_disk_is_not_told_as_a_lost_connection(database: Database) -> None:
    with (
        pytest.raises(AtxError, match="could not do it: no room; run it again"),
        connect(database, statement_timeout=5) as connection,
        explained(database),
    ):
        connection.execute(
            "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$"
        )


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT 1 / 0", "division by zero"),
        (
            "DO $$ BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = 'data_corrupted'; END $$",
            "invalid page",
        ),
        ("SELECT * FROM atp.gone", 'relation "atp.gone" does not exist'),
    ],
)
def test_whatever_else_the_server_answers_is_one_line(
    database: Database, statement: LiteralString, words: str
) -> None:
    """Kept out: a view that fails, and neither a tick's reason nor a failed night told of it."""
    with (
        pytest.raises(AtxError, match=f"answered with an error: {words}; its log says more"),
        connect(database, statement_timeout=5) as connection,
        explained(database),
    ):
        connection.execute(statement)


def test_a_bug_keeps_its_own_type(database: Database) -> None:
    with connect(database, statement_timeout=5) as connection:
        with pytest.raises(psycopg.errors.SyntaxError), explained(database):
            connection.execute("SELEC 1")
        connection.rollback()
