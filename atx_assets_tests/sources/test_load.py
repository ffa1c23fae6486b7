"""Loading an export: what goes in, what is refused and why, and that nothing is left half done."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.settings import Database
from atx_assets.sources.layouts import LAYOUTS, find_source
from atx_assets.sources.load.load import LoadReport, load_file
from atx_assets.sources.read.database import connect, explained
from atx_assets_tests.builders.environment import as_settings

Row = dict[str, Any]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows of a layout as an export, without some columns or with others in their place."""

    def written(
        layout: str, rows: Sequence[Row], *, without: Sequence[str] = (), **replaced: pa.Array
    ) -> Path:
        table = pa.Table.from_pylist(list(rows), schemas.arrow_schema(LAYOUTS[layout].columns))
        for name, values in replaced.items():
            table = table.set_column(table.schema.get_field_index(name), name, values)
        path = tmp_path / "export.parquet"
        pq.write_table(table.drop_columns(list(without)), path)
        return path

    return written


def load(database: Database, path: Path, **options: bool) -> LoadReport:
    with connect(database, statement_timeout=60) as connection:
        return load_file(connection, path, **options)


def counts(report: LoadReport) -> tuple[int, int, int, int]:
    told = (report.added, report.changed, report.unchanged, report.refused_rows)
    assert sum(told) == report.rows
    return told


def failure(database: Database, path: Path) -> str:
    """The line of a load that fails, and proof that it left nothing behind."""
    before = everything(database)
    with pytest.raises(AtxError) as caught:
        load(database, path)
    assert everything(database) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def query(database: Database, statement: str) -> list[Any]:
    with connect(database, statement_timeout=60) as connection:
        found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


def everything(database: Database) -> list[Any]:
    """Whatever the schema atp holds."""
    made = query(
        database,
        "SELECT nspname::text, '' FROM pg_namespace WHERE nspname = 'atp' UNION ALL "
        "SELECT 'relation', oid::regclass::text FROM pg_class"
        " WHERE relnamespace = to_regnamespace('atp') UNION ALL "
        "SELECT enumtypid::regtype::text, enumlabel FROM pg_enum ORDER BY 1, 2",
    )
    for table in ("media", "training"):
        if query(database, f"SELECT to_regclass('atp.{table}')") != [(None,)]:
            made += query(database, f"SELECT * FROM atp.{table} ORDER BY 1")
    return made


# What goes in


@pytest.mark.real_data
@pytest.mark.parametrize(("layout", "rows"), [("media", 7744), ("training", 1500)])
def test_real_exports_load_whole_and_again_change_nothing(
    database: Database, shared_data: Path, layout: str, rows: int
) -> None:
    path = shared_data / f"{layout}.parquet"
    assert counts(load(database, path)) == (rows, 0, 0, 0)
    touched = query(database, f"SELECT max(updated_at), max(xmin::text::bigint) FROM atp.{layout}")
    assert counts(load(database, path)) == (0, 0, rows, 0)
    again = query(database, f"SELECT max(updated_at), max(xmin::text::bigint) FROM atp.{layout}")
    assert again == touched
    with connect(database, statement_timeout=60, read_only=True) as connection:
        columns = find_source(connection).columns
    assert list(columns) == pq.read_schema(path).names


@pytest.mark.real_data
def test_one_changed_label_is_one_changed_row(
    database: Database, shared_data: Path, tmp_path: Path
) -> None:
    load(database, shared_data / "training.parquet")
    rows = pq.read_table(shared_data / "training.parquet")
    labels = rows["label"].to_pylist()
    labels[7] = {"would_watch": "would_not_watch"}.get(labels[7], "would_watch")
    changed = rows.set_column(rows.schema.get_field_index("label"), "label", pa.array(labels))
    pq.write_table(changed, tmp_path / "changed.parquet")
    started = datetime.now(UTC)
    assert counts(load(database, tmp_path / "changed.parquet")) == (0, 1, 1499, 0)
    touched = query(
        database, f"SELECT imdb_id, label FROM atp.training WHERE updated_at >= '{started}'"
    )
    assert touched == [(rows["imdb_id"][7].as_py(), labels[7])]
    assert counts(load(database, tmp_path / "changed.parquet")) == (0, 0, 1500, 0)


