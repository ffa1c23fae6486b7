"""The Dagster UI that `atx up` opens on the demo, as a newcomer walks through it."""

import re

import pytest
from playwright.sync_api import expect

from atx_assets.automation.tags import HOUSEKEEPING, NIGHTLY
from atx_assets.definitions import build_defs
from atx_assets.defs.sensors import SENSORS

pytestmark = pytest.mark.xdist_group("demo")


def row_of(page, key: str):
    """The row of an asset page's metadata that has `key`."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True))


def test_the_lineage_shows_every_asset(up, open_page):
    watched = open_page(f"{up.dagster}/asset-groups", viewport={"width": 1560, "height": 1150})
    page, graph = watched.page, watched.page.locator("svg foreignObject")
    expect(graph.get_by_text("database").first).to_be_visible()
    page.mouse.move(1000, 500)
    page.keyboard.press("Alt+e")  # the UI's own short cut: open all groups
    keys = build_defs().resolve_asset_graph().get_all_asset_keys()
    assert len(keys) >= 12
    for key in keys:
        expect(graph.get_by_text(key.path[-1], exact=True).first).to_be_visible()
    assert watched.fetched_from_elsewhere(up.dagster) == []


def test_scored_results_is_materialised_from_its_page_and_ends_green(up, open_page):
    watched = open_page(f"{up.dagster}/assets/scored_results")
    page = watched.page
    page.get_by_role("button", name="Materialize", exact=False).first.click()
    launched = page.get_by_text(re.compile("Launched run ([0-9a-f]{8})"))
    run = re.search("[0-9a-f]{8}", launched.inner_text())[0]
    page.get_by_text("View", exact=True).click()
    expect(page).to_have_url(re.compile(f"/runs/{run}"))
    expect(page.get_by_text("Success", exact=True)).to_be_visible(timeout=90_000)
    expect(page.get_by_text("Succeeded (2)")).to_be_visible()  # the asset and its check
    expect(page.get_by_text("Errored (0)")).to_be_visible()
    assert watched.fetched_from_elsewhere(up.dagster) == []

    page = open_page(f"{up.dagster}/assets/scored_results").page
    made = page.get_by_role("link", name=re.compile("second|minute"))
    expect(made.first).to_have_attribute("href", re.compile(f"/runs/{run}"))
    expect(page.get_by_role("img", name="run_success").first).to_be_visible()


def test_an_asset_page_shows_rows_columns_preview_and_plot(up, open_page):
    watched = open_page(
        f"{up.dagster}/assets/scored_results", viewport={"width": 1400, "height": 2200}
    )
    page = watched.page
    expect(page.get_by_text("Row count")).to_be_visible()
    expect(page.get_by_text("17,470", exact=True)).to_be_visible()
    probability = page.get_by_role(
        "row", name=re.compile("^probability .*float64 chance of a keep")
    )
    expect(probability).to_be_visible()
    films = row_of(page, "preview").get_by_role("table").get_by_role("row")
    expect(films.first).to_contain_text("media_title")
    assert films.count() > 5
    assert watched.fetched_from_elsewhere(up.dagster) == []

    watched = open_page(f"{up.dagster}/assets/analysis_report")
    plot = row_of(watched.page, "violins, now").get_by_role("img", name="violins")
    plot.scroll_into_view_if_needed()
    expect(plot).to_be_visible()
    # One that could not be fetched has no width.
    watched.page.wait_for_function("image => image.naturalWidth > 300", arg=plot.element_handle())
    kept = row_of(watched.page, "violins, of this run")
    kept.get_by_text("[Show Markdown]").click()
    shown = watched.page.get_by_role("dialog").locator("img[src^='data:image/png']")
    expect(shown).to_be_visible()
    assert watched.fetched_from_elsewhere(up.dagster, up.report) == []


def test_the_launchpad_of_correct_labels_asks_for_ids_and_a_verdict(up, open_page):
    watched = open_page(f"{up.dagster}/locations/atx/jobs/correct_labels/playground")
    page = watched.page
    launch = page.get_by_role("button", name=re.compile("Launch Run"))
    expect(page.get_by_text("Missing required config entries ['ids', 'verdict']")).to_be_visible()
    expect(page.get_by_text("dry_run: true")).to_be_visible()
    expect(launch).to_be_disabled()
    page.get_by_role("button", name="Scaffold missing config").click()
    page.get_by_role("button", name="Confirm").click()
    # Nothing is chosen for the owner: one of them must be crossed out.
    expect(page.get_by_text("keep|skip").first).to_be_visible()
    expect(page.get_by_text("not in enum type Verdict")).to_be_visible()
    expect(launch).to_be_disabled()
    assert watched.fetched_from_elsewhere(up.dagster) == []


def test_the_automation_page_shows_sensors_and_schedule_running(up, open_page):
    watched = open_page(f"{up.dagster}/automation")
    page = watched.page
    on = page.get_by_role("checkbox", checked=True)
    for name in (*(sensor.name for sensor in SENSORS), NIGHTLY, HOUSEKEEPING):
        # Not the link to its job, which may have the same name.
        link = page.locator("a[href*='/sensors/'], a[href*='/schedules/']").filter(has_text=name)
        expect(link).to_be_visible()
        # The innermost box that holds the name and a switch that is on: its row, if that is on.
        row = page.locator("div").filter(has=link).filter(has=on).last
        expect(row.locator("a[href*='/sensors/'], a[href*='/schedules/']")).to_have_count(1)
    assert watched.fetched_from_elsewhere(up.dagster) == []
