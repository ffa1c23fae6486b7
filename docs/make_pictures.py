"""Makes the README's picture anew, from the Dagster UI of a home in which `make demo` has run.

Needs Chromium; `make pictures` runs it. Not here: tests of the UI.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).with_name("pictures")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
QUIET = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)


def main() -> None:
    """Start `atx up` on free ports, take the picture, and end it."""
    ui, mlflow = _free_port(), _free_port()
    ports = {"ATX_UI_PORT": str(ui), "MLFLOW_PORT": str(mlflow)}
    up = subprocess.Popen(
        [sys.executable, "-m", "atx_assets.local.cli", "up"],
        env=os.environ | ports,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert up.stdout is not None
        for line in up.stdout:
            print(line, end="")
            if line.startswith("Ctrl-C"):
                break
        _take(f"http://127.0.0.1:{ui}/asset-groups", PICTURES / "lineage.png")
    finally:
        os.killpg(up.pid, signal.SIGTERM)
        up.wait(30)


def _take(url: str, path: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        page = browser.new_page(viewport={"width": 1560, "height": 1150}, device_scale_factor=1.5)
        page.goto(url)
        page.get_by_text("database").first.wait_for()
        page.mouse.move(1000, 500)
        # The UI's own short cut: open all groups.
        page.keyboard.press("Alt+e")
        page.get_by_text("analysis_report").first.wait_for()
        # The colours of the assets come later than the assets.
        page.wait_for_timeout(12_000)
        path.parent.mkdir(exist_ok=True)
        # The graph alone; the page is tall, so that the zoom's buttons lie below it.
        graph = page.locator("svg:has(foreignObject)").first.bounding_box()
        assert graph is not None
        page.screenshot(path=path, clip=graph)
        browser.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