@pytest.mark.real_data
def test_what_real_exports_hold_is_what_the_table_holds(
    library: Any, shared_data: Path, real_rows: Any, tmp_path: Path
) -> None:
    for layout in ("media", "training"):
        load(library.database, shared_data / f"{layout}.parquet")
        wanted = real_rows(layout)
        read = library.extract(tmp_path / "read.parquet")
        assert read.equals(wanted.select(read.column_names)), layout


def test_text_lists_and_times_arrive_as_they_are(
    database: Database, write: Write, release: Any
) -> None:
    rows = [
        release(1, media_title='a "b"\\,\n{}', genre=['x"\\', "NULL", "", "a,b"], language=[]),
        release(2, media_title="", uploader="N/A", imdb_id="N/A", genre=["N/A"], language=None),
        release(3, media_title=None, genre=[None, "Krimi"], created_at=None, imdb_rating=7.25),
    ]
    assert counts(load(database, write("media", rows))) == (3, 0, 0, 0)
    stored = query(
        database,
        "SELECT media_title, genre, language, uploader, imdb_id, imdb_rating, created_at"
        " FROM atp.media ORDER BY hash",
    )
    names = "media_title", "genre", "language", "uploader", "imdb_id", "imdb_rating", "created_at"
    assert [dict(zip(names, row, strict=True)) for row in stored] == [
        {name: row[name] for name in names} for row in rows
    ]


def test_types_that_lose_nothing_are_taken(database: Database, write: Write, entry: Any) -> None:
    path = write(
        "training",
        [entry(1), entry(2)],
        imdb_id=pa.array(["tt0000001", "tt0000002"]).dictionary_encode(),
        media_title=pa.array([b"Bytes", b"More"], pa.binary()),
        release_year=pa.array([2001.0, float("nan")]),
        budget=pa.array([Decimal("12.00"), None]),
        revenue=pa.array([2**53 + 1, None], pa.uint64()),
        tmdb_id=pa.array([1, 2], pa.int8()),
        imdb_rating=pa.array([7.1, float("nan")], pa.float32()),
        tmdb_rating=pa.array([7, None], pa.int16()),
        genre=pa.array([["a"], None], pa.large_list(pa.large_string())),
        origin_country=pa.array([["N/A", "US"], []], pa.list_(pa.dictionary(pa.int8(), "string"))),
        original_language=pa.array(["N/A", ""]),
        tagline=pa.nulls(2),
        # PostgreSQL has no room for the 789 nanoseconds.
        created_at=pa.array([1_735_787_040_000_000_789] * 2, pa.timestamp("ns")),
        updated_at=pa.array([datetime(2025, 1, 2, 3, 4, tzinfo=UTC)] * 2).cast(
            pa.timestamp("ms", "Asia/Tokyo")
        ),
    )
    assert counts(load(database, path)) == (2, 0, 0, 0)
    names = (
        "media_title, release_year, budget, revenue, imdb_rating::text, tmdb_rating::text, genre,"
        " origin_country::text[], original_language::text, created_at = updated_at"
    )
    first, second = query(database, f"SELECT {names} FROM atp.training ORDER BY imdb_id")
    assert first == (
        *("Bytes", 2001, 12, 2**53 + 1, "7.1", "7.000"),
        *(["a"], [None, "US"], None, True),
    )
    assert second == ("More", None, None, None, None, None, None, [], "", True)
    assert counts(load(database, path)) == (0, 0, 2, 0)


def test_a_short_float_keeps_its_digits(database: Database, write: Write, release: Any) -> None:
    """Kept out: 7.1 of a float32 column stored as 7.099999904632568."""
    ratings = pa.array([7.1], pa.float32())
    load(database, write("media", [release(1)], imdb_rating=ratings))
    assert query(database, "SELECT imdb_rating::text FROM atp.media") == [("7.1",)]


