"""Attacks and accidents in Chromium, against the running demo, with two users: Alice and Mallory.

Each scenario returns what the pages then show. It runs on the demo, and on an app or a subscriber
without the defence, where it succeeds.

Not here: what needs https (the ``__Host-`` prefix) or an hour (the end of a context), in
tests/unit/test_example_app.py; what needs no browser (foreign events, lost responses, unusable
secrets), in tests/integration/test_subscriber*.py; who may write which table, in tests/infra.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from demo import qonto
from demo.local_aws import LocalAws
from tests import careless
from tests.browser.careless import Careless, CarelessServers, Servers, serve_careless
from tests.browser.conftest import Demo
from tests.demo_process import local_aws
from tests.http_server import serving
from tests.slow import slow

HOME = "Your books, kept by themselves"
NOT_ASKED = "This browser did not ask for that"
OUT_OF_DATE = "That page was out of date"
DECLINED = "Nothing was connected"
FAILED = "That did not work"
SIGN_IN = "Sign in"  # at Qonto: a flow has begun
ALICES, MALLORYS = qonto.ORGANIZATIONS
CONNECTED, CONNECTED_TO_MALLORYS = (
    f"Connected to {organization.name}" for organization in (ALICES, MALLORYS)
)

START = re.compile(r"/start\?")
CALLBACK = re.compile(r"/callback\?")
RETURN = re.compile(r"/connected\?")
HEAD = '<script>fetch("URL", {method: "HEAD", mode: "no-cors", credentials: "include"})</script>'
PREFETCH = '<link rel="prefetch" href="URL">'
COOKIE = "<script>document.cookie = 'NAME=VALUE; Path=/connected'</script>"
FORM = '<form method="post" action="URL"></form><script>document.forms[0].submit()</script>'
WINDOW = '<script>location = "URL"</script>'
FRAME = '<iframe src="URL"></iframe>'


@dataclass(frozen=True)
class World:
    """Two users, and the servers that they visit."""

    alice: Page
    mallory: Page
    servers: Servers
    neighbour: str  # a page's URL, on the app's own host: it shares the app's cookies

    @property
    def app(self) -> str:
        """The app's URL."""
        return self.servers.app

    def page(self, element: str, path: str = "") -> str:
        """Return the URL of the neighbour's page with *element*, whose URL is the app's *path*."""
        return f"{self.neighbour}?{urlencode({'element': element.replace('URL', self.app + path)})}"


def parameter(url: str, name: str) -> str:
    """Return the query parameter *name* of *url*."""
    return dict(parse_qsl(urlsplit(url).query))[name]


def heading(user: Page) -> str:
    """Return the heading of the page, once it is not *Finishing* any more."""
    found = user.get_by_role("heading", level=1)
    expect(found).not_to_have_text("Finishing…")
    return found.inner_text()


def connect(user: Page, app: str) -> str:
    """Click *Connect with Qonto*; return the start link."""
    user.goto(app)
    with user.expect_request(START) as request:
        user.get_by_role("button", name="Connect with Qonto").click()
    expect(user.get_by_role("heading")).to_have_text(SIGN_IN)
    return request.value.url


def decide(user: Page, decision: str = "Allow") -> Request:
    """Sign in at Qonto and decide; return the request with which the browser returned."""
    user.get_by_role("button", name="Sign in").click()
    with user.expect_request(RETURN) as request:
        user.get_by_role("button", name=decision, exact=True).click()
    user.wait_for_url(re.compile("#_$|/connected"))
    return request.value


def allow_unfollowed(user: Page, organization: qonto.Organization) -> str:
    """Sign in at Qonto and allow; return the callback's URL, not yet opened."""
    user.get_by_role("button", name="Sign in").click()
    consent = [
        ("consent_challenge", user.locator("[name=consent_challenge]").input_value()),
        ("decision", "allow"),
        ("organization", organization.id),
        ("scope", "offline_access"),
        ("scope", "organization.read"),
    ]
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return redirect(user, "post", data=urlencode(consent), headers=headers)


def redirect(user: Page, method: str, url: str = "", **request: Any) -> str:  # noqa: ANN401
    """Return the URL to which the response to a request of *user*'s browser redirects."""
    response = user.request.fetch(url or user.url, method=method, max_redirects=0, **request)
    return response.headers["location"]


def link_back(world: World) -> list[str]:
    """Alice follows a page of the connector back to the app, without parameters."""
    world.alice.goto(f"{world.servers.connector}/callback/other-browser")
    world.alice.get_by_role("link", name="Back to Ledgerly").click()
    return [heading(world.alice)]


