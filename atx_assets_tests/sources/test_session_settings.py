"""What a database or a user of it sets for every session, which a connection of ours overrides."""

import time
from typing import LiteralString

import pytest
from psycopg import sql

from atx_assets.errors import AtxError
from atx_assets.settings import Database
from atx_assets.sources.layouts import TRAINING, find_source
from atx_assets.sources.load.tables import ensure_table
from atx_assets.sources.read.database import connect, explained
from atx_assets_tests.builders.connections import opened


def set_for_everybody(database: Database, setting: str, value: str) -> None:
    with opened(database) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(database.name), sql.Identifier(setting), sql.Literal(value)
            )
        )


@pytest.mark.parametrize(
    ("setting", "value", "query", "answer"),
    [
        ("standard_conforming_strings", "off", r"SELECT length('\d')", 2),
        ("extra_float_digits", "-10", "SELECT (0.1::float8 + 0.2)::text", "0.30000000000000004"),
        ("transform_null_equals", "on", "SELECT (1 = NULL) IS NULL", True),
        ("array_nulls", "off", "SELECT '{NULL}'::text[]", [None]),
        ("datestyle", "German, DMY", "SELECT '2024-03-02'::date::text", "2024-03-02"),
    ],
)
def test_what_a_session_is_set_to_changes_nothing_that_is_read(
    database: Database, setting: str, value: str, query: LiteralString, answer: object
) -> None:
    set_for_everybody(database, setting, value)
    with connect(database, statement_timeout=5) as connection:
        for _ in range(2):
            assert connection.execute(query).fetchone() == (answer,)
            connection.rollback()


def test_a_database_that_reads_backslashes_as_escapes_has_a_layout(database: Database) -> None:
    """Kept out: `character(40)` was read as a type that nobody knows, and nothing ran."""
    with opened(database) as connection:
        ensure_table(connection, TRAINING, TRAINING.columns, beside_others=False)
    set_for_everybody(database, "standard_conforming_strings", "off")
    with connect(database, statement_timeout=5, read_only=True) as connection:
        assert find_source(connection, "training").layout.name == "training"


def test_a_transaction_may_be_idle_as_long_as_a_statement_may_take(database: Database) -> None:
    """Kept out: a limit of the server's ended a load while its rows were checked."""
    set_for_everybody(database, "idle_in_transaction_session_timeout", "10ms")
    with connect(database, statement_timeout=7) as connection:
        asked = connection.execute("SHOW idle_in_transaction_session_timeout")
        assert asked.fetchone() == ("7s",)


def test_a_transaction_that_was_idle_for_too_long_names_the_setting(database: Database) -> None:
    with connect(database, statement_timeout=5) as connection:
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '1ms'")
        time.sleep(0.2)
        with (
            pytest.raises(AtxError, match=r"idle.*raise ATX_STATEMENT_TIMEOUT"),
            explained(database),
        ):
            connection.execute("SELECT 1")


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (
            "25P04",
            "terminating connection due to transaction timeout",
            r"ALTER ROLE postgres SET transaction_timeout = '1h'",
        ),
        (
            "53100",
            'could not resize shared memory segment "/PostgreSQL.1" to 16777216 bytes: No space',
            r"--shm-size.*ALTER ROLE postgres SET max_parallel_workers_per_gather = 0",
        ),
        (
            "53100",
            'could not resize shared memory segment "pg_dynshmem/mmap.1" to 8 bytes: No space left',
            "make room on the disk of its data$",
        ),
        (
            "58P01",
            'could not open shared memory segment "/PostgreSQL.1": No such file or directory',
            r"restart it.*RemoveIPC=no",
        ),
        (
            "40001",
            "canceling statement due to conflict with recovery",
            r"a standby.*hot_standby_feedback = on",
        ),
    ],
)
def test_a_limit_of_the_server_is_told_with_what_lifts_it(
    database: Database, code: str, said: str, words: str
) -> None:
    statement = sql.SQL("DO $$ BEGIN RAISE EXCEPTION '%', {} USING ERRCODE = {}; END $$").format(
        said, code
    )
    with (
        pytest.raises(AtxError, match=words),
        connect(database, statement_timeout=5) as connection,
        explained(database),
    ):
        connection.execute(statement)
