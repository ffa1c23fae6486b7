"""Makes the README's pictures anew: runs `make demo`, and opens its pages.

Needs Chromium; `make pictures` runs it. Not here: tests of the pages.
"""

import html
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from atx_assets.settings import ROOT, read_settings
from atx_assets.storage.data_folder import FILES

PICTURES = Path(__file__).with_name("pictures")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
QUIET = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
# The demo's own home, whatever library `.env` names.
ENVIRONMENT = os.environ | dict.fromkeys(
    ("PG_HOST", "MLFLOW_HOST", "DAGSTER_POSTGRES_URL", "ATX_SOURCE"), ""
)
ATX = [sys.executable, "-m", "atx_assets.cli"]

TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #14171b; display: inline-block; }}
pre {{ margin: 0; padding: 18px 22px; color: #e6e8eb; font: 13px/1.4 monospace; }}
b {{ color: #8fd18f; font-weight: 400; }}
</style><pre><b>$ make demo</b>
{}</pre>"""


def main() -> None:
    """Run the demo, open its pages, and take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    # Known to the demo, too: an asset's page shows figures from where `atx up` serves them.
    names = ("ATX_UI_PORT", "MLFLOW_PORT", "ATX_REPORT_PORT")
    environment = ENVIRONMENT | {name: str(_free_port()) for name in names}
    told = subprocess.run(
        [*ATX, "demo"], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    report = read_settings().data_dir / FILES["analysis_report"]
    with sync_playwright() as playwright, _up(environment) as dagster:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())

        def page(width: int, height: int, scale: float = 1.5) -> Page:
            size = {"width": width, "height": height}
            return browser.new_page(viewport=size, device_scale_factor=scale)

        usual = told.replace(str(ROOT), "~/atx").replace(environment["ATX_UI_PORT"], "3000")
        _terminal(page(1000, 600), usual)
        _lineage(page(1560, 1400), f"{dagster}/asset-groups")
        _asset(page(1400, 1150, 1.2), f"{dagster}/assets/tuned_classifier")
        _report(page(1300, 1120, 1.2), report)
        browser.close()


@contextmanager
def _up(environment: dict[str, str]) -> Iterator[str]:
    """Hold `atx up`, and yield the address of the Dagster UI."""
    up = subprocess.Popen(
        [*ATX, "up"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert up.stdout is not None
        for line in up.stdout:
            if line.startswith("Ctrl-C"):
                break
        yield f"http://127.0.0.1:{environment['ATX_UI_PORT']}"
    finally:
        os.killpg(up.pid, signal.SIGTERM)
        up.wait(30)


def _terminal(page: Page, told: str) -> None:
    """What the demo says, but for the steps of the search."""
    lines = [
        line for line in told.splitlines() if "fits" not in line and "nested search" not in line
    ]
    page.set_content(TERMINAL.format(html.escape("\n".join(lines))))
    page.locator("body").screenshot(path=PICTURES / "terminal.png")


def _lineage(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_text("database").first.wait_for()
    page.mouse.move(1000, 500)
    # The UI's own short cut: open all groups.
    page.keyboard.press("Alt+e")
    page.get_by_text("analysis_report").first.wait_for()
    # The colours of the assets come later than the assets.
    page.wait_for_timeout(12_000)
    # The graph alone; the page is tall, so that the zoom's buttons lie below it.
    graph = page.locator("svg:has(foreignObject)").first.bounding_box()
    assert graph is not None
    page.screenshot(path=PICTURES / "lineage.png", clip=graph)


def _asset(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_text("Row count").wait_for()
    page.get_by_role("img", name="precision and recall").first.wait_for()
    page.wait_for_timeout(2_000)
    page.screenshot(path=PICTURES / "asset.png")


def _report(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.screenshot(path=PICTURES / "report.png")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