def test_an_added_row_keeps_its_times_and_a_changed_one_is_touched(
    database: Database, write: Write, release: Any
) -> None:
    load(database, write("media", [release(1), release(2)]))
    day = datetime(2025, 4, 1, tzinfo=UTC)
    later = datetime(2025, 5, 1, tzinfo=UTC)
    rows = [
        release(1, created_at=later, updated_at=later),
        release(2, created_at=later, updated_at=later, rejection_status="override"),
    ]
    assert counts(load(database, write("media", rows))) == (0, 1, 1, 0)
    (same, changed) = query(database, "SELECT created_at, updated_at FROM atp.media ORDER BY hash")
    assert same == (day, day)
    assert changed[0] == day
    assert changed[1] > later


def test_the_tables_that_are_made_are_guarded(
    database: Database, write: Write, entry: Any, release: Any
) -> None:
    load(database, write("media", [release(1)]))
    load(database, write("training", [entry(1)]))
    query(database, "UPDATE atp.training SET label = label")
    touched = query(database, "SELECT updated_at > now() - interval '1 hour' FROM atp.training")
    assert touched == [(True,)]
    for change in (
        "UPDATE atp.media SET rt_score = 101",
        "UPDATE atp.media SET imdb_id = 'tt1'",
        "UPDATE atp.media SET original_title = NULL",
        "UPDATE atp.training SET tmdb_rating = 10.5",
        "UPDATE atp.training SET human_labeled = NULL",
        "INSERT INTO atp.training SELECT * FROM atp.training",
    ):
        with pytest.raises(psycopg.IntegrityError):
            query(database, change)


def test_an_older_export_makes_a_table_without_its_newer_columns(
    database: Database, write: Write, entry: Any
) -> None:
    newer = ("human_labeled", "anomalous", "reviewed")
    load(database, write("training", [entry(1)], without=newer))
    found = {
        c
        for (c,) in query(
            database,
            "SELECT attname FROM pg_attribute"
            " WHERE attrelid = 'atp.training'::regclass AND attnum > 0",
        )
    }
    assert found == {c.name for c in schemas.TRAINING} - set(newer)
    line = failure(database, write("training", [entry(2)]))
    assert "human_labeled, anomalous, reviewed" in line


def test_packs_load_beside_a_media_layout_that_knew_none(
    database: Database, write: Write, entry: Any
) -> None:
    """Kept out: an enum value that PostgreSQL forbids to use where it was added."""
    query(
        database,
        "CREATE SCHEMA atp; CREATE TYPE atp.media_type AS ENUM "
        "('movie', 'tv_show', 'tv_season', 'unknown')",
    )
    pack = entry(1, media_type="tv_episode_pack")
    assert counts(load(database, write("training", [pack]))) == (1, 0, 0, 0)


# What is refused

