"""Fixtures that run the browsers, the local AWS, the connector and the demo."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import playwright.sync_api
import pytest
import trustme
from playwright.sync_api import Page, sync_playwright

from demo.local_aws import LocalAws
from tests.browser.browsers import NewUser, firefox, tab_of, webkit
from tests.browser.site import Site, serve_example_app, serve_site
from tests.integration.connector import watched_aws
from tests.slow import slow

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0
ARGUMENTS = ["--no-sandbox"] if ROOT_USER else []  # Chromium's sandbox refuses root


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """A local AWS for this test run."""
    with watched_aws() as local_aws:
        yield local_aws


@pytest.fixture(scope="session")
def served(aws: LocalAws) -> Iterator[Site]:
    """The running connector, app and mock Qonto."""
    with serve_site(aws) as site:
        yield site


@pytest.fixture(scope="session")
def served_by_tls(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The same, encrypted: WebKit refuses a ``Secure`` cookie on ``http://localhost``."""
    pem = tmp_path_factory.mktemp("tls") / "localhost.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    with serve_site(aws, "https", ssl_keyfile=str(pem), ssl_certfile=str(pem)) as site:
        yield site


@pytest.fixture(scope="module")  # while it runs, other tests cannot run an event loop
def chromium() -> Iterator[playwright.sync_api.Browser]:
    """Headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: playwright.sync_api.Browser) -> Iterator[Page]:
    """A tab of a new user in Chromium, without cookies."""
    with chromium.new_context() as context:
        context.set_default_timeout(15_000)
        yield context.new_page()


@pytest.fixture(
    scope="module",
    params=["chromium", pytest.param("firefox", marks=slow), pytest.param("webkit", marks=slow)],
)
def browser(request: pytest.FixtureRequest) -> str:
    """The name of a browser."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def new_user(request: pytest.FixtureRequest, browser: str) -> Iterator[NewUser]:
    """A function that returns a tab of a new user in the browser."""
    if browser != "chromium":
        with {"firefox": firefox, "webkit": webkit}[browser]() as opened:
            yield opened
        return
    chromium: playwright.sync_api.Browser = request.getfixturevalue("chromium")
    with ExitStack() as users:
        yield lambda: tab_of(users.enter_context(chromium.new_context()).new_page())


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    """The connector with a return URL, before its first request, at a URL for the browser."""
    encrypted = "browser" in request.fixturenames and request.getfixturevalue("browser") == "webkit"
    running: Site = request.getfixturevalue("served_by_tls" if encrypted else "served")
    running.use()
    return running


@pytest.fixture
def connection() -> dict[str, str]:
    """What the example app reads of a connection that it has confirmed."""
    return {"status": "connected", "organization": "Atelier Martin"}


@pytest.fixture
def example_app(site: Site, connection: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The URL of the running example app, to which the connector returns."""
    with serve_example_app(site, tmp_path, connection) as url:
        yield url
