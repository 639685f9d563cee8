"""The cookie's rules and a look at each page in Firefox and in WebKit, Safari's engine.

Not shown here: Safari itself, and phones. WebKit refuses a ``Secure`` cookie on
``http://localhost``, where Chromium and Firefox take it: there it visits the pair over TLS, with a
certificate of this test run's own, as it would in the cloud.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

import pytest
import trustme

from demo.local_aws import LocalAws
from tests.browser import webkit as webkit_driver
from tests.browser.conftest import SCREENSHOTS
from tests.browser.contact_sheet import compose
from tests.browser.firefox import FIREFOX, firefox
from tests.browser.site import Site, serve_site
from tests.browser.test_pages import IN_PLACE, SHEETS, TEXTS, address
from tests.slow import slow

# WebKitGTK reads the machine's locale, which a bare Debian does not have: it is left without one.
LANGUAGES = {"firefox": "fr", "webkit": "en"}

# Of Selenium's own call of Selenium.
pytestmark = pytest.mark.filterwarnings("ignore:setting remote_server_addr:DeprecationWarning")


class Tab(Protocol):
    """A tab of one of the browsers."""

    def goto(self, url: str) -> None:
        """Go to *url*."""

    def click(self, selector: str) -> None:
        """Click what *selector* matches."""

    def script(self, expression: str) -> object:
        """Return the value of a JavaScript *expression*."""

    def cookies(self) -> list[str]:
        """Return the names of the cookies."""

    def screenshot(self, path: Path) -> None:
        """Keep what is shown."""


class Browser(Protocol):
    """One of the browsers."""

    def someone(self) -> Tab:
        """Return a tab of somebody who was never here before."""


@pytest.fixture(scope="module", params=["firefox", "webkit"])
def name(request: pytest.FixtureRequest) -> str:
    """The browser's name, if it is installed."""
    it: str = request.param
    if it == "firefox" and not FIREFOX:
        pytest.skip("Firefox is not installed (Debian: apt install firefox-esr)")
    if it == "webkit" and not webkit_driver.INSTALLED:
        pytest.skip("WebKit is not installed (Debian: apt install webkit2gtk-driver xvfb)")
    return it


@pytest.fixture(scope="module")
def served(name: str, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The pair, at an address of which the browser takes the cookie."""
    if name == "firefox":
        with serve_site(aws) as plain:
            yield plain
        return
    pem = tmp_path_factory.mktemp("tls") / "localhost.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    with serve_site(aws, "https", ssl_keyfile=str(pem), ssl_certfile=str(pem)) as encrypted:
        yield encrypted


@pytest.fixture(scope="module")
def browser(name: str, served: Site) -> Iterator[Browser]:
    """The browser, gone before the pair is."""
    del served
    with firefox(LANGUAGES[name]) if name == "firefox" else webkit_driver.webkit() as running:
        yield running


def go_to_qonto(tab: Tab, site: Site) -> str:
    """Follow the app's link and sign in; return the flow's state."""
    before = site.states()
    tab.goto(f"{site.app}/?{urlencode({'to': site.start(context='ctx-1')})}")
    tab.click("a")
    tab.click("button")
    [state] = site.states() - before
    return state


def test_a_flow_ends_in_its_own_browser_and_in_no_other(
    browser: Browser, name: str, served: Site
) -> None:
    served.use()
    user, stranger = browser.someone(), browser.someone()
    stranger.goto(served.start())  # has a cookie of their own
    state = go_to_qonto(user, served)

    stranger.goto(f"{served.connector}/callback?code=ory_ac_1&state={state}")
    user.click("button[value=allow]")

    title = TEXTS["other-browser"][LANGUAGES[name]]["title"]
    assert stranger.script("document.querySelector('h1').textContent") == title
    assert stranger.script("location.href") == f"{served.connector}/callback/other-browser"
    assert "&outcome=granted&context=ctx-1" in str(user.script("location.href"))
    assert served.asked[2:] == ["/callback", "/callback/other-browser", "/callback"]


def test_several_flows_leave_one_cookie_that_no_script_can_read(
    browser: Browser, served: Site
) -> None:
    served.use()
    user = browser.someone()
    for _ in range(3):
        go_to_qonto(user, served)

    user.goto(f"{served.connector}/callback/granted")

    assert user.cookies() == ["__Host-qonto-connect"]
    assert user.script("document.cookie") == ""


def test_start_again_keeps_what_was_asked(browser: Browser, served: Site) -> None:
    served.use(RETURN_URLS="")
    user = browser.someone()
    go_to_qonto(user, served)
    user.click("button[value=decline]")
    before = served.states()

    user.click("a")

    [state] = served.states() - before
    assert served.context(state) == "ctx-1"


@slow
def test_each_page_is_shown_with_its_style(browser: Browser, name: str, served: Site) -> None:
    served.use()
    user = browser.someone()
    user.goto(served.start())  # for the cookie
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    pictures = []
    for page in TEXTS:
        served.use(reach_aws=page not in IN_PLACE)

        user.goto(address(served, page))

        title = TEXTS[page][LANGUAGES[name]]["title"]
        assert user.script("document.querySelector('h1').textContent") == title
        assert user.script("getComputedStyle(document.querySelector('main')).maxWidth") == "480px"
        assert len(served.asked) == 1
        pictures.append((page, SCREENSHOTS / f"{name}-{page}.png"))
        user.screenshot(pictures[-1][1])
    compose(SHEETS / f"{name}.png", f"{name}, {LANGUAGES[name]}", pictures, 4)
