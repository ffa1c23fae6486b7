"""The report in a browser: it can be sorted, searched and read by everybody, and runs nothing."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from atx_assets.sources.load.load import load_file

pytestmark = pytest.mark.xdist_group("demo")

FALSE_POSITIVES = "false positives, the surest mistake first"
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def report(demo):
    """The address of the demo's report."""
    return (demo.data / "report.html").as_uri()


def table_of(page, caption: str = FALSE_POSITIVES):
    return page.get_by_role("table", name=caption)


def search_of(page, caption: str = FALSE_POSITIVES):
    return page.get_by_role("searchbox", name=caption)


def rows_of(page, caption: str = FALSE_POSITIVES):
    """The rows that are seen, without the head."""
    return table_of(page, caption).locator("tbody").get_by_role("row")


def show_all(page) -> None:
    more = page.get_by_role("button", name=re.compile(r"^Show all \d+$"))
    while more.count():
        more.first.click()


def column(page, name: str) -> list[str]:
    """What is seen in a column, from the top."""
    heads = table_of(page).get_by_role("columnheader").all_inner_texts()
    (at,) = [at for at, head in enumerate(heads) if head.startswith(name)]
    return [cells[at] for cells in seen(page)]


def seen(page, caption: str = FALSE_POSITIVES) -> list[list[str]]:
    return (
        table_of(page, caption)
        .locator("tbody tr:visible")
        .evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    )


def violations(page) -> list[str]:
    """What axe-core finds that keeps people out, and how often."""
    answer = Axe().run(page).response
    assert len(answer["passes"]) > 10, "axe has not looked at the page"
    return [
        f"{v['id']}: {v['help']}, {len(v['nodes'])} times, first in {v['nodes'][0]['html'][:200]}"
        for v in answer["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def assert_nothing_but_itself(watched, address: str) -> None:
    assert watched.fetched == [address]
    assert watched.errors == []
    assert watched.dialogs == []


# -- sorting and searching


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chance", lambda cell: int(cell.rstrip("%"))),
        ("year", int),
        ("film", None),
    ],
    ids=["chance", "year", "film"],
)
def test_a_click_on_a_head_orders_the_rows_and_another_turns_them(
    report, open_page, name: str, value: Callable[[str], int] | None
):
    watched = open_page(report)
    page = watched.page
    show_all(page)
    before = seen(page)
    head = table_of(page).get_by_role("columnheader", name=re.compile(f"^{name}"))
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(table_of(page).locator("th[aria-sort]")).to_have_count(1)
    rising = column(page, name)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    falling = column(page, name)
    # The browser's own order for text, in its own language.
    order = "texts => [...texts].sort((a, b) => a.localeCompare(b))"
    wanted = sorted(rising, key=value) if value else page.evaluate(order, rising)
    assert rising == wanted
    assert falling == wanted[::-1]
    assert len(set(rising)) > 10
    assert sorted(seen(page)) == sorted(before)
    assert_nothing_but_itself(watched, report)


def test_numbers_are_ordered_as_numbers_and_not_as_text(report, open_page):
    """Kept out: 93 labelled films above 4,000."""
    page = open_page(report).page
    show_all(page)
    parts = "labelled films in parts"
    table = page.get_by_role("table", name=re.compile(parts))
    table.get_by_role("columnheader", name=re.compile("^labelled")).get_by_role("button").click()
    rows = table.locator("tbody tr:visible").evaluate_all(
        "rows => rows.map(row => Number(row.cells[1].innerText))"
    )
    assert rows == sorted(rows)
    assert sorted(map(str, rows)) != [str(number) for number in rows]


def test_a_search_leaves_the_rows_that_hold_the_words_and_tells_how_many(report, open_page):
    watched = open_page(report)
    page = watched.page
    number = seen(page)
    show_all(page)
    every = seen(page)
    assert len(every) > len(number) == 10
    words = every[40][0].split()[0].upper()
    search_of(page).fill(words)
    wanted = [row for row in every if words.lower() in " ".join(row).lower()]
    assert 0 < len(wanted) < len(every)
    assert seen(page) == wanted
    told = page.get_by_role("status").filter(has_text=f"{len(wanted)} of {len(wanted)} found")
    expect(told).to_be_visible()
    # One of the other tables' rows has gone nowhere.
    assert len(seen(page, "false negatives, the surest mistake first")) > 10

    search_of(page).fill("no film has this in its row")
    expect(rows_of(page)).to_have_count(0)
    search_of(page).fill("")
    assert seen(page) == every
    assert_nothing_but_itself(watched, report)


def test_what_is_found_stays_found_when_it_is_sorted(report, open_page):
    page = open_page(report).page
    show_all(page)
    search_of(page).fill("a person")
    found = sorted(seen(page))
    table_of(page).get_by_role("columnheader", name=re.compile("^year")).get_by_role(
        "button"
    ).click()
    assert sorted(seen(page)) == found
    years = [int(year) for year in column(page, "year")]
    assert years == sorted(years)


