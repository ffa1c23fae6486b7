"""What strangers write stays text: a library of nothing else, from `atx load` to every page."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from atx_assets.alerts.messages import FORMATS, Alert
from atx_assets.schemas import MEDIA
from atx_assets.sources.mends import mended
from atx_assets_tests.builders.environment import unused_port
from atx_assets_tests.builders.program import Program, new_home
from atx_assets_tests.system.pages.conftest import Up, opened_up
from atx_assets_tests.system.pages.test_report_page import check_any, show_all

pytestmark = pytest.mark.xdist_group("hostile library")

#: Each, if it were more than text, would set `window.harmed`, ask for something or leave a file.
HARM = "window.harmed=1;alert(1)"
HOSTILE = [
    '=HYPERLINK("http://198.51.100.7/x","y")',
    f"<script>{HARM}</script><img src=x onerror={HARM}>",
    f'"><svg onload={HARM}><iframe src="http://198.51.100.7/frame">',
    f"</script></style></title><body onload={HARM}>",
    "../../etc/passwd",
    "%s%n%(x)s{0.__class__}{title!r}",
    "{{7*7}}{% raw %}${7*7}#{7*7}",
    f"[link](javascript:{HARM}) ![p](http://198.51.100.7/p.png) <http://198.51.100.7>",
    "a | b |\n| --- | --- |\n# head\n```\ncode `x`",
    "'; DROP TABLE atp.media;--",
    "\x1b[31mred\x1b[2J\x1b]0;title\x07\x9b31m",
    "\u202egpj.exe \u2066x",
    "$(touch OWNED)`touch OWNED`; touch OWNED && | touch OWNED",
    "$\\frac{1}{$ $x_{1}^$ \\foo",
    "x" * 900,
    "@everyone <!channel> <@U1> **bold** __x__",
    "null",
    "\r\nX-Header: 1\r\n\r\n<b>",
    f"'\" onmouseover='{HARM}' autofocus onfocus=\"{HARM}\"",
    "مدينة الأشباح \u202e txt.exe",
    "👩‍👩‍👧‍👦 🎬 & <b>ﬁlm</b>",
    "Donaudampfschifffahrtsgesellschaftskapitän" * 5,
    "\\u003cscript\\u003e`` $x^2$ | * _ \x7f",
]

#: Some of it, as a preview shows it.
SHOWN = re.compile("HYPERLINK|window.harmed|etc/passwd|__class__|DROP TABLE|# head|xxxxxx")

#: What a terminal would obey.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class House:
    """A home with a library of hostile texts, and what the program printed of it."""

    program: Program
    folder: Path
    printed: dict[str, str]

    def atx(self, *words: str) -> str:
        done = self.program(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def records(self, name: str) -> list[dict[str, Any]]:
        return json.loads((self.program.data / f"{name}.json").read_text())


def hostile_library(path: Path, folder: Path) -> pa.Table:
    """The rows of a library with a hostile text wherever a text may stand."""
    rows = pq.read_table(path)
    texts = [text.replace("OWNED", str(folder / "owned")) for text in HOSTILE]
    count, some = rows.num_rows, len(texts)
    for name in (
        *("media_title", "original_title", "original_path", "original_link", "uploader"),
        *("parent_path", "target_path", "resolution", "video_codec", "error_condition"),
    ):
        made = pa.array([texts[at % some] for at in range(count)], pa.string())
        rows = rows.set_column(rows.column_names.index(name), name, made)
    reasons = [r and texts[at % some] for at, r in enumerate(rows["rejection_reason"].to_pylist())]
    at = rows.column_names.index("rejection_reason")
    rows = rows.set_column(at, "rejection_reason", pa.array(reasons, pa.string()))
    # The label is in the genre, so that models, their reasons and their figures name it.
    kept = [s in ("accepted", "override") for s in rows["rejection_status"].to_pylist()]
    genres = [
        [texts[at % some], texts[(at + 3) % some] if kept[at] else texts[1]] for at in range(count)
    ]
    for name in ("genre", "language"):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pa.array(genres, pa.list_(pa.string())))
    return rows


@pytest.fixture(scope="module")
def house(small_library: Path) -> Iterator[House]:
    ports = {name: str(unused_port()) for name in ("MLFLOW_PORT", "ATX_REPORT_PORT")}
    # Which hyperparameters are best is not the question here.
    with new_home(ATX_SEARCH="off", **ports) as program:
        folder = program.data.parent
        made = House(program, folder, {})
        library = folder / "library=1 $(x) {{y}} <b>.parquet"
        pq.write_table(hostile_library(small_library, folder), library)
        made.printed["load"] = made.atx("load", str(library))
        made.printed["run"] = made.atx("run", "--figures")
        yield made


@pytest.fixture(scope="module")
def up(house: House) -> Iterator[Up]:
    yield from opened_up(house.program)


def test_nothing_was_executed_and_every_text_is_where_it_was(house: House) -> None:
    assert not (house.folder / "owned").exists()
    media = pq.read_table(house.program.data / "media.parquet")
    texts = [text.replace("OWNED", str(house.folder / "owned")) for text in HOSTILE]
    assert set(media["media_title"].to_pylist()) == set(texts)
    assert {word for words in media["genre"].to_pylist() for word in words} == set(texts)
    lists = [r for n in ("false_positives", "false_negatives") for r in house.records(n)]
    queue = house.records("review_queue")
    assert queue
    # As the rows that go on have them: without what commands a terminal, and on one line.
    (title,) = (column for column in MEDIA if column.name == "media_title")
    shown = mended(pa.chunked_array([texts]), title).to_pylist()
    assert {record["media_title"] for record in lists + queue} <= set(shown)
    names = {path.name for path in house.program.data.rglob("*")}
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names), names


def test_a_terminal_is_given_nothing_to_obey(house: House) -> None:
    queue = house.records("review_queue")
    ids = [record["imdb_id"] for record in queue if record["imdb_id"]][:30]
    printed = {
        **house.printed,
        "errors": house.atx("show", "errors", "--limit", "100"),
        "queue": house.atx("show", "queue", "--limit", "100"),
        "recommendations": house.atx("show", "recommendations"),
        "explain": house.atx("explain", *ids[:5]),
        "correct": house.atx("correct", "keep", *ids),
        "json": house.atx("show", "queue", "--json"),
        "doctor": house.program("doctor").stdout,
    }
    for name, text in printed.items():
        assert not OBEYED.search(text), (name, OBEYED.findall(text), text[:2000])
    assert "=HYPERLINK" in printed["queue"]
    assert "<script>window.harmed" in printed["correct"]


def test_an_alert_is_one_message_whatever_it_tells() -> None:
    for text in [*HOSTILE, "".join(HOSTILE) * 20, "\0\ud800"]:
        for name, made in FORMATS.items():
            headers, body = made(Alert(text, text, text), 0.0)
            for header, value in headers.items():
                assert re.fullmatch("[ -~]*", header + value), (name, header)
            if name == "discord":
                assert json.loads(body)["allowed_mentions"] == {"parse": []}
            if name == "slack":
                assert not re.search("<[!@]", json.loads(body)["text"])


def harmless(watched: Any, *places: str) -> None:
    """Nothing was run, asked for elsewhere or made of a text that is no text."""
    page = watched.page
    assert watched.dialogs == []
    assert page.evaluate("window.harmed") is None
    made = page.locator("img[src='x'], img[src*='198.51'], iframe[src*='198.51'], svg[onload]")
    assert made.count() == 0
    assert page.locator("a[href^='javascript:'], a[href*='198.51']").count() == 0
    assert watched.fetched_from_elsewhere(*places) == []


def test_whatever_a_film_is_called_is_in_the_report_and_breaks_nothing(
    house: House, open_page: Any
) -> None:
    report = house.program.data / "report.html"
    check_any(report, open_page)
    watched = open_page(report.as_uri())
    harmless(watched, report.as_uri())
    show_all(watched.page)
    shown = [" ".join(text.split()) for text in watched.page.get_by_role("cell").all_inner_texts()]
    titles = {record["media_title"] for record in house.records("review_queue")}
    assert len(titles) > 5
    for title in titles:
        assert any(" ".join(title.split()) in text for text in shown), title


@pytest.mark.parametrize(
    ("asset", "shows"),
    [
        ("raw_media", True),
        ("training_table", True),
        ("scored_results", True),
        ("review_queue", True),
        ("false_positives", False),
        ("false_negatives", False),
        ("tuned_classifier", False),
        ("analysis_report", False),
    ],
)
def test_the_page_of_an_asset_shows_texts(up: Up, open_page: Any, asset: str, shows: bool) -> None:
    watched = open_page(f"{up.dagster}/assets/{asset}", viewport={"width": 1400, "height": 2200})
    page = watched.page
    expect(page.get_by_text("Row count").or_(page.get_by_text("preview")).first).to_be_visible()
    if shows:
        expect(page.get_by_role("table").get_by_text(SHOWN).first).to_be_attached()
    page.wait_for_timeout(500)  # what would be fetched or run is, by now
    harmless(watched, up.dagster, up.report, up.mlflow)


@pytest.mark.parametrize("page", ["runs", "assets/false_positives?view=checks", "overview"])
def test_other_pages_of_dagster_run_nothing(up: Up, open_page: Any, page: str) -> None:
    watched = open_page(f"{up.dagster}/{page}")
    watched.page.wait_for_timeout(2000)
    harmless(watched, up.dagster, up.report, up.mlflow)


def test_mlflow_is_told_nothing_that_runs(house: House, up: Up, open_page: Any) -> None:
    store = house.program.home / "mlflow" / "mlflow.db"
    assert store.is_file(), list(house.program.home.rglob("*.db"))
    watched = open_page(f"{up.mlflow}/#/experiments")
    watched.page.wait_for_timeout(3000)
    harmless(watched, up.mlflow)


def test_the_table_outlives_a_title_that_drops_it(house: House, up: Up) -> None:
    assert up  # its servers run, whatever other tests were run
    exports = dict(re.findall(r"export (\w+)='?([^'\n]*)'?", house.atx("env")))
    with psycopg.connect(
        host=exports["PG_HOST"],
        port=exports["PG_PORT"],
        user=exports["PG_USER"],
        dbname=exports["PG_DB"],
    ) as connection:
        assert connection.execute("SELECT count(*) FROM atp.media").fetchone() == (1500,)
