"""`atx show`: the lists as tables that no title can break, and as JSON."""

import json
import re
import subprocess
import sys

import pyarrow as pa
import pytest
from rich.cells import cell_len

from atx_assets.cli.main import main
from atx_assets.defs.resources.files import DataFiles
from atx_assets.schemas import QUARANTINE, REVIEW_QUEUE, arrow_schema

#: What a terminal obeys: all control characters but the end of a line.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ODD = [
    "映画の題名がとても長い場合",
    "The Movie \U0001f468‍\U0001f469‍\U0001f467 ❤️",
    "סרט בעברית",
    "[red]not red[/red] [/]",
    "\x1b[2J\x1b]0;owned\x07 cleared\r\n\tand \x9b31m more",
    "\u202eright to left\u202c",
    "A title of which there is so much that it fits no line of any terminal " * 3,
]


def record(title: str, number: int, **changed: object) -> dict[str, object]:
    kind = "fp" if number % 2 else "fn"
    return {
        **{column.name: None for column in REVIEW_QUEUE},
        "rank": number,
        "task": "label_again",
        "because": f"a person said keep, but models put a keep at {number}%",
        "media_title": title,
        "release_year": 2000 + number,
        "genre": ["Sci-Fi", "Drama"] if number % 2 else ["Horror", "N/A"],
        "actual": kind == "fn",
        "cm_value": kind,
        "probability": number / 100,
        "label_source": "human",
        "beyond_threshold": number / 100 - 0.5,
        "label_date": "2025-04-05",
        "why": ["Metascore 88: +1.2", "genre Sci-Fi: +0.9", "release year 1999: -0.3"],
        "nearest": ["Brazil (1985): keep by a person (91% alike)", f"{title} (1999): skip"],
        "imdb_id": f"tt{number:07}",
        "key": f"tt{number:07}",
        **changed,
    }


@pytest.fixture
def files(tmp_path, monkeypatch) -> DataFiles:
    """A data folder of lists alone, and no database to be reached."""
    found = DataFiles(directory=str(tmp_path / "data"))
    records = [record(title, number) for number, title in enumerate(ODD, 1)]
    found.write_records("false_positives", [r for r in records if r["cm_value"] == "fp"])
    found.write_records("false_negatives", [r for r in records if r["cm_value"] == "fn"])
    unlabelled = {"actual": None, "label_source": None, "cm_value": None, "label_date": None}
    found.write_records(
        "review_queue",
        [
            *records[:2],
            record("To label", 1, task="label", **unlabelled),
            record("To watch", 2, task="recommended", **unlabelled),
            record("To watch first", 1, task="recommended", **unlabelled),
        ],
    )
    monkeypatch.setenv("ATX_DATA_DIR", found.directory)
    monkeypatch.setenv("PG_HOST", "nowhere.invalid")
    return found


@pytest.fixture
def show(files, capsys):
    def run(*words: str) -> str:
        status = main(["show", *words])
        told = capsys.readouterr()
        assert (status, told.err) == (0, "")
        return told.out

    return run


def test_a_pipe_gets_a_line_a_film_aligned_whole_and_without_control_characters(show):
    lines = show("errors").splitlines()
    assert len(lines) == 1 + len(ODD)
    assert not CONTROL.search("".join(lines))
    assert ODD[6].strip() in "".join(lines)
    start = {cell_len(line[: line.index("tt0000")]) for line in lines[1:]}
    assert start == {cell_len(lines[0][: lines[0].index("  id") + 2])}
    assert "The Movie \U0001f468\U0001f469\U0001f467 ❤ (2002)" in "".join(lines)
    assert any("[red]not red[/red] [/] (2004)" in line for line in lines)
    assert "keep by a person; 2025-04-05" in lines[1] + lines[2]
    assert "Metascore 88: +1.2; genre Sci-Fi: +0.9; release year 1999: -0.3" in lines[1]
    assert "Brazil (1985): keep by a person (91% alike)" in lines[1]


