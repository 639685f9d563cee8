"""Fixtures that run Chromium, the local AWS, the connector and the demo."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from demo.__main__ import HOSTS
from demo.local_aws import LocalAws, free_port
from demo.template import ROOT
from examples.app.app import create_app
from examples.app.subscriber import Subscriber
from tests.browser.site import Site, serve_site
from tests.demo_process import running
from tests.example_app import without_tokens
from tests.http_server import serving
from tests.integration.connector import watched_aws

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0
ARGUMENTS = ["--no-sandbox"] if ROOT_USER else []  # Chromium's sandbox refuses root
SCREENSHOTS = ROOT / "build" / "screenshots"


@dataclass(frozen=True)
class Demo:
    """The URLs of the running demo, whose first port is *port*."""

    port: int

    @property
    def app(self) -> str:
        """The example app's URL."""
        return f"http://localhost:{self.port}"

    @property
    def live(self) -> str:
        """The live page's URL."""
        return f"http://localhost:{self.port + 3}"


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """A local AWS for this test run."""
    with watched_aws() as local_aws:
        yield local_aws


@pytest.fixture(scope="session")
def served(aws: LocalAws) -> Iterator[Site]:
    """The running connector, app and mock Qonto."""
    with serve_site(aws) as running_site:
        yield running_site


@pytest.fixture
def site(served: Site) -> Site:
    """The connector with a return URL, before its first request."""
    served.use()
    return served


@pytest.fixture(scope="module")
def connection() -> dict[str, str]:
    """The item that the running example app reads from the subscriber's table."""
    return {"status": "pending"}


@pytest.fixture(scope="module")
def example_app(
    served: Site, connection: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of the running example app, whose confirmations reach no subscriber."""
    port = free_port()
    # Not localhost: WebKit has learnt from the connector to visit it over TLS alone.
    url = f"http://127.0.0.1:{port}"
    queue: Any = SimpleNamespace(send_message=lambda **_: None)
    table: Any = SimpleNamespace(get_item=lambda **_: {"Item": connection})
    database = tmp_path_factory.mktemp("app") / "ledgerly.sqlite"
    subscriber = Subscriber(queue, "", table)
    ledgerly = without_tokens(url, served.connector, subscriber, database)
    with serving(create_app(ledgerly), port):
        yield url


@pytest.fixture(scope="module")  # while it runs, other tests cannot run an event loop
def chromium() -> Iterator[Browser]:
    """Headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(chromium: Browser) -> Iterator[Demo]:
    """The running demo, on its own ports; skipped without Chromium."""
    assert chromium.is_connected()
    port = free_port(len(HOSTS))
    with running(PORT=str(port)):
        yield Demo(port)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A tab of a new user, without cookies."""
    context = chromium.new_context(viewport={"width": 1000, "height": 800})
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def screenshot(page: Page, name: str) -> Path:
    """Save a screenshot of *page* for review and return its path."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    return path
