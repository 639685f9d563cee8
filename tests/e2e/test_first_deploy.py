"""What a deployed stack shows from outside. docs/first-deploy.md has a row for each test."""

import re
from contextlib import closing
from secrets import token_hex
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.conftest import STACK_NAME
from tests.e2e.deployed_stack import Deployed

COOKIE = "__Host-qonto-connect"
ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400"
HOSTS = {"production": "oauth.qonto.com", "sandbox": "oauth-sandbox.staging.qonto.co"}
OTHER_ROUTES = ["HEAD /start", "POST /start", "HEAD /callback", "POST /callback"]
OTHER_ROUTES += ["GET /", "GET /callback/granted/more"]
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
}


def test_start_redirects_to_qonto_and_sets_cookie(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    response = browser.get("/start?context=abc")

    location = urlsplit(response.headers["location"])
    host = HOSTS[deployed.stack.parameters["QontoEnvironment"]]
    assert (response.status_code, location.netloc, location.path) == (302, host, "/oauth2/auth")
    assert re.fullmatch(rf"{COOKIE}=[\w-]{{43}}; {ATTRIBUTES}", response.headers["set-cookie"])
    assert "abc" not in response.headers["location"]


def test_code_reaches_subscriber_and_can_be_exchanged(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    """The exchange sends the redirect URI of the event, which must equal that of the request."""
    returned = deployed.decided(browser)
    code = httpx2.URL(returned).params["code"]

    response = browser.get(returned)

    event = deployed.event(code=code)
    data = event["data"]
    assert response.status_code == 303
    assert code not in response.headers["location"]
    assert event["type"] == "qonto-connect.authorization.granted.v1"
    assert event["source"].startswith(f"/qonto-connect/{data['environment']}/")
    names = ("code", "code_verifier", "redirect_uri", "client_id")
    form = {name: data[name] for name in names if name in data}
    form |= {"client_secret": "secret", "grant_type": "authorization_code"}
    assert deployed.qonto.exchange(form, {})["token_type"] == "bearer"


def test_only_the_browser_that_started_can_finish_and_repeat(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    returned = deployed.decided(browser)
    with closing(deployed.browser()) as another:
        refused = [another.get(returned)]
        first, repeated = browser.get(returned), browser.get(returned)
        another.get("/start?context=verify")  # sets a cookie of its own
        refused += [another.get(returned)]
        locations = [each.headers["location"] for each in refused]
        pages = [another.get(location) for location in locations]

    assert "granted" in first.headers["location"]
    assert repeated.headers["location"] == first.headers["location"]
    assert locations == ["/callback/other-browser#_", "/callback/used#_"]
    assert [page.status_code for page in pages] == [403, 410]


@pytest.mark.parametrize("route", OTHER_ROUTES)
def test_other_routes_are_not_found(browser: httpx2.Client, route: str) -> None:
    response = browser.request(*route.split())

    assert response.status_code == 404
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    ("url", "headers", "status"),
    [
        ("/start?context=verify", {}, 302),
        ("/start?context=two+words", {}, 400),
        ("/start", {"Sec-Purpose": "prefetch"}, 425),
        ("/callback?code=a&state=b", {}, 303),
        ("/callback/granted", {}, 200),
        ("/callback/unheard-of", {}, 404),
    ],
)
def test_every_response_has_the_security_headers(
    browser: httpx2.Client, url: str, headers: dict[str, str], status: int
) -> None:
    response = browser.get(url, headers=headers)

    assert response.status_code == status
    assert SECURITY_HEADERS.items() <= response.headers.items()


@pytest.mark.parametrize(
    ("cookies", "outcome"),
    [
        (("{}", "theme=dark"), "denied"),
        (("theme=dark", "{}"), "denied"),
        # A browser checks the prefix __Host- alone, so any host of the domain can set these.
        (("\u00a0{}",), "other-browser"),
        (("\u2003{}",), "other-browser"),
    ],
)
def test_cookie_is_found_in_any_header_by_its_exact_name(
    deployed: Deployed, browser: httpx2.Client, cookies: tuple[str, ...], outcome: str
) -> None:
    url = deployed.decided(browser, "deny")
    own = f"{COOKIE}={browser.cookies[COOKIE]}"
    fields = [(b"Cookie", each.format(own).encode()) for each in cookies]  # UTF-8, as browsers do

    with closing(deployed.browser()) as sender:
        response = sender.get(url, headers=fields)

    assert outcome in response.headers["location"]
    # The local gateway has no HTTP/2, which splits cookies into several headers.
    assert STACK_NAME is None or response.http_version == "HTTP/2"


def test_error_reaches_subscriber_without_noncharacter(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    error = f"first-deploy-{token_hex(8)}"
    state = httpx2.URL(browser.get("/start?context=verify").headers["location"]).params["state"]

    response = browser.get(f"/callback?error={error}&error_description=a%EF%BF%BEb&state={state}")

    event = deployed.event(error=error)
    assert response.status_code == 303
    assert event["type"] == "qonto-connect.authorization.failed.v1"
    assert event["data"]["error_description"] == "a\ufffdb"


def test_query_of_10_kilobytes_gets_the_gateways_431(browser: httpx2.Client) -> None:
    assert browser.get(f"/start?unknown={'a' * 10_240}").status_code == 431
