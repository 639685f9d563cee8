"""The connector behind a cache with CloudFront's rules: no browser gets another's response.

The rules are those of CloudFront's developer guide. *How CloudFront processes HTTP 4xx and 5xx
status codes from your origin* lists the errors that CloudFront keeps, *Control how long CloudFront
caches errors* those for which it heeds ``no-store``. *Manage how long content stays in the cache
(expiration)* has the rules for other responses, and *Understand the cache key* the default key.
"""

import copy
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from cookies import BROWSER_COOKIE
from demo import gateway
from demo import template as infra
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack
from tests.integration.connector import CODE, REDIRECT_URI, RETURN_URL, Browser, Connector
from tests.integration.test_repeats import DENIED, GRANTED, claim

# The guide: "CloudFront always caches responses to GET and HEAD requests. … CloudFront does not
# cache responses to requests that use the other methods." The key has "the URL path of the
# requested object"; of the methods it names OPTIONS alone, so that HEAD and GET share a response.
KEPT_METHODS = {"GET", "HEAD"}
# It "always caches the following HTTP 4xx and 5xx status codes returned by your origin". 410 is not
# in this list, but among the errors for which CloudFront heeds no-store.
KEPT_ERRORS = {404, 410, 414, 500, 501, 502, 503, 504}
# It keeps these only "if your origin returns a Cache-Control max-age or … s-maxage header".
ERRORS_KEPT_FOR_MAX_AGE = {400, 403, 405, 412, 415}
# CloudFront does not keep these with no-store, no-cache or private, and ignores it for all others.
ERRORS_THAT_HEED_NO_STORE = {404, 410, 414, 501}
# The guide: "Use the default value of 24 hours." In seconds, like each TTL here.
DEFAULT_TTL = 24 * 60 * 60
HIT, MISS = "Hit from cloudfront", "Miss from cloudfront"
PREFETCH = {"sec-purpose": "prefetch"}