BAD_RELEASES: list[tuple[Row, str]] = [
    ({"hash": None}, "hash is missing"),
    ({"hash": ""}, "hash is missing"),
    ({"hash": "A" * 40}, "hash does not match"),
    ({"hash": "a" * 39}, "hash does not match"),
    ({"imdb_id": "tt123"}, "imdb_id does not match"),
    ({"imdb_id": "tt1234567\n"}, "imdb_id does not match"),
    ({"media_type": "film"}, "media_type is an unknown value"),
    ({"media_type": "tv_episode_pack"}, "media_type is an unknown value"),
    ({"media_type": None}, "media_type is missing"),
    ({"rejection_status": "maybe"}, "rejection_status is an unknown value"),
    ({"original_title": None}, "original_title is missing"),
    ({"rt_score": 101}, "rt_score is above 100"),
    ({"metascore": -1}, "metascore is below 0"),
    ({"imdb_rating": 100.5}, "imdb_rating is above 100"),
    ({"imdb_rating": float("inf")}, "imdb_rating is not finite"),
    ({"imdb_votes": 2**31}, "imdb_votes does not fit int"),
    ({"media_title": "a\0b"}, "media_title holds a NUL character"),
    ({"genre": ["Drama", "a\0b"]}, "genre holds a NUL character"),
]
BAD_ENTRIES: list[tuple[Row, str]] = [
    ({"imdb_id": "N/A"}, "imdb_id is missing"),
    ({"season": 2**15}, "season does not fit smallint"),
    ({"tmdb_rating": 10.5}, "tmdb_rating is above 10"),
    ({"tmdb_rating": 1e9}, "tmdb_rating does not fit numeric(5,3)"),
    ({"media_title": "x" * 256}, "media_title does not fit varchar(255)"),
    ({"original_language": "eng"}, "original_language does not fit char(2)"),
    ({"genre": ["Drama", "x" * 21]}, "genre does not fit varchar(20)[]"),
    ({"spoken_languages": ["en", "eng"]}, "spoken_languages does not fit char(2)[]"),
    ({"human_labeled": None}, "human_labeled is missing"),
    ({"created_at": None}, "created_at is missing"),
    ({"label": "perhaps"}, "label is an unknown value"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_RELEASES)
def test_a_bad_release_is_refused_and_the_good_one_goes_in(
    database: Database, write: Write, release: Any, bad: Row, reason: str
) -> None:
    refused_alone(database, write("media", [release(1), release(2, **bad)]), bad, reason)


@pytest.mark.parametrize(("bad", "reason"), BAD_ENTRIES)
def test_a_bad_entry_is_refused_and_the_good_one_goes_in(
    database: Database, write: Write, entry: Any, bad: Row, reason: str
) -> None:
    refused_alone(database, write("training", [entry(1), entry(2, **bad)]), bad, reason)


def refused_alone(database: Database, path: Path, bad: Row, reason: str) -> None:
    report = load(database, path)
    assert counts(report) == (1, 0, 0, 1)
    ((told, (count, keys)),) = report.refused.items()
    assert told.startswith(reason)
    assert count == 1
    key = LAYOUTS[report.layout].key
    named = pq.read_table(path)[key][1].as_py()
    assert keys == [named or "row 2"]
    assert "warning: 1 of 2 rows were refused" in str(report)


def test_values_of_a_type_too_wide_are_refused(
    database: Database, write: Write, entry: Any
) -> None:
    n = 5
    path = write(
        "training",
        [entry(i) for i in range(n)],
        release_year=pa.array([2001.0, 2001.5, float("inf"), 2001.0, 2001.0]),
        budget=pa.array([1, 1, 1, 2**64 - 1, 1], pa.uint64()),
        updated_at=pa.array([0, 0, 0, 0, 2**62], pa.timestamp("us")),
    )
    report = load(database, path)
    assert report.refused == {
        "release_year is not a whole number": (2, ["tt0000001", "tt0000002"]),
        "budget does not fit bigint": (1, ["tt0000003"]),
        "updated_at is outside the years 1 to 9999": (1, ["tt0000004"]),
    }
    assert report.added == 1


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_string()])
def test_text_that_is_not_utf8_is_refused(
    database: Database, write: Write, release: Any, kind: pa.DataType
) -> None:
    """Kept out: a file may call any bytes a string, and the whole COPY fails on them."""
    raw = pa.array([b"good", b"\xff\xfe"], pa.large_binary())
    titles = (
        raw.cast(kind) if kind == pa.binary() else pa.Array.from_buffers(kind, 2, raw.buffers())
    )
    lists = pa.ListArray.from_arrays([0, 1, 2], titles)
    report = load(
        database, write("media", [release(1), release(2)], media_title=titles, genre=lists)
    )
    assert report.refused == {"media_title holds text that is not UTF-8": (1, [f"{2:040x}"])}
    query(database, "DROP SCHEMA atp CASCADE")
    report = load(database, write("media", [release(1), release(2)], genre=lists))
    assert report.refused == {"genre holds text that is not UTF-8": (1, [f"{2:040x}"])}


