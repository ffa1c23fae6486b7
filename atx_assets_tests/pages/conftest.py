"""One Chromium for all pages, and `atx up` on the demo; both end with the last test of this folder.

Each test leaves a picture of what it saw last under `screenshots/`, when it fails too.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from atx_assets.settings import ROOT
from atx_assets_tests.house import unused_port

SCREENSHOTS = ROOT / "screenshots"
QUIET = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
#: Seconds for the UI to show what it is asked for, on a machine that has other things to do.
PATIENCE = 30
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium of the system; CI must have it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if not program:
        reason = "there is no chromium in PATH"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=QUIET.split())
        yield started
        started.close()


@dataclass
class Watched:
    """A page, and what it does that nobody would see."""

    page: Page
    whole: bool = False
    fetched: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Of the context: workers and windows that the page opens are watched, too.
        self.page.context.on("request", lambda request: self._fetched(request.url))
        self.page.context.on("dialog", self._dialog)
        self.page.context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self.page.context.on(
            "console", lambda said: said.type == "error" and self.errors.append(said.text)
        )

    def fetched_from_elsewhere(self, *places: str) -> list[str]:
        """What was asked for of anybody but `places`."""
        return [url for url in self.fetched if not url.startswith(places)]

    def _fetched(self, url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            self.fetched.append(url)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Watched]]:
    """Opens an address in a window of its own, with the options of a browser context.

    The picture is of what is in sight, or of the whole page.
    """
    opened: list[Watched] = []

    def open_(address: str, *, whole: bool = False, **options: Any) -> Watched:
        options = {"viewport": {"width": 1400, "height": 1100}, **options}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        watched = Watched(context.new_page(), whole)
        opened.append(watched)
        watched.page.goto(address)
        return watched

    yield open_
    SCREENSHOTS.mkdir(exist_ok=True)
    name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_")).strip("_")
    for number, watched in enumerate(opened, 1):
        path = SCREENSHOTS / f"{name}{f'_{number}' * (len(opened) > 1)}.png"
        try:
            watched.page.screenshot(path=path, full_page=watched.whole)
        except Error as error:  # a page that has crashed must not hide why
            print(f"no picture {path.name}: {error}")
        watched.page.context.close()


@dataclass(frozen=True)
class Up:
    """Addresses of what `atx up` has opened."""

    dagster: str
    mlflow: str
    report: str


@pytest.fixture(scope="package")
def up(demo: Any, end_all_of: Callable[[Path], None]) -> Iterator[Up]:
    """`atx up` on the home of the demo."""
    yield from opened_up(demo, end_all_of)


def opened_up(demo: Any, end_all_of: Callable[[Path], None]) -> Iterator[Up]:
    """Open `atx up` on a home, until the generator is closed."""
    environment = demo.environment | {"ATX_UI_PORT": str(unused_port())}
    process = subprocess.Popen(
        [sys.executable, "-m", "atx_assets.cli", "up"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        else:
            pytest.fail("".join(said))
        # It must not stop for a pipe that nobody empties.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        here = "http://127.0.0.1:"
        yield Up(
            here + environment["ATX_UI_PORT"],
            here + environment["MLFLOW_PORT"],
            here + environment["ATX_REPORT_PORT"],
        )
    finally:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
        finally:
            end_all_of(demo.home)