def second_get(world: World) -> list[str]:
    """Alice opens her return URL once more."""
    connect(world.alice, world.app)
    request = decide(world.alice)
    first = heading(world.alice)
    world.alice.goto(request.url)
    return [first, heading(world.alice)]


def opened_ahead(world: World, element: str) -> list[str]:
    """Alice's browser requests her return URL before she opens it."""
    connect(world.alice, world.app)
    callback = allow_unfollowed(world.alice, ALICES)
    url = redirect(world.alice, "get", callback)
    other_tab = world.alice.context.new_page()
    with other_tab.context.expect_event("response", lambda response: "/connected?" in response.url):
        other_tab.goto(world.page(element, url.removeprefix(world.app)))
    world.alice.goto(f"{world.app}/connection")
    before = heading(world.alice)
    world.alice.goto(url)
    return [before, heading(world.alice)]


def two_tabs(world: World) -> list[str]:
    """Alice connects in two tabs at one moment."""
    world.alice.goto(f"{world.servers.connector}/start")  # so she has the connector's cookie
    tabs = [world.alice, world.alice.context.new_page()]
    for tab in tabs:
        tab.goto(world.app)
    for tab in tabs:
        tab.evaluate("setTimeout(() => document.querySelector('main form').requestSubmit())")
    for tab in tabs:
        decide(tab)
    return sorted(heading(tab) for tab in tabs)


def other_address(world: World) -> list[str]:
    """Alice opens the app at 127.0.0.1 in the place of localhost."""
    connect(world.alice, world.app.replace("localhost", "127.0.0.1"))
    decide(world.alice)
    return [heading(world.alice)]


def forwarded_link(world: World) -> list[str]:
    """Alice allows by Mallory's link, and Mallory opens what her browser requested."""
    link = connect(world.mallory, world.app)
    world.alice.goto(link)
    request = decide(world.alice)
    world.mallory.goto(request.url)
    status = world.servers.ended(link)["status"]
    return [urlsplit(world.alice.url).path, heading(world.mallory), status]


def forwarded_link_with_late_event(world: World) -> list[str]:
    """Alice allows by Mallory's link; the event comes after all that the app has to say."""
    link = connect(world.mallory, world.app)
    world.alice.goto(link)
    with world.servers.event_comes_last():
        request = decide(world.alice)
        world.mallory.goto(request.url)
    status = world.servers.ended(link)["status"]
    return [heading(world.mallory), status]


def forwarded_link_declined(world: World) -> list[str]:
    """Alice declines by Mallory's link, and Mallory opens what her address bar shows."""
    world.alice.goto(connect(world.mallory, world.app))
    decide(world.alice, "Decline")
    world.mallory.goto(world.alice.url)
    world.mallory.goto(f"{world.app}/connection")
    return [urlsplit(world.alice.url).path, heading(world.mallory)]


def neighbours_cookie(world: World) -> list[str]:
    """A page of a neighbouring port gives Alice Mallory's cookies, then Mallory's link."""
    link = connect(world.mallory, world.app)
    world.alice.goto(world.app)
    for cookie in world.mallory.context.cookies(world.app):
        if cookie["name"].startswith("ledgerly"):
            element = COOKIE.replace("NAME", cookie["name"]).replace("VALUE", cookie["value"])
            world.alice.goto(world.page(element))
    world.alice.goto(link)
    decide(world.alice)
    world.mallory.goto(f"{world.app}/connection")
    return [heading(world.alice), heading(world.mallory)]


def leaked_context(world: World) -> list[str]:
    """Mallory knows Alice's context, and sends her a return URL of Mallory's own bank."""
    link = connect(world.alice, world.app)
    decide(world.alice)
    connected = heading(world.alice)
    world.mallory.goto(link)
    callback = allow_unfollowed(world.mallory, MALLORYS)
    world.alice.goto(redirect(world.mallory, "get", callback))
    refused = heading(world.alice)
    world.alice.goto(f"{world.app}/connection")
    return [connected, refused, heading(world.alice)]


def posted_form(world: World) -> list[str]:
    """A neighbour's page posts the form that connects, with Alice's cookies."""
    world.alice.goto(world.app)
    with world.alice.expect_navigation(url=re.compile("#_$|/sign-in")):
        world.alice.goto(world.page(FORM, "/connect"), wait_until="commit")
    return [heading(world.alice)]


