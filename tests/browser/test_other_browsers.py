"""The cookie's rules and screenshots of each page in Firefox and in WebKit, Safari's engine.

These tests do not cover Safari itself or phones. WebKit refuses a ``Secure`` cookie on
``http://localhost``, which Chromium and Firefox accept. It therefore visits the connector over TLS,
as in the cloud, with a certificate of the test run.
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
from tests.browser.site import Site, serve_site, wait_for, wait_until
from tests.browser.test_fragments import ARRIVALS, arrival
from tests.browser.test_pages import IN_PLACE, SHEETS, TEXTS, address
from tests.navigations import AHEAD_OF_USER, BY_USER
from tests.slow import slow

# WebKitGTK follows the machine's locale, which a bare Debian lacks, so webkit.py sets LC_ALL=C.
LANGUAGES = {"firefox": "fr", "webkit": "en"}
# An element that lets the browser request URL, and the name of what it sends in AHEAD_OF_USER.
# WebKit's prefetch is off by default.
AHEAD = {
    "firefox": (
        '<link rel="prefetch" href="URL">',
        "Chromium, and Firefox since 115, <link rel=prefetch>",
    ),
    "webkit": ('<iframe src="URL"></iframe>', "a frame"),
}
PASSED_ON = {  # the name of what it sends in BY_USER
    "firefox": "fetch(event.request) of a service worker, Firefox; with options, all",
    "webkit": "fetch(event.request) of a service worker, Chromium and WebKit",
}

# Selenium itself makes the deprecated call.
pytestmark = [
    slow,
    pytest.mark.filterwarnings("ignore:setting remote_server_addr:DeprecationWarning"),
]


class Tab(Protocol):
    """A tab of one of the browsers."""

    def goto(self, url: str) -> None:
        """Go to *url* and wait until it is loaded."""

    def click(self, selector: str) -> None:
        """Click the first element that *selector* matches and wait for the next page."""

    def script(self, expression: str) -> object:
        """Return the value of a JavaScript *expression*."""

    def cookies(self) -> list[str]:
        """Return the names of this user's cookies for the page's host."""

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the page to *path*."""


class Browser(Protocol):
    """One of the browsers."""

    def new_user(self) -> Tab:
        """Return a tab of a new user, without cookies."""


@pytest.fixture(scope="module", params=["firefox", "webkit"])
def name(request: pytest.FixtureRequest) -> str:
    """The name of an installed browser."""
    browser_name: str = request.param
    if browser_name == "firefox" and not FIREFOX:
        pytest.skip("Firefox is not installed (Debian: apt install firefox-esr)")
    if browser_name == "webkit" and not webkit_driver.INSTALLED:
        pytest.skip("WebKit is not installed (Debian: apt install webkit2gtk-driver xvfb)")
    return browser_name