def set_aside(files, titles) -> None:
    """Write what `quarantine` leaves, and the rows it came from."""
    rows = [
        {
            "source_key": f"{number:040x}",
            "imdb_id": None,
            "media_title": title,
            "media_type": "movie",
            "reasons": ["metascore is above 100: 101", "imdb_votes is below 0: -1"],
            "row": json.dumps({"media_title": title, "metascore": 101}),
        }
        for number, title in enumerate(titles)
    ]
    files.write_table("quarantine", pa.Table.from_pylist(rows, arrow_schema(QUARANTINE)))
    files.write_table("raw_media", pa.table({"hash": ["h"] * 200}))


def test_rows_that_are_set_aside_are_shown_with_their_reasons(show, files):
    set_aside(files, ODD)
    out = show("quarantine")
    assert not CONTROL.search(out.replace("\n", ""))
    lines = out.splitlines()
    assert lines[0] == f"{len(ODD)} of 200 rows are set aside ({len(ODD) / 200:.2%})"
    assert len(lines) == 2 + len(ODD) + 1
    assert "metascore is above 100: 101; imdb_votes is below 0: -1" in lines[2]
    assert lines[-1].startswith("fix them at their source")
    assert "and 4 more: --limit 7, or --json" in show("quarantine", "--limit", "3")
    records = json.loads(show("quarantine", "--json"))
    assert [record["row"]["media_title"] for record in records] == ODD
    set_aside(files, [])
    assert show("quarantine") == "none of 200 rows is set aside\n"


def test_before_any_run_it_says_what_to_run(files, capsys):
    assert main(["show", "quarantine"]) == 1
    assert "quarantine.parquet is missing: materialise quarantine" in capsys.readouterr().err


def test_errors_come_surest_first_and_of_one_kind_if_asked(show):
    assert re.findall(r"tt\d+", show("errors")) == [f"tt{n:07}" for n in range(1, len(ODD) + 1)]
    assert re.findall(r"tt\d+", show("errors", "--kind", "fn")) == [f"tt{n:07}" for n in (2, 4, 6)]


def test_genres_are_told_apart_in_any_case_and_joined_if_repeated(show):
    assert set(re.findall(r"tt\d+", show("errors", "--genre", "sci-FI"))) == {
        f"tt{n:07}" for n in (1, 3, 5, 7)
    }
    assert len(re.findall(r"tt\d+", show("errors", "--genre", "horror", "--genre", "Drama"))) == 7
    assert show("errors", "--genre", "horror", "--kind", "fp") == "no mistakes\n"


@pytest.mark.parametrize("spelled", ["sci\u200b-fi", "\u00a0SCI-FI ", "Ｓｃｉ-Fi"])
def test_a_genre_is_found_however_it_is_spelled(show, spelled):
    assert show("errors", "--genre", spelled) == show("errors", "--genre", "Sci-Fi")


def test_a_genre_that_no_film_has_is_named_with_those_there_are(files, capsys):
    assert main(["show", "queue", "--genre", "Westen"]) == 1
    assert capsys.readouterr().err == (
        "atx: no film in this list has the genre 'westen'; its genres: Drama, Horror, Sci-Fi\n"
    )


def test_a_limit_says_how_many_more_there_are(show):
    lines = show("errors", "--limit", "3").splitlines()
    assert len(lines) == 1 + 3 + 1
    assert lines[-1] == "and 4 more: --limit 7, or --json"


def test_twenty_are_shown_and_all_of_them_as_json(show, files):
    files.write_records("review_queue", [record(f"Film {n}", n) for n in range(1, 31)])
    assert "and 10 more" in show("queue")
    assert len(json.loads(show("queue", "--json"))) == 30
    assert len(json.loads(show("queue", "--json", "--limit", "2"))) == 2


def test_queue_and_recommendations_share_a_file_and_no_film(show):
    queue, recommended = show("queue"), show("recommendations")
    assert "To watch" not in queue
    assert "label_again" in queue
    assert "unlabelled" in next(line for line in queue.splitlines() if "To label" in line)
    assert re.findall(r"tt\d+", recommended) == ["tt0000001", "tt0000002"]
    assert "To label" not in recommended


