"""The pages that people read: links lead somewhere, the glossary and the columns are right."""

import re
from collections import Counter
from pathlib import Path

import pytest

from atx_assets.settings import ROOT
from atx_assets.sources.layouts import LAYOUTS, Layout

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted((ROOT / "atx_assets").rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page: its headings as GitHub spells them, and those that are written."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    spelled = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
    return spelled | set(re.findall(r'<a id="([^"]+)">', text))


def is_there(target: str, page: Path) -> bool:
    place, _, anchor = target.partition("#")
    path = (page.parent / place).resolve() if place else page
    return path.exists() and (not anchor or anchor in anchors(path))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    ours = [target for target in targets if not re.match(r"\w+:", target)]
    assert [target for target in ours if not is_there(target, page)] == []


def test_a_page_that_a_message_names_is_there() -> None:
    named = {
        (name(path), place)
        for path in SOURCES
        for place in re.findall(r"docs/\w+\.md(?:#[\w-]+)?", path.read_text())
    }
    assert len(named) > 3
    assert [found for found in named if not is_there(found[1], ROOT / "README.md")] == []


class TestGlossary:
    @pytest.fixture
    def rows(self) -> list[list[str]]:
        lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
        return [row for row in cells if row[0] not in ("term", "---")]

    def test_each_term_stands_once(self, rows: list[list[str]]) -> None:
        assert len(rows) > 30
        assert [term for term, count in Counter(row[0] for row in rows).items() if count > 1] == []

    def test_each_meaning_is_one_sentence(self, rows: list[list[str]]) -> None:
        wrong = [row[0] for row in rows if not re.fullmatch(r"[A-Z](?:(?!\. [A-Z]).)*\.", row[1])]
        assert wrong == []


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_the_columns_of_an_export_stand_in_operations(layout: Layout) -> None:
    text = (ROOT / "docs" / "operations.md").read_text().partition("\n## Load an export\n")[2]
    row = re.search(rf"(?m)^\| `{layout.name}` \|(.*)\|(.*)\|$", text)
    assert row
    for cell, required in ((row[1], True), (row[2], False)):
        columns = {column.name for column in layout.columns if column.required == required}
        assert set(re.findall(r"`(\w+)`", cell)) == columns
