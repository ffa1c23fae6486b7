"""The copy of a source table: every row and column, in key order, of one moment."""

import os
import resource
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors, sql

from atx_assets import schemas
from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import AtxError
from atx_assets.sources.layouts import MEDIA
from atx_assets.sources.read import extract as extraction
from atx_assets.sources.read.database import explained
from atx_assets.sources.read.extract import extract, read_rows
from atx_assets.sources.read.fingerprints import read_fingerprints

AWKWARD = [
    "",
    " ",
    ",",
    '"',
    '""',
    "'",
    "\\",
    "\\N",
    "\\.",
    "NULL",
    "null",
    "N/A",
    "NaN",
    "a,b",
    'he said "no"',
    "two\nlines",
    "carriage\rreturn",
    "windows\r\nlines",
    "\n",
    "tab\there",
    "{a,b}",
    '{"x"}',
    "Ämélie — “naïve”",
    "映画",
    "🎬👩‍👩‍👧",
    "e\u0301",
    "\u00a0",
    "\u2028",
    "t",
    "f",
    "1",
    " padded ",
    "#",
    ";",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "media.parquet"


class TestWhatIsCopied:
    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_every_column_of_every_row_comes_in_the_types_of_the_contract(
        self, library, release, entry, path, layout
    ):
        columns = {"media": schemas.MEDIA, "training": schemas.TRAINING}[layout]
        full = {
            "string": "text",
            "list<string>": ["en", "fr"],
            "int64": 7,
            "float64": 7.5,
            "bool": True,
            "timestamp[us, UTC]": datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
        }
        known = {c.name: c.values[0] if c.values else full[c.type] for c in columns}
        known |= {"media_type": "tv_show", "media_title": "A title"}
        known |= dict.fromkeys(known.keys() & {"original_language"}, "en")
        make, key = (release, "hash") if layout == "media" else (entry, "imdb_id")
        rows = [make(1, **{k: v for k, v in known.items() if k != key}), make(2), make(3)]
        library.create(layout, rows)
        found = library.extract(path)
        assert found.schema.remove_metadata().equals(schemas.arrow_schema(columns))
        assert found.to_pylist() == rows

    @pytest.mark.real_data
    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_a_real_library_comes_back_as_it_went_in(self, library, real_rows, path, layout):
        exported = real_rows(layout)
        missing = {c.name for c in schemas.MEDIA + schemas.TRAINING} - set(exported.column_names)
        library.create(layout, without=missing)
        rows = exported.to_pylist()
        copy = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier("atp", layout),
            sql.SQL(", ").join(map(sql.Identifier, exported.column_names)),
        )
        with library.connection.cursor().copy(copy) as into:
            for row in reversed(rows):
                into.write_row(list(row.values()))
        assert library.extract(path).to_pylist() == rows

    def test_awkward_text_comes_back_as_it_is(self, library, release, path):
        rows = [release(n, media_title=text) for n, text in enumerate(AWKWARD)]
        library.create("media", rows)
        assert library.extract(path)["media_title"].to_pylist() == AWKWARD

    def test_awkward_elements_of_arrays_come_back_as_they_are(self, library, release, path):
        lists = [[text, "Drama"] for text in AWKWARD] + [["Drama", text] for text in AWKWARD]
        lists += [AWKWARD]
        library.create("media", [release(n, genre=words) for n, words in enumerate(lists)])
        assert library.extract(path)["genre"].to_pylist() == lists

    def test_null_the_empty_array_and_arrays_of_null_or_nothing_stay_apart(
        self, library, release, path
    ):
        lists = [None, [], [None], [""], ["", ""], [None, "a"], ["a", None], [None, None], ["N/A"]]
        rows = [release(n, genre=words, language=words) for n, words in enumerate(lists)]
        library.create("media", rows)
        found = library.extract(path)
        assert found["genre"].to_pylist() == lists
        assert found["language"].to_pylist() == lists

    def test_null_and_empty_text_stay_apart(self, library, release, path):
        texts = [None, "", " ", "NULL"]
        library.create("media", [release(n, rejection_reason=t) for n, t in enumerate(texts)])
        assert library.extract(path)["rejection_reason"].to_pylist() == texts

    def test_columns_of_fixed_width_come_without_their_padding(self, library, entry, path):
        known = [("", ["", "e"]), (None, None), ("e", [""]), ("en", [])]
        rows = [
            entry(n, original_language=one, spoken_languages=many)
            for n, (one, many) in enumerate(known)
        ]
        library.create("training", rows)
        found = library.extract(path)
        one, many = found["original_language"], found["spoken_languages"]
        assert list(zip(one.to_pylist(), many.to_pylist(), strict=True)) == known

    def test_a_column_of_nulls_alone_keeps_its_type(self, library, release, path):
        library.create("media", [release(1), release(2)])
        found = library.extract(path)
        assert found.schema.field("rt_score").type == pa.int64()
        assert found["genre"].null_count == 2

    def test_large_text_comes_back_whole(self, library, entry, path):
        overview = "A long story, “quoted”,\nwith lines.\\ " * 280_000
        assert len(overview.encode()) > 10_000_000
        rows = [entry(1), entry(2, overview=overview), entry(3, overview="short")]
        library.create("training", rows)
        assert library.extract(path)["overview"].to_pylist() == [None, overview, "short"]

    def test_numbers_of_any_size_become_floats(self, library, release, path):
        values = ["NaN", "Infinity", "-Infinity", "1e300", "1e-300", "7.1", "10", "100.0"]
        values += ["0.1234567890123456789", "123456789012345678901234567890", "-0.0"]
        library.create("media", [release(n) for n in range(len(values))])
        for number, value in enumerate(values):
            library.execute(
                "UPDATE atp.media SET imdb_rating = %s::numeric WHERE hash = %s",
                (value, f"{number:040x}"),
            )
        found = [float(v) for v in library.extract(path)["imdb_rating"].to_pylist()]
        assert [repr(v) for v in found] == [repr(float(Decimal(v)) + 0.0) for v in values]

    def test_the_largest_and_smallest_integers_come_back(self, library, entry, path):
        values = [2**63 - 1, -(2**63), 0, -1]
        library.create("training", [entry(n, budget=v) for n, v in enumerate(values)])
        assert library.extract(path)["budget"].to_pylist() == values

    def test_times_that_arrow_cannot_hold_become_null(self, library, release, path):
        times = ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "294000-01-01"]
        library.create("media", [release(n) for n in range(len(times) + 1)])
        for number, value in enumerate(times):
            library.execute(
                "UPDATE atp.media SET created_at = %s::timestamptz WHERE hash = %s",
                (value, f"{number:040x}"),
            )
        found = library.extract(path)["created_at"].to_pylist()
        assert found == [None] * len(times) + [datetime(2025, 4, 1, tzinfo=UTC)]

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Europe/Berlin", "America/St_Johns"])
    def test_times_come_in_utc_whatever_the_zone_of_the_database(
        self, library, release, path, zone
    ):
        # Before there were zones, Berlin's clocks were 53 minutes and 28 seconds ahead.
        times = [
            datetime(1850, 1, 1, 12, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(2024, 7, 1, 12, 30, 0, 1, tzinfo=timezone(timedelta(hours=-3))),
        ]
        library.create("media", [release(n, created_at=time) for n, time in enumerate(times)])
        name = sql.Identifier(library.database.name)
        change = sql.SQL("ALTER DATABASE {} SET {} = {}")
        library.execute(change.format(name, sql.SQL("timezone"), sql.Literal(zone)))
        library.execute(change.format(name, sql.SQL("datestyle"), sql.SQL("German")))
        assert library.extract(path)["created_at"].to_pylist() == times

    def test_columns_that_the_layout_does_not_know_are_kept_as_text(self, library, release, path):
        types = {"Seen At": "date", 'odd"name': "int[]", "100%": "jsonb", "note": "text"}
        library.create("media", [release(1), release(2)], types=types)
        library.execute(
            """UPDATE atp.media SET "Seen At" = '2024-02-29', "odd""name" = '{1,2}',
               "100%%" = '{"a": [1, null]}', note = '' WHERE right(hash, 1) = %s""",
            ["1"],
        )
        found = library.extract(path)
        assert found.column_names == [c.name for c in schemas.MEDIA] + list(types)
        assert [found[n].to_pylist() for n in types] == [
            ["2024-02-29", None],
            ["{1,2}", None],
            ['{"a": [1, null]}', None],
            ["", None],
        ]

    def test_an_empty_table_gives_an_empty_file_with_every_column(self, library, path):
        library.create("media")
        found = library.extract(path)
        assert found.num_rows == 0
        assert found.schema.remove_metadata().equals(schemas.arrow_schema(schemas.MEDIA))

    def test_what_is_recorded_of_the_moment_is_in_the_file(self, library, release, path):
        library.create("media", [release(1)])
        with library.reading() as (connection, source):
            extract(connection, source, path, {"layout": "media", "fingerprints": {"labels": "1"}})
        recorded = pq.read_schema(path).metadata[b"atx"]
        assert recorded == b'{"layout": "media", "fingerprints": {"labels": "1"}}'

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        texts=st.lists(
            st.tuples(
                st.none() | st.text(st.characters(exclude_characters="\x00", codec="utf-8")),
                st.none()
                | st.lists(
                    st.none() | st.text(st.characters(exclude_characters="\x00", codec="utf-8")),
                    max_size=4,
                ),
            ),
            max_size=8,
        )
    )
    def test_any_text_and_any_array_come_back_as_they_are(self, library, release, path, texts):
        if library.connection.execute("SELECT to_regclass('atp.media')").fetchone() == (None,):
            library.create("media")
        library.execute("DELETE FROM atp.media")
        rows = [release(n, target_path=t, genre=words) for n, (t, words) in enumerate(texts)]
        library.insert("media", rows)
        assert library.extract(path).to_pylist() == rows


