"""MLflow's UI that `atx up` opens on the demo, by the way that the README names."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.xdist_group("demo")


def test_the_run_of_the_model_is_found_with_its_figures(up, open_page):
    watched = open_page(up.mlflow)
    page = watched.page
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("link", name="Experiments").first.click()
    page.get_by_role("link", name="atx", exact=True).click()
    # The first: a test that made the demo's files anew has left a second.
    page.get_by_role("link", name=re.compile("^atx 1: 4000 labels, PR-AUC 0")).first.click()
    expect(page.get_by_text("pr_auc_mean", exact=True).first).to_be_visible()
    expect(page.get_by_text("Finished").first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("figures", exact=True).click()
    page.get_by_text("importances.png", exact=True).click()
    expect(page.get_by_text("figures/importances.png", exact=True)).to_be_visible()
    expect(page.locator("img[src^=blob]:visible").first).to_be_visible()
    page.get_by_text("tables", exact=True).click()
    page.get_by_text("thresholds.json", exact=True).click()
    expect(page.get_by_text("precision>=0.8").first).to_be_visible()
    assert watched.fetched_from_elsewhere(up.mlflow) == []