@pytest.fixture(scope="module")
def served(name: str, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The connector, at a URL whose cookie the browser accepts."""
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
    """The running browser, which stops before the connector does."""
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


def test_flow_finishes_only_in_its_own_browser(browser: Browser, name: str, served: Site) -> None:
    served.use()
    user, stranger = browser.new_user(), browser.new_user()
    stranger.goto(served.start())  # sets a cookie for the stranger
    state = go_to_qonto(user, served)

    stranger.goto(f"{served.connector}/callback?code=ory_ac_1&state={state}")
    user.click("button[value=allow]")

    title = TEXTS["other-browser"][LANGUAGES[name]]["title"]
    assert stranger.script("document.querySelector('h1').textContent") == title
    assert stranger.script("location.href") == f"{served.connector}/callback/other-browser#_"
    assert "&outcome=granted&context=ctx-1" in str(user.script("location.href"))
    assert served.requested_paths[2:] == ["/callback", "/callback/other-browser", "/callback"]


def test_navigating_twice_reaches_the_app(browser: Browser, served: Site) -> None:
    served.use()
    user, subscriber = browser.new_user(), served.subscriber()
    state = go_to_qonto(user, served)
    go = f"location.href = '{served.connector}/callback?code=ory_ac_1&state={state}'"
    # The first response is held until then. Sooner, Firefox may cancel a request that is not sent.
    button = f'<button onclick="{go}; setTimeout(() => {{ {go} }}, 1000)"></button>'
    user.goto(f"{served.app}/?{urlencode({'ahead': button})}")
    calls = served.watch_callback()
    calls.returns[0] = calls.arrived[1]  # or the app might replace the page too early

    user.click("button")

    assert "&outcome=granted&context=ctx-1" in str(user.script("location.href"))
    wait_for(calls.ended[0])
    assert len({event["id"] for event in subscriber.messages()}) == 1
    assert served.requested_paths.count("/callback") == 2


def test_arrival_leaves_the_fragment_behind(
    browser: Browser, served: Site, example_app: str
) -> None:
    served.use()
    user = browser.new_user()
    for name in ARRIVALS:
        url, end = arrival(name, served, example_app)

        user.goto(url)
        address = str(user.script("location.href"))
        user.click("a, button")
        next_address = str(user.script("location.href"))

        assert address.startswith(end)
        assert next_address != address
        assert "ory_ac_1" not in address + next_address


def test_request_ahead_of_the_user_starts_no_authorization(
    browser: Browser, name: str, served: Site
) -> None:
    served.use()
    user, before = browser.new_user(), served.states()
    element, row = AHEAD[name]
    query = {"to": served.start(), "ahead": element.replace("URL", served.start(context="ahead"))}

    user.goto(f"{served.app}/?{urlencode(query)}")
    wait_until(lambda: [request.status for request in served.seen] == [425])
    user.click("a")

    ahead, click = (request.headers.items() for request in served.seen)
    assert AHEAD_OF_USER[row].items() <= ahead
    assert BY_USER["a click on a link"].items() <= click
    assert str(user.script("location.href")).startswith(f"{served.qonto}/sign-in?")
    assert len(served.states()) == len(before) + 1


def test_navigation_through_a_service_worker_is_served(
    browser: Browser, name: str, served: Site
) -> None:
    served.use()
    user = browser.new_user()
    user.goto(served.worker("request"))
    wait_until(lambda: user.script("location.hash") == "#ready")

    go_to_qonto(user, served)
    user.click("button[value=allow]")

    assert "&outcome=granted&context=ctx-1" in str(user.script("location.href"))
    # WebKit takes the redirect from Qonto past the worker.
    start = next(request for request in served.seen if request.path == "/start")
    assert BY_USER[PASSED_ON[name]].items() <= start.headers.items()


def test_several_flows_leave_one_cookie_hidden_from_scripts(browser: Browser, served: Site) -> None:
    served.use()
    user = browser.new_user()
    for _ in range(3):
        go_to_qonto(user, served)

    user.goto(f"{served.connector}/callback/granted")

    assert user.cookies() == ["__Host-qonto-connect"]
    assert user.script("document.cookie") == ""


def test_start_again_keeps_the_context(browser: Browser, served: Site) -> None:
    served.use(RETURN_URLS="")
    user = browser.new_user()
    go_to_qonto(user, served)
    user.click("button[value=decline]")
    before = served.states()

    user.click("a")

    [state] = served.states() - before
    assert served.context(state) == "ctx-1"


def test_each_page_is_shown_styled(browser: Browser, name: str, served: Site) -> None:
    served.use()
    user = browser.new_user()
    state = go_to_qonto(user, served)
    served.claim(state)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    pictures = []
    for page in TEXTS:
        served.use(reach_aws=page not in IN_PLACE)

        user.goto(address(served, page, state))

        title = TEXTS[page][LANGUAGES[name]]["title"]
        assert user.script("document.querySelector('h1').textContent") == title
        assert user.script("getComputedStyle(document.querySelector('main')).maxWidth") == "480px"
        assert len(served.requested_paths) == 1
        pictures.append((page, SCREENSHOTS / f"{name}-{page}.png"))
        user.screenshot(pictures[-1][1])
    compose(SHEETS / f"{name}.png", f"{name}, {LANGUAGES[name]}", pictures, 4)
