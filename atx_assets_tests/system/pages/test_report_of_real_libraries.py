"""The report of the owner's libraries in a browser."""

import pytest

from atx_assets_tests.system.pages.test_report_page import check_any

pytestmark = pytest.mark.xdist_group("real libraries")


@pytest.mark.real_data
@pytest.mark.parametrize("layout", ["media", "training"])
def test_a_report_of_a_real_library_breaks_nothing(layout, on_real_library, open_page):
    check_any(on_real_library(layout).data / "report.html", open_page)
