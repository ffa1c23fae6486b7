"""`atx correct` as a person meets it, on an embedded home: preview, write, undo, list."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atx_assets import schemas
from atx_assets.commands.correct import SHOWN, aligned, given_ids

Done = subprocess.CompletedProcess[str]
DAY = datetime(2025, 4, 1, tzinfo=UTC)


def release(number: int, **known: Any) -> dict[str, Any]:
    return {
        "hash": f"{number:040x}",
        "media_type": "movie",
        "media_title": f"Film {number}",
        "release_year": 2001,
        "rejection_status": "unfiltered",
        "pipeline_status": "parsed",
        "error_status": False,
        "original_title": f"Film.{number}",
        "imdb_id": f"tt{number:07}",
        "created_at": DAY,
        "updated_at": DAY,
        **known,
    }


@pytest.fixture
def environment(home: Path, bare_environment: dict[str, str]) -> dict[str, str]:
    return bare_environment | {"ATX_HOME": str(home), "ATX_CORRECTION_PG_USER": ""}


@pytest.fixture
def atx(environment: dict[str, str]) -> Callable[..., Done]:
    def run(*words: str, stdin: str = "", **settings: str) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "atx_assets.cli", *words],
            env=environment | settings,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def library(atx: Callable[..., Done], tmp_path: Path) -> Iterator[None]:
    """400 films in the embedded server of the home, which runs until the end of the test."""
    rows = [release(number) for number in range(1, 401)]
    rows[1] |= {"rejection_status": "override", "pipeline_status": "complete"}
    rows[2] |= {"rejection_status": "accepted", "pipeline_status": "transferred"}
    rows[3] |= {"media_title": "\x1b[2J%s {0} <b>;\u202e"}
    path = tmp_path / "library.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.MEDIA)), path)
    assert atx("start").returncode == 0
    loaded = atx("load", str(path))
    assert loaded.returncode == 0, loaded.stderr
    yield
    atx("stop")


def events(home: Path) -> list[dict[str, Any]]:
    path = home / "corrections.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_preview_write_undo_and_list(atx: Callable[..., Done], home: Path) -> None:
    preview = atx("correct", "keep", "tt0000001", "tt0000002", "3".zfill(40))
    assert preview.returncode == 0, preview.stderr
    assert preview.stdout.splitlines() == [
        "atp.media: 3 titles, 2 to change (2 rows), 1 already a person's keep",
        "  title   year  IMDb id    releases  now           becomes       note",
        "  Film 1  2001  tt0000001         1  unlabelled    keep (human)",
        "  Film 3  2001  tt0000003         1  keep (rule)   keep (human)  1 transferred: may be "
        "fetched again",
        "  Film 2  2001  tt0000002         1  keep (human)  unchanged",
        "warning: the downloader may now fetch 2 releases of 2 titles: their pipeline_status "
        "becomes ingested",
        "warning: 1 release of them may be fetched again: Film 3 (2001), transferred",
        "nothing was written; to write it, repeat the command with --write",
    ]
    assert events(home) == []
    assert atx("correct", "list").stdout == f"no corrections yet in {home}/corrections.jsonl\n"

    written = atx("correct", "keep", "--write", "tt0000001", "tt0000002", "3".zfill(40))
    assert written.returncode == 0, written.stderr
    assert written.stdout.splitlines()[:-2] == preview.stdout.splitlines()[:-1]
    assert written.stdout.splitlines()[-2:] == [
        "written as correction 1; to undo it: atx correct undo 1 --write",
        "if `atx up` is running, the label sensor picks it up; else: atx run --job refresh",
    ]
    intent = events(home)[0]
    assert "@" in intent["who"]
    assert intent["via"] == "atx correct"

    again = atx("correct", "keep", "--write", "tt0000001")
    assert again.stdout.splitlines()[-1] == "nothing to write"

    shown = atx("correct", "undo", "1")
    assert shown.stdout.splitlines()[-1].startswith("nothing was written; to write it")
    undone = atx("correct", "undo", "1", "--write")
    assert undone.returncode == 0, undone.stderr
    assert "written as correction 2" in undone.stdout
    assert "keep (human)  unlabelled" in undone.stdout

    listed = atx("correct", "list").stdout.splitlines()
    assert listed[0].split() == [
        *("number", "when", "verdict", "titles", "rows", "outcome", "who", "database")
    ]
    assert "undo of 1" in listed[1]
    assert listed[2].split()[0] == "1"
    assert listed[2].split()[3:7] == ["keep", "2", "2", "committed"]


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_many_ids_from_standard_input_stay_readable(atx: Callable[..., Done]) -> None:
    ids = "\n".join(f"tt{number:07}" for number in range(101, 401))
    done = atx("correct", "skip", "-", "tt0000100", "--write", stdin=ids)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("atp.media: 301 titles, 301 to change (301 rows)")
    assert f"  and {301 - SHOWN} more" in lines
    assert len(lines) == SHOWN + 5
    assert max(map(len, lines)) < 110


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    atx: Callable[..., Done], home: Path
) -> None:
    odd = "%s{0}'; DROP TABLE atp.media; --<b>\x1b[2J"
    done = atx("correct", "keep", "--write", "tt0000001", odd, "tt7777777")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("atx: 2 of 3 ids cannot be used, and nothing was written")
    assert len(done.stderr.splitlines()) == 1
    assert repr(odd) in done.stderr
    assert "\x1b" not in done.stderr
    undo = atx("correct", "undo", "3", "--write")
    assert undo.returncode == 1
    assert "has no correction 3" in undo.stderr
    assert events(home) == []


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_a_title_cannot_give_orders_to_the_terminal(atx: Callable[..., Done]) -> None:
    done = atx("correct", "keep", "tt0000004")
    assert "  [2J%s {0} <b>;?  2001" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_doctor_tells_of_the_user_of_corrections_only_if_there_is_one(
    atx: Callable[..., Done],
) -> None:
    assert "corrections:" not in atx("doctor").stdout
    allowed = atx("doctor", ATX_CORRECTION_PG_USER="postgres").stdout
    assert "note  corrections: postgres may change labels" in allowed
    unknown = atx("doctor", ATX_CORRECTION_PG_USER="stranger")
    assert unknown.returncode == 1
    assert "FAIL  corrections: " in unknown.stdout
    assert "ATX_CORRECTION_PG_USER" in unknown.stdout


@pytest.mark.parametrize(
    "words", [("keep",), ("skip", "--write"), ("undo",), ("undo", "0"), ("undo", "x")]
)
def test_a_command_without_what_it_needs_shows_its_usage(
    atx: Callable[..., Done], words: tuple[str, ...], home: Path
) -> None:
    done = atx("correct", *words)
    assert done.returncode == 2
    assert "Usage: atx correct" in done.stderr
    assert not home.exists()


def test_ids_stand_where_the_dash_stood() -> None:
    with (Path(__file__).parent / "test_correct.py").open() as unread:
        assert given_ids(["a", "b"], unread) == ["a", "b"]
        assert unread.tell() == 0
    import io

    assert given_ids(["a", "-", "b"], io.StringIO(" x\n\ty  z\n")) == ["a", "x", "y", "z", "b"]


def test_columns_are_aligned_and_long_titles_shortened() -> None:
    lines = aligned([{"title": "x" * 90, "year": 2001}, {"title": "y", "year": None}])
    assert lines == [f"{'title':<44}  year", f"{'x' * 43}…  2001", "y"]