def test_of_rows_with_one_key_the_first_goes_in(
    database: Database, write: Write, release: Any
) -> None:
    rows = [release(1, media_title=f"Title {i}") for i in range(8)] + [release(2)]
    report = load(database, write("media", rows))
    assert counts(report) == (2, 0, 0, 7)
    assert report.refused == {"hash occurs in an earlier row of the file": (7, [f"{1:040x}"] * 5)}
    assert ("Title 0",) in query(database, "SELECT media_title FROM atp.media")


def test_what_a_table_holds_once_is_refused_a_second_time(
    database: Database, write: Write, entry: Any
) -> None:
    """Kept out: one repeated number of TMDb that fails the whole load."""
    load(database, write("training", [entry(1, tmdb_id=1), entry(2)]))
    query(database, "ALTER TABLE atp.training ADD UNIQUE (tmdb_id)")
    rows = [
        entry(1, tmdb_id=1),
        entry(3, tmdb_id=1),
        entry(4, tmdb_id=4),
        entry(5, tmdb_id=4),
        entry(6, tmdb_id=None),
        entry(7, tmdb_id=None),
    ]
    report = load(database, write("training", rows))
    assert counts(report) == (3, 0, 1, 2)
    assert report.refused == {
        "tmdb_id occurs in an earlier row of the file": (2, ["tt0000003", "tt0000005"])
    }
    report = load(database, write("training", [entry(8, tmdb_id=4), entry(9)]))
    assert report.refused == {"tmdb_id belongs to another imdb_id in the table": (1, ["tt0000008"])}


def test_a_file_of_refused_rows_alone_leaves_nothing(
    database: Database, write: Write, release: Any
) -> None:
    rows = [release(i, rt_score=200) for i in range(1, 9)]
    line = failure(database, write("media", rows))
    assert "every row of" in line
    assert f"8 because rt_score is above 100: {1:040x}" in line
    assert query(database, "SELECT to_regnamespace('atp')") == [(None,)]