class TestOrder:
    def test_the_bytes_do_not_depend_on_the_order_in_the_table(
        self, library, release, tmp_path, titles_of
    ):
        rows = [
            release(n, imdb_id=f"tt{n % 40:07}", rt_score=n % 7, genre=["Drama", f"G{n % 5}"])
            for n in range(200)
        ]
        library.create("media", rows)
        library.extract(tmp_path / "one")
        library.execute("DELETE FROM atp.media")
        library.insert("media", rows[::-3] + rows[-2::-3] + rows[-3::-3])
        library.extract(tmp_path / "two")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        assert pq.read_table(tmp_path / "two").to_pylist() == rows

    def test_two_extractions_leave_the_same_bytes(self, library, release, tmp_path):
        rows = [release(n, genre=["Drama"], imdb_rating=n / 10) for n in range(50)]
        library.create("media", rows)
        for name in ("one", "two"):
            library.extract(tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


class TestBatches:
    @pytest.mark.parametrize("size", [1, 700, 5_000, 1 << 30])
    def test_rows_are_the_same_in_batches_of_any_size(
        self, library, release, path, monkeypatch, size
    ):
        rows = [
            release(
                n,
                media_title=AWKWARD[n % len(AWKWARD)],
                genre=[AWKWARD[n % len(AWKWARD)], "x"],
                target_path="two\nlines, " * (n % 5),
            )
            for n in range(120)
        ]
        library.create("media", rows)
        monkeypatch.setattr(extraction, "_BATCH_BYTES", size)
        assert library.extract(path).to_pylist() == rows
        groups = pq.ParquetFile(path).num_row_groups
        assert (groups > 1) == (size < 1 << 30)

    def test_a_list_column_may_be_null_in_one_batch_and_known_in_another(
        self, library, release, path, monkeypatch
    ):
        rows = [release(n, genre=["Drama"] if n > 5 else None) for n in range(10)]
        library.create("media", rows)
        monkeypatch.setattr(extraction, "_BATCH_BYTES", 1)
        assert library.extract(path).to_pylist() == rows


class TestOneMoment:
    def test_a_change_between_fingerprint_and_extraction_is_not_seen(self, library, release, path):
        library.create("media", [release(1, rejection_status="override"), release(2)])
        before = library.fingerprints()
        with library.reading() as (connection, source):
            fingerprints = read_fingerprints(connection, source)
            library.execute("UPDATE atp.media SET rejection_status = 'accepted', rt_score = 5")
            library.insert("media", [release(3)])
            extract(connection, source, path, {})
            assert read_fingerprints(connection, source) == fingerprints == before
        found = pq.read_table(path)
        assert found["rejection_status"].to_pylist() == ["override", "unfiltered"]
        assert found["rt_score"].null_count == 2
        assert library.fingerprints() != before

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO atp.media (hash) VALUES ('a')",
            "UPDATE atp.media SET rt_score = 1",
            "DELETE FROM atp.media",
            "CREATE TABLE atp.mine ()",
        ],
    )
    def test_the_transaction_cannot_write(self, library, release, statement):
        library.create("media", [release(1)])
        with library.reading() as (connection, _), pytest.raises(errors.ReadOnlySqlTransaction):
            connection.execute(statement)

    def test_extraction_leaves_the_transaction_usable(self, library, release, path):
        library.create("media", [release(1)])
        with library.reading() as (connection, source):
            extract(connection, source, path, {})
            assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture
