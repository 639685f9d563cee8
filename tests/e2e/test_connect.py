"""Whole flows through a deployed stack, from /start to a subscriber's queue."""

import re
from contextlib import closing
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.deployed_stack import Deployed

COOKIE = r"__Host-qonto-connect=[\w-]{43}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400"
HOSTS = {"production": "oauth.qonto.com", "sandbox": "oauth-sandbox.staging.qonto.co"}


def _decided(deployed: Deployed, browser: httpx2.Client, decision: str = "allow") -> str:
    """Return the callback's URL of a flow in which the user makes *decision*."""
    return deployed.decide(browser.get("/start").headers["location"], decision)


@pytest.mark.point("Redirect and cookie of a start")
def test_start_redirects_to_qonto_and_sets_cookie(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    response = browser.get("/start?context=abc")

    location = urlsplit(response.headers["location"])
    host = HOSTS[deployed.stack.parameters["QontoEnvironment"]]
    assert (response.status_code, location.netloc, location.path) == (302, host, "/oauth2/auth")
    assert re.fullmatch(COOKIE, response.headers["set-cookie"])
    assert "abc" not in response.headers["location"]


@pytest.mark.point("A granted flow")
def test_code_reaches_subscriber_and_can_be_exchanged(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    """The exchange sends the redirect URI of the event, which must equal that of the request."""
    returned = _decided(deployed, browser)
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


@pytest.mark.point("A denied flow")
def test_denial_reaches_subscriber(deployed: Deployed, browser: httpx2.Client) -> None:
    response = browser.get(_decided(deployed, browser, "deny"))

    event = deployed.event(error="access_denied")
    assert response.status_code == 303
    assert event["type"] == "qonto-connect.authorization.failed.v1"


@pytest.mark.point("A repeated callback")
def test_repeated_callback_gets_the_same_response(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    returned = _decided(deployed, browser)

    first, repeated = browser.get(returned), browser.get(returned)
    with closing(deployed.browser()) as another:
        another.get("/start")
        refused = another.get(returned)
        page = another.get(refused.headers["location"])

    assert "granted" in first.headers["location"]
    assert repeated.headers["location"] == first.headers["location"]
    assert refused.headers["location"] == "/callback/used#_"
    assert (page.status_code, page.headers["cache-control"]) == (410, "no-store")


@pytest.mark.point("Another browser")
def test_only_the_browser_that_started_can_finish(
    deployed: Deployed, browser: httpx2.Client
) -> None:
    returned = _decided(deployed, browser)

    with closing(deployed.browser()) as another:
        refused = another.get(returned)
        page = another.get(refused.headers["location"])

    assert (refused.headers["location"], page.status_code) == ("/callback/other-browser#_", 403)
    assert "granted" in browser.get(returned).headers["location"]


@pytest.mark.point("The gateway's own 404")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("HEAD", "/start"), ("POST", "/start"), ("HEAD", "/callback"), ("POST", "/callback")),
        *(("GET", "/"), ("GET", "/callback/granted/more")),
    ],
)
def test_other_routes_are_not_found(browser: httpx2.Client, method: str, path: str) -> None:
    response = browser.request(method, path)

    assert response.status_code == 404
    assert "set-cookie" not in response.headers
