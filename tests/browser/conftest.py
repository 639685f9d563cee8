"""Fixtures that run the browsers, the local AWS, the connector and the example app."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import playwright.sync_api
import pytest
import trustme
from playwright.sync_api import Page, sync_playwright

from tests.browser.browsers import NewUser, firefox, tab_of, webkit
from tests.browser.site import Site, serve_example_app, serve_site
from tests.support.connector import watched_aws
from tests.support.slow import slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def sites() -> Iterator[dict[str, Site]]:
    """The running connector, app and mock Qonto, over HTTP and once more over HTTPS."""
    certificate = trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem
    with (
        certificate.tempfile() as pem,
        watched_aws() as aws,
        serve_site(aws, "http") as http,
        serve_site(aws, "https", ssl_keyfile=pem, ssl_certfile=pem) as https,
    ):
        yield {"http": http, "https": https}


@pytest.fixture(scope="module")  # while it runs, other tests cannot run an event loop
def chromium() -> Iterator[playwright.sync_api.Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: playwright.sync_api.Browser) -> Iterator[Page]:
    """A tab of a new user in Chromium, without cookies."""
    with chromium.new_context() as context:
        yield context.new_page()


@pytest.fixture(
    scope="module",
    params=["chromium", pytest.param("firefox", marks=slow), pytest.param("webkit", marks=slow)],
)
def browser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def new_user(request: pytest.FixtureRequest, browser: str) -> Iterator[NewUser]:
    if browser == "chromium":
        chromium: playwright.sync_api.Browser = request.getfixturevalue("chromium")
        yield lambda: tab_of(chromium.new_context().new_page())
    else:
        with {"firefox": firefox, "webkit": webkit}[browser]() as opened:
            yield opened


@pytest.fixture
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    """The connector with a return URL, before its first request, at a URL for the browser."""
    is_webkit = "webkit" in request.node.name  # which sets no Secure cookie over HTTP
    site = sites["https" if is_webkit else "http"]
    site.use()
    return site


@pytest.fixture
def example_app(site: Site, tmp_path: Path) -> Iterator[str]:
    """The URL of the running example app, to which the connector returns."""
    with serve_example_app(site, tmp_path) as url:
        yield url