def test_tables_are_sorted_and_searched_by_keyboard_alone(report, open_page):
    page = open_page(report).page
    show_all(page)
    search_of(page).focus()
    page.keyboard.type("drama")
    found = len(seen(page))
    page.keyboard.press("Tab")  # the table's own box, which can be pushed sideways
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(table_of(page).get_by_role("columnheader", name=re.compile("^film"))).to_have_attribute(
        "aria-sort", "ascending"
    )
    assert len(seen(page)) == found


def test_without_javascript_every_row_is_there(report, demo, open_page):
    watched = open_page(report, java_script_enabled=False)
    page = watched.page
    records = json.loads((demo.data / "false_negatives.json").read_text())
    expect(rows_of(page, "false negatives, the surest mistake first")).to_have_count(len(records))
    expect(page.get_by_role("searchbox")).to_have_count(0)
    expect(table_of(page).get_by_role("button")).to_have_count(0)
    assert_nothing_but_itself(watched, report)


# -- light, dark, narrow, on paper


def test_the_report_can_be_read_by_everybody_in_light_and_dark(report, open_page):
    background = "getComputedStyle(document.body).backgroundColor"
    shades = {}
    for scheme in ("light", "dark"):
        watched = open_page(report, whole=True, color_scheme=scheme)
        numbers = re.findall(r"\d+", watched.page.evaluate(background))[:3]
        shades[scheme] = sum(map(int, numbers))
        # What is folded away is read, too.
        watched.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert violations(watched.page) == []
        assert_nothing_but_itself(watched, report)
    assert shades["light"] > 700
    assert shades["dark"] < 200


def test_on_a_phone_nothing_sticks_out_of_the_page(report, open_page):
    watched = open_page(report, whole=True, viewport=PHONE, is_mobile=True, has_touch=True)
    watched.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert watched.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert violations(watched.page) == []
    assert_nothing_but_itself(watched, report)


def test_in_a_window_of_1200_no_table_has_to_be_pushed_sideways(report, open_page):
    page = open_page(report, viewport={"width": 1200, "height": 900}).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    wider = "tables => tables.filter(t => t.scrollWidth > t.clientWidth).map(t => t.innerText)"
    assert page.locator(".wide").evaluate_all(wider) == []


def test_on_paper_there_is_nothing_to_click_and_all_is_opened(report, open_page):
    watched = open_page(report, color_scheme="dark", viewport={"width": 800, "height": 1100})
    page = watched.page
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("searchbox")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("^Show all"))).to_have_count(0)
    expect(page.get_by_role("navigation")).to_have_count(0)
    assert "rgb(255, 255, 255)" in page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(seen(page)) > 10
    assert page.pdf().startswith(b"%PDF")
    expect(page.locator("details:not([open])")).to_have_count(0)


# -- any library


def report_of(place, library: Path) -> Path:
    """Make the report of a library, with plain hyperparameters."""

    def run() -> bool:
        return place.run("full_rebuild", ATX_SEARCH="off", ATX_MLFLOW="off").success

    with place.connect() as connection:
        load_file(connection, library)
    # Playwright leaves its event loop running in this thread, and Dagster wants one of its own.
    with ThreadPoolExecutor(1) as aside:
        assert aside.submit(run).result()
    return place.files.path("analysis_report")


def check_any(report: Path, open_page) -> None:
    """What holds for a report of whatever library."""
    for scheme, size in (("light", {"width": 1400, "height": 1100}), ("dark", PHONE)):
        watched = open_page(report.as_uri(), whole=True, color_scheme=scheme, viewport=size)
        page = watched.page
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for search in page.get_by_role("searchbox").all():
            search.fill("the")
            search.fill("")
        heads = page.get_by_role("columnheader").get_by_role("button")
        heads.evaluate_all("heads => heads.forEach(head => head.click())")
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert page.evaluate("window.harmed") is None
        for odd in ("nan", "None", "inf", "undefined"):
            assert not re.search(rf"\b{odd}\b", page.get_by_role("banner").inner_text()), odd
        if scheme == "light":
            assert violations(page) == []
        assert_nothing_but_itself(watched, report.as_uri())


def test_a_report_of_forty_labels_breaks_nothing(workplace, small_library, tmp_path, open_page):
    rows = pq.read_table(small_library)
    status = rows["rejection_status"].to_pylist()
    kept = [at for at, s in enumerate(status) if s in ("accepted", "override")][:20]
    skipped = [at for at, s in enumerate(status) if s == "rejected"][:20]
    left = [at for at, s in enumerate(status) if s == "unfiltered"][:100]
    few = rows.take(pa.array(kept + skipped + left))
    assert few.num_rows == 140
    pq.write_table(few, tmp_path / "few.parquet")
    check_any(report_of(workplace, tmp_path / "few.parquet"), open_page)