class Cdn:
    """A cache in front of the HTTP API, to which it forwards the query and all headers."""

    def __init__(self, connector: Connector, *, minimum_ttl: int = 0, error_ttl: int = 10) -> None:
        """Forward requests to *connector*; *error_ttl* is the error caching minimum TTL.

        "CloudFront caches error responses for a default duration of 10 seconds." "If your minimum
        TTL is greater than 0, CloudFront will cache content for at least the duration specified",
        no-store or not.
        """
        self.now = 0  # the clock of the cache, in seconds
        self._minimum_ttl = minimum_ttl
        self._error_ttl = error_ttl
        self._kept: dict[str, tuple[int, list[Message]]] = {}  # path: when it expires, response
        self._handlers: dict[str, Handler] = {}
        self._origin = gateway.application(gateway.routes(infra.load()), self._handlers)
        self.forward_to(connector)

    def forward_to(self, connector: Connector) -> None:
        """Forward further requests to *connector*."""
        self._handlers["StartFunction"] = connector.start
        self._handlers["CallbackFunction"] = connector.callback

    def browser(self) -> TestClient:
        """Return a browser without cookies."""
        return TestClient(self, REDIRECT_URI.removesuffix("/callback"), follow_redirects=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond from the cache, or else from the origin; ``X-Cache`` says which."""
        expires_at, response = self._kept.get(scope["path"], (0, []))
        x_cache = HIT if self.now < expires_at and scope["method"] in KEPT_METHODS else MISS
        if x_cache == MISS:
            response = []

            async def record(message: Message) -> None:
                response.append(message)

            await self._origin(scope, receive, record)
            if scope["method"] in KEPT_METHODS:
                self._kept[scope["path"]] = self.now + self._ttl(response[0]), response
        start, *body = response
        headers = [*start["headers"], (b"x-cache", x_cache.encode())]
        for message in ({**start, "headers": headers}, *body):
            await send(message)

    def _ttl(self, start: Message) -> int:
        """Return how long to keep the response that begins with *start*."""
        status, headers = start["status"], Headers(raw=start["headers"])
        cache_control = headers.get("Cache-Control", "")
        no_store = re.search("no-store|no-cache|private", cache_control) is not None
        ages = dict(re.findall("(s-maxage|max-age)=([0-9]+)", cache_control))
        max_age = ages.get("s-maxage", ages.get("max-age"))
        if status < 400:
            return max(self._minimum_ttl, 0 if no_store else int(max_age or DEFAULT_TTL))
        if no_store and status in ERRORS_THAT_HEED_NO_STORE:
            return 0
        if status in KEPT_ERRORS or (max_age and status in ERRORS_KEPT_FOR_MAX_AGE):
            return max(self._error_ttl, int(max_age or 0))
        return 0


def state_in(response: httpx2.Response) -> str:
    """Return the state in a redirect to Qonto."""
    [state] = parse_qs(urlsplit(response.headers["Location"]).query)["state"]
    return state


def whole(response: httpx2.Response) -> str:
    """Return the headers and the body of *response*."""
    return f"{response.headers.multi_items()} {response.text}"


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        ("/start?context=ctx-1", {}, 302),
        ("/start?context=two+words", {}, 400),
        ("/start?context=ctx-1", PREFETCH, 425),
        (f"/callback?code={CODE}", {}, 303),
        (f"/callback?code={CODE}", PREFETCH, 425),
        ("/callback/granted?reference=1a2b3c4d", {}, 200),
        ("/callback/invalid-request?reference=1a2b3c4d", {}, 400),
        ("/callback/other-browser?reference=1a2b3c4d", {}, 403),
        ("/callback/unheard-of?reference=1a2b3c4d", {}, 404),
        ("/callback/expired?reference=1a2b3c4d", {}, 410),
        ("/callback/used?reference=1a2b3c4d", PREFETCH, 425),
    ],
)
def test_designed_response_is_not_kept(
    connector: Connector, url: str, headers: dict[str, str], status: int
) -> None:
    cdn = Cdn(connector)

    first = cdn.browser().get(url, headers=headers)
    other = cdn.browser().get(urlsplit(url).path)

    assert (first.status_code, other.headers["X-Cache"]) == (status, MISS)


def test_page_of_a_response_in_flight_is_not_kept(connector: Connector) -> None:
    same, now = Browser(connector), int(time.time())
    state = same.started(at=now)
    claim(same, state, DENIED, at=now)
    cdn = Cdn(connector)
    browser = cdn.browser()
    browser.cookies.update(same.cookies)

    first = browser.get("/callback", params=GRANTED | {"state": state})
    other = cdn.browser().get("/callback")

    assert (first.status_code, other.headers["X-Cache"]) == (409, MISS)


@pytest.mark.parametrize("return_urls", [RETURN_URL, ""])
def test_two_users_get_their_own_flows(aws: LocalAws, stack: Stack, return_urls: str) -> None:
    cdn = Cdn(Connector(aws, stack, RETURN_URLS=return_urls))
    browsers = {"ctx-1": cdn.browser(), "ctx-2": cdn.browser()}

    states = {
        context: state_in(browser.get(f"/start?context={context}"))
        for context, browser in browsers.items()
    }
    for context, browser in browsers.items():
        end = browser.get("/callback", params=DENIED | {"state": states[context]})
        if not return_urls:
            end = browser.get(end.headers["Location"])
        assert re.findall("context=(ctx-[12])", whole(end)) == [context]

    assert len(set(states.values())) == 2
    assert len({browser.cookies[BROWSER_COOKIE] for browser in browsers.values()}) == 2


def test_click_after_a_prefetch_is_served(connector: Connector) -> None:
    cdn = Cdn(connector)
    first, other = cdn.browser(), cdn.browser()

    prefetches = [first.get(path, headers=PREFETCH) for path in ("/start", "/callback")]
    state = state_in(other.get("/start"))
    response = other.get("/callback", params=GRANTED | {"state": state})

    assert [prefetch.status_code for prefetch in prefetches] == [425, 425]
    assert "outcome=granted" in response.headers["Location"]


# The cache finds these faults, so that the tests above can fail


def test_empty_503_for_a_prefetch_would_be_kept(connector: Connector) -> None:
    def start(request: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        response: dict[str, Any] = connector.start(request, context)
        return response | {"statusCode": 503} if response["statusCode"] == 425 else response

    version_1 = copy.copy(connector)
    version_1.start = start
    cdn = Cdn(version_1)

    cdn.browser().get("/start", headers=PREFETCH)
    click = cdn.browser().get("/start")

    assert (click.status_code, click.text, click.headers["X-Cache"]) == (503, "", HIT)


def test_minimum_ttl_above_zero_would_share_the_state(connector: Connector) -> None:
    cdn = Cdn(connector, minimum_ttl=1)  # as in CloudFront's managed policy CachingOptimized

    assert state_in(cdn.browser().get("/start")) == state_in(cdn.browser().get("/start"))


# AWS fails


@pytest.mark.parametrize("path", ["/start", "/callback"])
def test_kept_503_page_shows_nothing_of_its_user(
    connector: Connector, cut_off: Connector, path: str
) -> None:
    cdn = Cdn(connector)
    first, other = cdn.browser(), cdn.browser()
    state = state_in(first.get("/start?context=ctx-1"))
    item = connector.item(state)
    assert item is not None
    query = {"code": CODE, "state": state, "context": "ctx-1", "organization_id": "org-1"}
    cdn.forward_to(cut_off)

    first.get(path, params=query)
    response = other.get(path)

    assert (response.status_code, response.headers["X-Cache"]) == (503, HIT)
    assert "Set-Cookie" not in response.headers
    assert re.findall('href="(.*?)"', response.text) == [""]  # Try again: the other's own URL
    values = {*query.values(), item["authorization_id"][:8], first.cookies[BROWSER_COOKIE]}
    assert not [value for value in values if value in whole(response)]


@pytest.mark.parametrize(("error_ttl", "statuses"), [(10, [503, 503, 302]), (0, [503, 302, 302])])
def test_error_caching_minimum_ttl_limits_the_503(
    connector: Connector, cut_off: Connector, error_ttl: int, statuses: list[int]
) -> None:
    cdn = Cdn(cut_off, error_ttl=error_ttl)

    failed = cdn.browser().get("/start")
    cdn.forward_to(connector)  # AWS works again
    at_once = cdn.browser().get("/start")
    cdn.now += 10
    later = cdn.browser().get("/start")

    assert [response.status_code for response in (failed, at_once, later)] == statuses


# A stranger's request that no route has


@pytest.mark.parametrize(
    ("method", "error_ttl", "statuses"),
    [
        ("HEAD", 10, [404, 404, 302]),  # so one request in ten seconds would turn off /start
        ("HEAD", 0, [404, 302, 302]),
        ("POST", 10, [404, 302, 302]),
    ],
)
def test_error_caching_minimum_ttl_limits_the_404(
    connector: Connector, method: str, error_ttl: int, statuses: list[int]
) -> None:
    cdn = Cdn(connector, error_ttl=error_ttl)

    stranger = cdn.browser().request(method, "/start")
    user = cdn.browser().get("/start")
    cdn.now += 10
    later = cdn.browser().get("/start")

    assert [response.status_code for response in (stranger, user, later)] == statuses