def test_many_batches_count_like_one(
    database: Database, write: Write, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atx_assets.sources.load.export_file._BATCH", 3)
    rows = [release(i, rt_score=101 if i % 5 == 0 else None) for i in range(1, 31)]
    rows += [{**release(1), "hash": None}, release(2)]
    report = load(database, write("media", rows))
    assert counts(report) == (24, 0, 0, 8)
    assert report.refused["rt_score is above 100"] == (
        6,
        [f"{i:040x}" for i in (5, 10, 15, 20, 25)],
    )
    assert report.refused["hash is missing"] == (1, ["row 31"])


# A table that is there already


def test_an_older_table_is_narrower_than_the_layout(
    library: Any, write: Write, release: Any
) -> None:
    """Kept out: rows judged by the layout's types, and the whole load failing on the table's."""
    library.create(
        "media",
        types={"media_title": "varchar(10)", "imdb_votes": "smallint", "imdb_rating": "int"},
    )
    library.execute("ALTER TABLE atp.media ALTER rejection_status SET NOT NULL")
    rows = [
        release(1, media_title="Short", imdb_rating=70.0),
        release(2, media_title="Much too long"),
        release(3, imdb_votes=40_000),
        release(4, imdb_rating=7.5),
        release(5, rejection_status=None),
    ]
    report = load(library.database, write("media", rows))
    assert {reason: keys[0][-1] for reason, (_, keys) in report.refused.items()} == {
        "media_title does not fit varchar(10)": "2",
        "imdb_votes does not fit smallint": "3",
        "imdb_rating is not a whole number": "4",
        "rejection_status is missing": "5",
    }
    assert report.added == 1


def test_a_rule_of_the_table_itself_is_named(library: Any, write: Write, release: Any) -> None:
    library.create("media")
    library.execute("ALTER TABLE atp.media ADD CONSTRAINT nothing_old CHECK (release_year > 1950)")
    line = failure(library.database, write("media", [release(1), release(2, release_year=1930)]))
    assert "nothing_old" in line
    assert "refuses a row" in line


def test_a_column_that_the_table_lacks_or_has_otherwise_is_named(
    library: Any, write: Write, release: Any
) -> None:
    library.create("media", without=["uploader"])
    assert "uploader" in failure(library.database, write("media", [release(1)]))
    library.execute("ALTER TABLE atp.media ADD uploader int")
    line = failure(library.database, write("media", [release(1)]))
    assert "atp.media.uploader has type integer" in line


def test_a_view_is_not_loaded_into(library: Any, write: Write, release: Any) -> None:
    library.create("media")
    library.execute("ALTER TABLE atp.media RENAME TO store")
    library.execute("CREATE VIEW atp.media AS SELECT * FROM atp.store")
    assert "atp.media is a view" in failure(library.database, write("media", [release(1)]))


# Where tables may be made


def test_nothing_is_made_beside_unknown_tables_unless_told_to(
    database: Database, write: Write, release: Any
) -> None:
    query(database, "CREATE TABLE accounts (n int)")
    path = write("media", [release(1)])
    line = failure(database, path)
    assert "public.accounts" in line
    assert "--beside-other-tables" in line
    assert "check PG_DB" in line
    assert counts(load(database, path, beside_other_tables=True)) == (1, 0, 0, 0)
    assert counts(load(database, path)) == (0, 0, 1, 0)


def test_an_enum_is_not_completed_where_nothing_may_be_made(
    database: Database, write: Write, entry: Any
) -> None:
    query(database, "CREATE SCHEMA atp; CREATE TYPE atp.media_type AS ENUM ('movie')")
    query(database, "CREATE TABLE accounts (n int)")
    assert "public.accounts" in failure(database, write("training", [entry(1)]))


@pytest.mark.parametrize(
    ("before", "mend"),
    [
        ("SELECT 1", 'GRANT CREATE ON DATABASE "{database}" TO "{user}";'),
        ("CREATE SCHEMA atp", 'GRANT USAGE, CREATE ON SCHEMA atp TO "{user}";'),
        (
            "CREATE SCHEMA atp; GRANT USAGE ON SCHEMA atp TO {user}",
            'GRANT USAGE, CREATE ON SCHEMA atp TO "{user}";',
        ),
        (
            "CREATE SCHEMA atp; GRANT USAGE, CREATE ON SCHEMA atp TO {user};"
            "GRANT CREATE ON DATABASE {database} TO {user};"
            "CREATE TYPE atp.media_type AS ENUM ('movie')",
            'let its owner run ALTER TYPE "atp"."media_type" ADD VALUE IF NOT EXISTS \'tv_show\'',
        ),
        ("{table}; GRANT USAGE ON SCHEMA atp TO {user}", "GRANT SELECT ON atp.media TO {user};"),
        (
            "{table}; GRANT USAGE ON SCHEMA atp TO {user}; GRANT SELECT ON atp.media TO {user}",
            'GRANT SELECT, INSERT, UPDATE ON atp.media TO "{user}";',
        ),
        (
            "{table}; GRANT USAGE ON SCHEMA atp TO {user}; GRANT ALL ON atp.media TO {user};"
            "REVOKE TEMPORARY ON DATABASE {database} FROM public",
            'GRANT TEMPORARY ON DATABASE "{database}" TO "{user}";',
        ),
    ],
)
def test_a_missing_permission_is_named_with_its_grant(
    library: Any, write: Write, release: Any, before: str, mend: str
) -> None:
    user = f"u_{os.getpid()}"
    words = {"user": user, "database": library.database.name, "table": "SELECT 1"}
    library.execute(f"CREATE ROLE {user} LOGIN")
    try:
        if "{table}" in before:
            library.create("media")
        query(library.database, before.format(**words))
        path = write("media", [release(1)])
        with (
            psycopg.connect(
                host=library.database.host,
                port=library.database.port,
                dbname=library.database.name,
                user=user,
            ) as connection,
            pytest.raises(AtxError) as caught,
        ):
            load_file(connection, path)
        assert mend.format(**words) in str(caught.value)
    finally:
        library.execute(f"DROP OWNED BY {user}")
        library.execute(f"DROP ROLE {user}")


# Files that are none


def test_a_file_that_is_none_is_named(database: Database, tmp_path: Path) -> None:
    assert "there is no file" in failure(database, tmp_path / "nothing.parquet")
    assert "is a folder: name one parquet file in it" in failure(database, tmp_path)
    empty = tmp_path / "empty.parquet"
    empty.touch()
    assert "is empty (0 bytes)" in failure(database, empty)
    renamed = tmp_path / "renamed.parquet"
    renamed.write_text("hash,media_type\n1,movie\n")
    assert "is not a whole parquet file" in failure(database, renamed)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "there is no file" in failure(database, pipe)


def test_a_truncated_or_damaged_file_is_named(
    database: Database, write: Write, release: Any
) -> None:
    path = write("media", [release(i) for i in range(1, 2000)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "is not a whole parquet file" in failure(database, path)
    path.write_bytes(whole[:100] + bytes(len(whole) // 2) + whole[100 + len(whole) // 2 :])
    assert "is damaged" in failure(database, path)


def test_columns_that_do_not_fit_are_named(database: Database, write: Write, release: Any) -> None:
    row = [release(1)]
    line = failure(database, write("media", row, without=["rt_score", "hash"]))
    assert "nearest to the media layout, but lacks the column hash, rt_score" in line
    line = failure(database, write("media", row, rt_score=pa.array(["many"])))
    assert "column rt_score has type string, but the media layout needs int64" in line
    line = failure(database, write("media", row, genre=pa.array(["Drama"])))
    assert "column genre has type string" in line
    assert "has the columns of the media layout, but no rows" in failure(
        database, write("media", [])
    )
    path = write("media", row)
    table = pq.read_table(path)
    pq.write_table(table.append_column("stars", pa.array([5])), path)
    assert "columns that the media layout does not know: stars" in failure(database, path)
    for more in range(1, 10):
        table = table.append_column(f"stars{more}", pa.array([5]))
    pq.write_table(table.append_column("stars", pa.array([5])), path)
    assert "stars9, stars; leave them out of the export" in failure(database, path)
    pq.write_table(table.append_column("a", pa.array([5])).append_column("b", pa.array([5])), path)
    assert "stars9, a and 1 more; leave them out" in failure(database, path)
    pq.write_table(table.append_column("hash", table["hash"]), path)
    assert "repeats the column hash" in failure(database, path)


# What goes wrong on the way


def test_a_connection_lost_midway_leaves_nothing(
    database: Database, write: Write, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("media", [release(i) for i in range(1, 100)])
    monkeypatch.setattr("atx_assets.sources.load.export_file._BATCH", 10)
    connection = connect(database, statement_timeout=60)
    pid, batches = connection.info.backend_pid, 0

    def copy(*arguments: Any) -> None:
        nonlocal batches
        batches += 1
        if batches == 5:
            query(database, f"SELECT pg_terminate_backend({pid})")
        copy_rows(*arguments)

    from atx_assets.sources.load.staging import copy_rows

    monkeypatch.setattr("atx_assets.sources.load.load.copy_rows", copy)
    with pytest.raises(AtxError, match="was lost"), explained(database), connection:
        load_file(connection, path)
    assert batches == 5
    assert everything(database) == []


_KILLED = """
import sys
from pathlib import Path
from atx_assets.sources.read.database import connect
from atx_assets.settings import Database
from atx_assets.sources.load import load
upsert = load.upsert
def slow(*arguments):
    counts = upsert(*arguments)
    print("taken over", flush=True)
    sys.stdin.read()
load.upsert = slow
host, port, name, user, path = sys.argv[1:]
database = Database(host, int(port), name, user)
load.load_file(connect(database, statement_timeout=60), Path(path))
"""


def test_a_load_killed_before_its_end_leaves_nothing(
    database: Database, write: Write, release: Any
) -> None:
    path = write("media", [release(1)])
    words = [database.host, str(database.port), database.name, database.user, str(path)]
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "taken over\n"
        child.send_signal(signal.SIGKILL)
    assert everything(database) == []
    assert counts(load(database, path)) == (1, 0, 0, 0)


def test_two_loads_at_once_do_not_trip_over_each_other(
    database: Database, write: Write, release: Any
) -> None:
    path = write("media", [release(i) for i in range(1, 50)])
    reports: list[LoadReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(load(database, path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(r.added for r in reports) == [0, 0, 0, 49]
    assert sum(r.unchanged for r in reports) == 3 * 49


def test_a_writer_waits_for_the_takeover(
    library: Any, write: Write, release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: a release that the downloader adds meanwhile, and the load failing on its key."""
    from atx_assets.sources.load.staging import upsert

    library.create("media")
    clashed = threading.Event()

    def add() -> None:
        try:
            library.insert("media", [release(1, media_title="Its own")])
        except psycopg.errors.UniqueViolation:
            clashed.set()

    writer = threading.Thread(target=add)

    def meanwhile(*arguments: Any) -> tuple[int, int]:
        writer.start()
        time.sleep(0.3)
        return upsert(*arguments)

    monkeypatch.setattr("atx_assets.sources.load.load.upsert", meanwhile)
    assert counts(load(library.database, write("media", [release(1)]))) == (1, 0, 0, 0)
    writer.join(30)
    assert clashed.is_set()


def test_odd_names_of_users_and_databases_do_no_harm(
    postgres: Any, write: Write, release: Any
) -> None:
    name = 'odd "name"; --'
    postgres.ensure_database(name)
    odd = Database(postgres.host, postgres.port, name, postgres.user)
    try:
        assert counts(load(odd, write("media", [release(1)]))) == (1, 0, 0, 0)
    finally:
        other = Database(postgres.host, postgres.port, "postgres", postgres.user)
        with connect(other, statement_timeout=60) as connection:
            connection.autocommit = True
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def test_the_report_is_readable() -> None:
    report = LoadReport("media", "atp.media", rows=12, added=7, changed=2, unchanged=1)
    report.refuse("rt_score is above 100", 2, ["a", "b"])
    assert str(report).splitlines() == [
        "atp.media: 12 rows read (media layout)",
        "  added             7",
        "  changed           2",
        "  unchanged         1",
        "  refused           2",
        "    2 because rt_score is above 100: a, b",
        "  warning: 2 of 12 rows were refused; fix them in the export and load it again",
    ]


# The command


def atx(database: Database, path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        **as_settings(database),
        "ATX_HOME": str(path.parent / "home"),
        # Not ours to make a database for.
        "DAGSTER_POSTGRES_URL": "postgresql://nowhere/dagster",
    }
    command = [sys.executable, "-m", "atx_assets.cli", "load", str(path), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_tells_what_it_did_and_fails_in_one_line(
    database: Database, write: Write, release: Any
) -> None:
    path = write("media", [release(1), release(2, rt_score=101)])
    done = atx(database, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "added             1" in done.stdout
    assert "warning: 1 of 2 rows were refused" in done.stdout
    done = atx(database, write("media", [release(3, rt_score=101)]))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("atx: every row of")
    assert done.stderr.count("\n") == 1
    done = atx(database, path.with_name("nothing.parquet"))
    assert done.returncode == 1
    assert (
        done.stderr
        == f"atx: there is no file {path.with_name('nothing.parquet')}: check its name\n"
    )


@pytest.mark.slow
def test_the_command_says_which_table_runs_read_where_the_other_one_is_there_too(
    database: Database, write: Write, release: Any, entry: Any
) -> None:
    """Kept out: somebody who loads an export, and whose runs never read it."""
    for layout, row in (("media", release(1)), ("training", entry(1))):
        assert "note:" not in atx(database, write(layout, [row])).stdout
    told = atx(database, write("media", [release(1)])).stdout
    assert told.endswith(
        "  note: runs read atp.training, which exists as well: set ATX_SOURCE=media to have them "
        "read atp.media\n"
    )