def slow_library(library, release) -> None:
    """A view that gives a few large rows at once, and takes seconds over the others."""
    library.create("media", [release(n, target_path="x" * 60_000) for n in range(40)])
    library.execute("ALTER TABLE atp.media RENAME TO releases")
    columns = ", ".join(c.name for c in schemas.MEDIA if c.name != "uploader")
    # Evaluated for each row as it is sent, behind the sort.
    library.execute(
        """CREATE FUNCTION atp.slowly(hash text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
           BEGIN IF hash > lpad('14', 40, '0') THEN PERFORM pg_sleep(1); END IF;
           RETURN hash; END $$"""
    )
    library.execute(
        f"""CREATE VIEW atp.media AS SELECT {columns}, slow.uploader
            FROM (SELECT * FROM atp.releases ORDER BY hash COLLATE "C") r,
            LATERAL (SELECT atp.slowly(r.hash) AS uploader) slow"""
    )


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def extracting() -> list[str]:
    """The threads that an extraction has left behind."""
    return [t.name for t in threading.enumerate() if t.name.startswith("atx-extract")]


class TestFailure:
    """What a failure half-way leaves: the old file, nothing beside it, and no broken connection."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> DataFiles:
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "media.parquet").write_bytes(b"the old file")
        return DataFiles(directory=str(folder))

    def assert_the_old_file_stands(self, files: DataFiles) -> None:
        assert files.path("raw_media").read_bytes() == b"the old file"
        assert left_in(files.folder) == ["media.parquet"]

    @pytest.mark.usefixtures("slow_library")
    def test_a_statement_timeout_raises_and_leaves_the_old_file(self, library, files, monkeypatch):
        monkeypatch.setattr(extraction, "_BATCH_BYTES", 100_000)
        with library.reading(timeout=1) as (connection, source):
            with (
                pytest.raises(errors.QueryCanceled),
                files.replacing(files.path("raw_media")) as beside,
            ):
                extract(connection, source, beside, {})
            assert connection.closed
        self.assert_the_old_file_stands(files)

    def test_what_the_server_says_in_the_middle_is_told_without_its_details(
        self, library, release, files
    ):
        """Kept out: a standby that ended the reading was told of by its DETAIL alone."""
        library.create("media", [release(1)])
        library.execute(
            "CREATE FUNCTION ended(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE 'due to conflict with recovery' USING ERRCODE = '40001', DETAIL = 'Rows.';"
            " END $$"
        )
        library.execute("ALTER TABLE atp.media RENAME TO releases")
        columns = [sql.Identifier(c.name) for c in MEDIA.columns]
        shown = [
            sql.SQL("ended({}) AS {}").format(c, c) if c.as_string() == '"uploader"' else c
            for c in columns
        ]
        library.execute(
            sql.SQL("CREATE VIEW atp.media AS SELECT {} FROM atp.releases").format(
                sql.SQL(", ").join(shown)
            )
        )
        with (
            pytest.raises(AtxError, match=r"\(due to conflict with recovery\): it is a standby"),
            library.reading() as (connection, source),
            explained(library.database),
            files.replacing(files.path("raw_media")) as beside,
        ):
            extract(connection, source, beside, {})
        self.assert_the_old_file_stands(files)

    @pytest.mark.usefixtures("slow_library")
    def test_a_terminated_backend_raises_and_leaves_the_old_file(self, library, files, monkeypatch):
        monkeypatch.setattr(extraction, "_BATCH_BYTES", 100_000)
        with library.reading() as (connection, source):
            end = sql.SQL("SELECT pg_terminate_backend({})").format(connection.info.backend_pid)
            killer = threading.Timer(0.5, library.execute, [end])
            killer.start()
            with (
                pytest.raises(psycopg.OperationalError),
                files.replacing(files.path("raw_media")) as beside,
            ):
                extract(connection, source, beside, {})
            killer.join()
            assert connection.closed
        self.assert_the_old_file_stands(files)

    @pytest.mark.usefixtures("slow_library")
    def test_a_server_that_says_nothing_more_keeps_no_ctrl_c_waiting(self, library, files):
        """Kept out: a wait inside libpq, with every other thread and every signal held up."""
        with library.reading() as (connection, source):
            backend = connection.info.backend_pid
            frozen = threading.Timer(0.5, os.kill, [backend, signal.SIGSTOP])
            stopped = threading.Timer(2, os.kill, [os.getpid(), signal.SIGINT])
            began = time.monotonic()
            frozen.start()
            stopped.start()
            try:
                with (
                    pytest.raises(KeyboardInterrupt),
                    files.replacing(files.path("raw_media")) as beside,
                ):
                    extract(connection, source, beside, {})
            finally:
                frozen.join()
                os.kill(backend, signal.SIGCONT)
            assert time.monotonic() - began < 10
        self.assert_the_old_file_stands(files)

    def test_a_table_dropped_before_the_copy_raises_its_own_error(self, library, release, files):
        library.create("media", [release(1)])
        with library.reading() as (connection, source):
            gone = replace(source, layout=replace(MEDIA, table="gone"))
            with (
                pytest.raises(errors.UndefinedTable, match="gone"),
                files.replacing(files.path("raw_media")) as beside,
            ):
                extract(connection, gone, beside, {})
        self.assert_the_old_file_stands(files)

    def test_a_file_that_cannot_be_made_raises(self, library, release, tmp_path):
        library.create("media", [release(1)])
        missing = tmp_path / "no such folder" / "media.parquet"
        with library.reading() as (connection, source), pytest.raises(FileNotFoundError):
            extract(connection, source, missing, {})
        assert not extracting()

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("batch", [1, extraction._BATCH_BYTES], ids=["a middle", "the last"])
    def test_a_file_whose_write_fails_raises(self, library, release, path, monkeypatch, batch):
        """Kept out: a run that hung for ever, the writer waiting for more and the reader for it."""
        monkeypatch.setattr(extraction, "_BATCH_BYTES", batch)
        library.create("media", [release(n, target_path=f"{n}" * 50_000) for n in range(100)])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with library.reading() as (connection, source):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
            try:
                with pytest.raises(OSError, match="File too large"):
                    extract(connection, source, path, {})
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            # Where the rest was not read, the connection is still full of it.
            assert connection.closed == (batch == 1)
        assert not extracting()

    def test_a_value_that_is_not_of_its_columns_type_raises(self, library, release, files):
        # A source of another version of PostgreSQL may spell a value in a way Arrow does not know.
        library.create("media", [release(1)], types={"rt_score": "text"})
        library.execute("UPDATE atp.media SET rt_score = 'many'")
        connection = psycopg.connect(library.connection.info.dsn)
        with connection:
            columns = {c.name: "text" for c in schemas.MEDIA}
            source = extraction.SourceTable(MEDIA, columns)
            with (
                pytest.raises(pa.ArrowInvalid, match="many"),
                files.replacing(files.path("raw_media")) as beside,
            ):
                extract(connection, source, beside, {})
        self.assert_the_old_file_stands(files)


def test_text_of_a_database_in_another_encoding_comes_as_it_reads(library, release, path):
    name = f"{library.database.name}_latin"
    library.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' LOCALE_PROVIDER libc "
        "ENCODING 'LATIN1'"
    )
    try:
        with psycopg.connect(
            host=library.database.host,
            port=library.database.port,
            user=library.database.user,
            dbname=name,
            autocommit=True,
            client_encoding="utf8",
        ) as connection:
            other = replace(
                library, database=replace(library.database, name=name), connection=connection
            )
            other.create("media", [release(1, media_title="Amélie", genre=["Comédie"])])
            found = other.extract(path)
    finally:
        library.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert found["media_title"].to_pylist() == ["Amélie"]
    assert found["genre"].to_pylist() == [["Comédie"]]


@pytest.mark.timeout(60)
def test_rows_are_read_by_a_condition_longer_than_a_socket_takes_at_once(library, release):
    """Kept out: a look at the labels that waits for ever, its question sent by half."""
    library.create("media", [release(1), release(2)])
    others = [f"{number:040x}" for number in range(2, 100_000)]
    where = sql.SQL("hash = ANY ({}::text[])").format(sql.Literal(others))
    with library.reading() as (connection, source):
        rows = read_rows(connection, source, where)
    assert rows["hash"].to_pylist() == [f"{2:040x}"]
    assert rows.schema.names == list(source.columns)
