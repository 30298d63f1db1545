"""Dagster's UI on a lakehouse of its own, and a browser that looks at it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Page, expect, sync_playwright

from stedi_assets_tests.support import PROJECT

MODULE = "stedi_assets_tests.browser.location"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",  # there is none for root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def dagster_dev(folder: Path, module: str = MODULE) -> Iterator[str]:
    """Serve a module's definitions as `make dev` does, from a folder of its own.

    Yields the address of the UI; the lakehouse is in the folder.
    """
    shutil.copy(PROJECT / "dagster.yaml", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["-h", "127.0.0.1", "-p", str(port)]
    address, log = f"http://127.0.0.1:{port}", folder / "dagster.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", *where, "-m", module],
            cwd=folder,
            env=_environment(folder),
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(folder: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "STEDI_", "DAGSTER_"))
    }
    return kept | {
        "DAGSTER_HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        "STEDI_LAKEHOUSE": str(folder / "lakehouse"),
    }


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=5):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False


@contextmanager
def browser() -> Iterator[Page]:
    """A page of headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(60_000)
        # What comes comes, however busy the machine; it ends in 5 seconds by itself.
        expect.set_options(timeout=60_000)
        yield page
        chromium.close()


class DagsterUI:
    """What a person does in the UI."""

    def __init__(self, address: str, page: Page) -> None:
        """Use a page of a browser."""
        self._address = address
        self.page = page

    def open(self, path: str) -> None:
        """Open a page of the UI."""
        self.page.goto(f"{self._address}{path}")

    def open_lineage(self) -> None:
        """Open the lineage of all tables, with their groups unfolded."""
        self.page.set_viewport_size({"width": 2600, "height": 2200})
        self.open("/asset-groups")
        expect(self.page.locator("svg").get_by_text("landing", exact=True).first).to_be_visible()
        self.page.keyboard.press("Alt+e")
        self.page.wait_for_url(re.compile("expanded"))
        self.page.reload()  # fits the graph into the window

    def materialize_all(self) -> str:
        """Press Materialize all; gives the run's id."""
        self.open("/asset-groups")
        self.page.get_by_role("button", name="Materialize all").click()
        self.page.get_by_text("View", exact=True).click()
        self.page.wait_for_url(re.compile("/runs/"))
        return self.page.url.rpartition("/")[2]

    def run_launched(self, by: str) -> str:
        """Wait for the first run that a sensor or schedule starts; gives its id."""
        self.open("/runs")
        link = "a[contains(@href, '/runs/')]"
        launcher = self.page.get_by_role("link", name=by, exact=True).last
        run = launcher.locator(f"xpath=ancestor::*[.//{link}][1]//{link}").first
        return str(run.get_attribute("href")).rpartition("/")[2]

    def wait_for_end(self, run: str, how: str) -> None:
        """Wait until a run has ended as it should, with SUCCESS or FAILURE."""
        self.open(f"/runs/{run}")
        ended = self.page.get_by_text(f"RUN_{how}", exact=True).first
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            # The page has the part of the log that it is scrolled to, which may not be the end.
            with suppress(AssertionError):
                expect(ended).to_be_visible(timeout=20_000)
                return
            self.page.reload()
        expect(ended).to_be_visible(timeout=20_000)

    def reload_definitions(self) -> None:
        """Press Reload definitions, and wait until they are."""
        self.open("/asset-groups")
        self.page.get_by_role("button", name="Reload definitions").click()
        expect(self.page.get_by_text("Definitions reloaded!")).to_be_visible(timeout=60_000)