def form_of_another_site(world: World) -> list[str]:
    """Another site's page posts the form while Alice's own flow is under way."""
    connect(world.alice, world.app)
    tab = world.alice.context.new_page()
    page = world.page(FORM, "/connect").replace("localhost", "127.0.0.1", 1)
    with tab.expect_navigation(url=re.compile("#_$|/connect$")):
        tab.goto(page, wait_until="commit")
    decide(world.alice)
    return [heading(world.alice)]


def opened_window(world: World) -> list[str]:
    """Another site's page sends Alice to the address that connects."""
    world.alice.goto(world.app)
    page = world.page(WINDOW, "/connect").replace("localhost", "127.0.0.1", 1)
    with world.alice.expect_navigation(url=re.compile("#_$|/sign-in")):
        world.alice.goto(page, wait_until="commit")
    return [heading(world.alice)]


def frame(world: World) -> list[str]:
    """A neighbour's page shows the app in a frame, where Alice clicks."""
    world.alice.goto(world.app)
    world.alice.goto(world.page(FRAME))
    framed = world.alice.frame_locator("iframe")
    return framed.get_by_role("button", name="Connect with Qonto").all_inner_texts()


def used_code(world: World) -> list[str]:
    """Mallory puts a code that Alice's connection has used into a flow of Mallory's own."""
    connect(world.alice, world.app)
    with world.alice.expect_request(CALLBACK) as request:
        decide(world.alice)
    connected = heading(world.alice)
    link = connect(world.mallory, world.app)
    own = allow_unfollowed(world.mallory, MALLORYS)
    code, own_code = (quote(parameter(url, "code")) for url in (request.value.url, own))
    world.mallory.goto(own.replace(own_code, code))
    return [connected, heading(world.mallory), world.servers.ended(link)["reason"]]


type Scenario = Callable[[World], list[str]]

HEAD_REQUEST = partial(opened_ahead, element=HEAD)
PREFETCHED = partial(opened_ahead, element=PREFETCH)
ON_THE_DEMO: dict[str, tuple[Scenario, list[str]]] = {
    "link back": (link_back, [HOME]),
    "second get": (second_get, [CONNECTED, CONNECTED]),
    "head": (HEAD_REQUEST, [HOME, CONNECTED]),
    "prefetch": (PREFETCHED, [HOME, CONNECTED]),
    "two tabs": (two_tabs, [CONNECTED, CONNECTED]),
    "other address": (other_address, [CONNECTED]),
    "forwarded link": (forwarded_link, ["/not-asked", NOT_ASKED, "repudiated"]),
    "late event": (forwarded_link_with_late_event, [NOT_ASKED, "repudiated"]),
    "declined": (forwarded_link_declined, ["/not-asked", HOME]),
    "neighbour's cookie": (neighbours_cookie, [NOT_ASKED, HOME]),
    "leaked context": (leaked_context, [CONNECTED, NOT_ASKED, CONNECTED]),
    "posted form": (posted_form, [OUT_OF_DATE]),
    "form of another site": (form_of_another_site, [CONNECTED]),
    "opened window": (opened_window, [HOME]),
    "frame": (frame, []),
    "used code": (used_code, [CONNECTED, FAILED, "code-used"]),
}