@pytest.mark.parametrize("words", [[], ["--json"]], ids=["table", "json"])
def test_a_queue_of_an_earlier_atx_is_shown_with_the_tasks_of_today(show, files, words):
    before = {"label_again": "judge again", "label": "judge", "recommended": "recommended"}
    lists = ("queue", "recommendations")
    today = [show(name, *words) for name in lists]
    records = files.read_records("review_queue")
    files.write_records("review_queue", [r | {"task": before[r["task"]]} for r in records])
    assert [show(name, *words) for name in lists] == today


def test_json_is_the_records_and_harmless_to_a_terminal(show, files):
    text = show("errors", "--json", "--kind", "fp")
    assert json.loads(text) == files.read_records("false_positives")
    assert not CONTROL.search(text)


def test_an_empty_list_says_so(show, files):
    files.write_records("review_queue", [])
    assert show("recommendations") == "no unlabelled film is predicted keep\n"
    assert show("queue", "--genre", "drama") == "nothing to label\n"
    assert json.loads(show("queue", "--json")) == []


@pytest.mark.parametrize(
    ("words", "asset"), [("errors", "false_positives"), ("queue", "review_queue")]
)
def test_a_list_of_an_earlier_atx_is_one_line_with_the_mend(files, capsys, words, asset):
    """Kept out: `KeyError: 'beyond_threshold'` after an upgrade."""
    records = files.read_records(asset)
    del records[0]["beyond_threshold"]
    files.write_records(asset, records)
    assert main(["show", words]) == 1
    mend = "was made by an earlier atx: `atx run --job score` rebuilds it"
    assert capsys.readouterr().err == f"atx: {files.path(asset)} {mend}\n"


def test_a_file_that_is_missing_is_one_line(files, capsys):
    files.path("false_negatives").unlink()
    assert main(["show", "errors"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"atx: {files.path('false_negatives')} is missing")
    assert len(told.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_title_breaks_the_table_of_a_terminal(files, on_terminal, width):
    status, text = on_terminal("show", "errors", width=width)
    assert status == 0, text
    text = text.replace("\r\n", "\n")
    # Of escape sequences, those of rich's own styles alone.
    assert set(re.findall(r"\x1b[^m]*m", text)) <= {"\x1b[0m", "\x1b[1m", "\x1b[2m"}
    seen = re.sub(r"\x1b\[[012]m", "", text)
    assert not CONTROL.search(seen)
    table = seen.split("─\n")[1].split("\n")
    assert max(map(cell_len, table)) <= width
    assert ("Brazil" in seen) == (width == 200)
    assert "Metascore" in seen
    assert "red" in seen
    if width == 200:
        assert "[red]not red[/red] [/]" in seen


def test_text_from_right_to_left_ends_with_a_mark_that_keeps_the_next_column_in_place(
    files, on_terminal
):
    _, text = on_terminal("show", "errors", width=200)
    assert "בעברית (2003)\u200e" in text


def test_a_terminal_that_can_only_print_lines_gets_lines(files, on_terminal):
    _, text = on_terminal("show", "errors", width=80, TERM="dumb")
    assert "\x1b" not in text
    assert "Brazil" in text


def test_a_reader_that_goes_away_is_no_failure_to_tell_of(files):
    command = f'"{sys.executable}" -m atx_assets.cli show errors | head -n 1'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("film")
    assert done.stderr == ""


@pytest.mark.slow
def test_the_lists_of_a_real_run_are_shown(finished, capsys):
    with finished.environment(PG_HOST="nowhere.invalid"):
        for words in (["errors"], ["queue"], ["recommendations"], ["queue", "--genre", "drama"]):
            assert main(["show", *words]) == 0
            told = capsys.readouterr()
            assert told.err == ""
            assert not CONTROL.search(told.out)
        assert main(["show", "errors", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
    known = [
        r for a in ("false_positives", "false_negatives") for r in finished.files.read_records(a)
    ]
    assert sorted(r["key"] for r in shown) == sorted(r["key"] for r in known)
    beyond = [abs(r["beyond_threshold"]) for r in shown]
    assert beyond == sorted(beyond, reverse=True)
