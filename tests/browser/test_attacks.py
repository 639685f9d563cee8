"""Attacks and accidents that only a browser can show, on the example app, with Alice and Mallory.

Each scenario returns what the pages then show. It runs against the app, and against the app without
the defence, where it succeeds.

Not here: what the subscriber stops, in tests/integration/test_attacks.py and test_repudiation.py;
what needs https (the ``__Host-`` prefix), an hour (the end of a context) or no browser, in
tests/unit/test_example_app.py; who may write which table, in tests/infra.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import careless
from tests.browser.site import Site, serve_example_app
from tests.slow import slow

type Variant = tuple[Any, ...]  # of the app and of its routes, as serve_example_app takes it

HOME = "Your books, kept by themselves"
NOT_ASKED = "This browser did not ask for that"
OUT_OF_DATE = "That page was out of date"
CONNECTED = "Connected to Atelier Martin"
SIGN_IN = "Sign in"  # at Qonto: a flow has begun

COOKIE = "<script>document.cookie = 'NAME=VALUE; Path=/connected'</script>"
FORM = '<form method="post" action="URL"></form><script>document.forms[0].submit()</script>'
WINDOW = '<script>location = "URL"</script>'
FRAME = '<iframe src="URL"></iframe>'


@dataclass(frozen=True)
class World:
    """Two users, and the servers that they visit."""

    alice: Page
    mallory: Page
    app: str
    site: Site

    def another_site(self, element: str, path: str = "") -> str:
        """Return the URL of another site's page with *element*, whose URL is the app's *path*."""
        return self.site.page(element.replace("URL", self.app + path))

    def neighbour(self, element: str, path: str = "") -> str:
        """Return the URL of such a page on the app's own host: it shares the app's cookies."""
        return self.another_site(element, path).replace("localhost", "127.0.0.1", 1)


def heading(user: Page) -> str:
    """Return the heading of the page."""
    return user.get_by_role("heading", level=1).inner_text()


def connect(user: Page, world: World) -> str:
    """Click *Connect with Qonto*; return the start link."""
    user.goto(world.app)
    with user.expect_request(re.compile(r"/start\?")) as request:
        user.get_by_role("button", name="Connect with Qonto").click()
    expect(user.get_by_role("heading")).to_have_text(SIGN_IN)
    return request.value.url


def allow(user: Page) -> None:
    """Sign in at Qonto and allow; wait for the app."""
    user.get_by_role("button", name="Sign in").click()
    user.get_by_role("button", name="Allow", exact=True).click()
    user.wait_for_url(re.compile("#_$|/connected"))


def two_tabs(world: World) -> list[str]:
    """Alice connects in two tabs at one moment."""
    world.alice.goto(world.site.start())  # so she has the connector's cookie
    tabs = [world.alice, world.alice.context.new_page()]
    for tab in tabs:
        tab.goto(world.app)
    for tab in tabs:
        tab.evaluate("setTimeout(() => document.querySelector('main form').requestSubmit())")
    for tab in tabs:
        allow(tab)
    return sorted(heading(tab) for tab in tabs)


def forwarded_link(world: World) -> list[str]:
    """Alice allows by Mallory's link, and Mallory opens what her address bar shows."""
    world.alice.goto(connect(world.mallory, world))
    allow(world.alice)
    world.mallory.goto(world.alice.url)
    world.mallory.goto(f"{world.app}/connection")
    return [urlsplit(world.alice.url).path, heading(world.mallory)]


def neighbours_cookie(world: World) -> list[str]:
    """A page of a neighbouring port gives Alice Mallory's cookies, then Mallory's link."""
    link = connect(world.mallory, world)
    world.alice.goto(world.app)
    for cookie in world.mallory.context.cookies(world.app):
        if cookie["name"].startswith("ledgerly"):
            element = COOKIE.replace("NAME", cookie["name"]).replace("VALUE", cookie["value"])
            world.alice.goto(world.neighbour(element))
    world.alice.goto(link)
    allow(world.alice)
    world.mallory.goto(f"{world.app}/connection")
    return [heading(world.mallory)]


def posted_form(world: World) -> list[str]:
    """A neighbour's page posts the form that connects, with Alice's cookies."""
    return led_to(world, world.neighbour(FORM, "/connect"))


def opened_window(world: World) -> list[str]:
    """Another site's page sends Alice to the address that connects."""
    return led_to(world, world.another_site(WINDOW, "/connect"))


def led_to(world: World, page: str) -> list[str]:
    """Return the heading at which Alice ends when *page* sends her to the app."""
    world.alice.goto(world.app)
    with world.alice.expect_navigation(url=re.compile("#_$|/sign-in")):
        world.alice.goto(page, wait_until="commit")
    return [heading(world.alice)]


def form_of_another_site(world: World) -> list[str]:
    """Another site's page posts the form while Alice's own flow is under way."""
    connect(world.alice, world)
    tab = world.alice.context.new_page()
    with tab.expect_navigation(url=re.compile("#_$|/connect$")):
        tab.goto(world.another_site(FORM, "/connect"), wait_until="commit")
    allow(world.alice)
    return [heading(world.alice)]


def frame(world: World) -> list[str]:
    """A neighbour's page shows the app in a frame, where Alice clicks."""
    world.alice.goto(world.app)
    world.alice.goto(world.neighbour(FRAME))
    framed = world.alice.frame_locator("iframe")
    return framed.get_by_role("button", name="Connect with Qonto").all_inner_texts()


# What each scenario shows; the app without the defence, and what it then shows.
ATTACKS: dict[Callable[[World], list[str]], tuple[list[str], Variant, list[str]]] = {
    two_tabs: ([CONNECTED] * 2, (careless.SetsBrowserCookieLate,), [CONNECTED, NOT_ASKED]),
    forwarded_link: (["/not-asked", HOME], (careless.RefusesInPlace,), ["/connected", CONNECTED]),
    neighbours_cookie: ([HOME], (careless.UsesFirstCookie,), [CONNECTED]),
    posted_form: ([OUT_OF_DATE], (careless.NeedsNoToken,), [SIGN_IN]),
    form_of_another_site: ([CONNECTED], (careless.SetsCookiesForAnySite,), [NOT_ASKED]),
    opened_window: ([HOME], (careless.NeedsNoToken, careless.connecting_by_get), [SIGN_IN]),
    frame: ([], (careless.LetsItselfBeFramed,), ["Connect with Qonto"]),
}


@pytest.fixture
def users(chromium: Browser) -> Iterator[tuple[Page, Page]]:
    """Two users without cookies, each with one tab."""
    with chromium.new_context() as one, chromium.new_context() as other:
        for context in (one, other):
            context.set_default_timeout(15_000)
        yield one.new_page(), other.new_page()


@slow
@pytest.mark.parametrize("defended", [True, False], ids=["defended", "without-defence"])
@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.__name__ for attack in ATTACKS])
@pytest.mark.claim("S28", "S30")
def test_attack_succeeds_only_without_its_defence(  # noqa: PLR0913 - fixtures and the case
    users: tuple[Page, Page],
    site: Site,
    tmp_path: Path,
    connection: dict[str, str],
    attack: Callable[[World], list[str]],
    *,
    defended: bool,
) -> None:
    shown, careless_app, shown_by_it = ATTACKS[attack]
    variant, shown = ((), shown) if defended else (careless_app, shown_by_it)

    with serve_example_app(site, tmp_path, connection, *variant) as url:
        assert attack(World(*users, url, site)) == shown