ANY_REQUEST = Careless(careless.HandlesEveryRequest)
WITHOUT_DEFENCE: dict[str, tuple[Scenario, Careless, list[str]]] = {
    "link back": (link_back, Careless(careless.RefusesUnknownReturns), [NOT_ASKED]),
    "second get": (
        second_get,
        Careless(careless.RefusesUnknownReturns, careless.ForgetsUsedContexts),
        [CONNECTED, NOT_ASKED],
    ),
    "head": (HEAD_REQUEST, ANY_REQUEST, [CONNECTED, CONNECTED]),
    "prefetch": (PREFETCHED, ANY_REQUEST, [CONNECTED, CONNECTED]),
    "two tabs, one context": (
        two_tabs,
        Careless(contexts=careless.KeepsOneContext),
        [CONNECTED, HOME],
    ),
    "two tabs, late cookie": (
        two_tabs,
        Careless(careless.SetsBrowserCookieLate),
        [CONNECTED, NOT_ASKED],
    ),
    "other address": (
        other_address,
        Careless(create_app=careless.at_every_address),
        [NOT_ASKED],
    ),
    "forwarded link, any return": (
        forwarded_link,
        Careless(careless.ConfirmsEveryReturn),
        ["/", CONNECTED, "connected"],
    ),
    "forwarded link, in place": (
        forwarded_link,
        Careless(careless.RefusesInPlace),
        ["/connected", CONNECTED, "connected"],
    ),
    "late event": (
        forwarded_link_with_late_event,
        Careless(careless.RefusesInPlace),
        [CONNECTED, "connected"],
    ),
    "declined": (
        forwarded_link_declined,
        Careless(careless.RefusesInPlace),
        ["/connected", DECLINED],
    ),
    "neighbour's cookie": (
        neighbours_cookie,
        Careless(careless.UsesFirstCookie),
        [HOME, CONNECTED],
    ),
    "leaked context": (
        leaked_context,
        Careless(contexts=careless.ReusesContexts),
        [CONNECTED, CONNECTED_TO_MALLORYS, CONNECTED_TO_MALLORYS],
    ),
    "posted form": (posted_form, Careless(careless.NeedsNoToken), [SIGN_IN]),
    "form of another site": (
        form_of_another_site,
        Careless(careless.SetsCookiesForAnySite),
        [NOT_ASKED],
    ),
    "opened window": (
        opened_window,
        Careless(careless.NeedsNoToken, create_app=careless.connecting_by_get),
        [SIGN_IN],
    ),
    "frame": (frame, Careless(careless.LetsItselfBeFramed), ["Connect with Qonto"]),
    "used code": (
        used_code,
        Careless(forgets_used_codes=True),
        [CONNECTED, FAILED, "invalid_grant"],  # Qonto's: it revoked Alice's tokens
    ),
}


@pytest.fixture(scope="module")
def neighbour() -> Iterator[str]:
    """The URL of a page with a given element, on another port of the app's host."""

    async def page(request: HttpRequest) -> HTMLResponse:
        return HTMLResponse(f"<!doctype html>{request.query_params['element']}")

    with serving(Starlette(routes=[Route("/", page)])) as port:
        yield f"http://localhost:{port}/"


@pytest.fixture(scope="module")
def demo_servers(demo: Demo) -> Servers:
    """The servers of the running demo."""
    aws = local_aws(demo.port)
    [topic] = aws.sns.list_topics()["Topics"]
    resources = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for stack in aws.cloudformation.describe_stacks()["Stacks"]
        for resource in aws.cloudformation.describe_stack_resources(StackName=stack["StackName"])[
            "StackResources"
        ]
    }
    return Servers(
        app=demo.app,
        connector=f"http://localhost:{demo.port + 1}",
        aws=aws,
        topic_arn=topic["TopicArn"],
        queue_url=resources["Queue"],
        grant_table=resources["GrantTable"],
        connection_table=resources["ConnectionTable"],
    )


@pytest.fixture(scope="module")
def careless_servers(aws: LocalAws) -> Iterator[CarelessServers]:
    """The same servers, whose app and subscriber a test replaces."""
    with serve_careless(aws) as servers:
        yield servers


@pytest.fixture(scope="module")
def pages(chromium: Browser) -> Iterator[tuple[Page, Page]]:
    """The tabs of two users."""
    contexts = chromium.new_context(), chromium.new_context()
    for context in contexts:
        context.set_default_timeout(15_000)
    alice, mallory = (context.new_page() for context in contexts)
    yield alice, mallory
    for context in contexts:
        context.close()


@pytest.fixture
def users(pages: tuple[Page, Page]) -> tuple[Page, Page]:
    """Two users without cookies, each with one tab."""
    for page in pages:
        page.context.clear_cookies()
        for other_tab in page.context.pages[1:]:
            other_tab.close()
    return pages


@slow
@pytest.mark.parametrize("name", ON_THE_DEMO)
def test_attack_on_the_demo_fails(
    users: tuple[Page, Page], demo_servers: Servers, neighbour: str, name: str
) -> None:
    scenario, shown = ON_THE_DEMO[name]

    assert scenario(World(*users, demo_servers, neighbour)) == shown


@slow
@pytest.mark.parametrize("name", WITHOUT_DEFENCE)
def test_attack_without_the_defence_succeeds(
    users: tuple[Page, Page],
    careless_servers: CarelessServers,
    neighbour: str,
    tmp_path: Path,
    name: str,
) -> None:
    scenario, variant, shown = WITHOUT_DEFENCE[name]
    careless_servers.use(variant, tmp_path / "ledgerly.sqlite")

    assert scenario(World(*users, careless_servers.servers, neighbour)) == shown
