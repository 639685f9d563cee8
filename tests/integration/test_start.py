"""``GET /start``: the response, the cookie and the item; and both handlers."""

import re
import sys
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from uuid import UUID

import pytest

from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack
from tests.support.connector import (
    NOW,
    PARAMETERS,
    REDIRECT_URI,
    REQUESTS,
    RETURN_URL,
    Browser,
    Connector,
    cold_start,
)
from tests.support.forks import Fork, in_forks
from tests.support.navigations import AHEAD_OF_USER
from tests.support.slow import SLOW

PROCESSES = 2
STARTS = 10_000 if SLOW else 500


@pytest.mark.claim("S12", "T7")
def test_start_stores_authorization_and_redirects_to_qonto(aws: LocalAws, stack: Stack) -> None:
    browser = Browser(Connector(aws, stack, PKCE="S256"))
    asked = {"organization_id": "org-1", "registration_id": "reg-1"}
    evil = {"client_id": "evil", "scope": "payment.write", "response_type": "token", "state": "x"}
    query = urlencode({"context": "ctx-1", "redirect_uri": "https://evil.example", **asked, **evil})
    headers = dict.fromkeys(("host", "forwarded", "x-forwarded-host"), "evil.example")

    response = browser.request("start", query, headers=headers)

    assert response.status == 302
    assert response.location.startswith("https://oauth-sandbox.staging.qonto.co/oauth2/auth?")
    sent = response.parameters
    item = browser.connector.item(sent["state"]) or {}
    settings = {"client_id": "client-1", "redirect_uri": REDIRECT_URI, "scope": PARAMETERS["Scope"]}
    own = asked | settings | {"state": item["state"]}
    assert item.items() >= own.items()
    pkce = {"code_challenge": sent["code_challenge"], "code_challenge_method": "S256"}
    assert sent == own | pkce | {"response_type": "code"}
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", item["state"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", item["code_verifier"])
    assert re.fullmatch(r"[0-9a-f]{64}", item["browser_hash"])
    assert UUID(item["authorization_id"]).version == 4
    assert (item["context"], item["return_to"]) == ("ctx-1", RETURN_URL)
    assert (item["started_at"], item["expires_at"]) == ("2023-11-14T22:13:20Z", str(NOW + 3600))
    assert not {*browser.cookies.values()} & {*item.values()}
    assert item["code_verifier"] not in sent.values()


@pytest.mark.claim("S1")
def test_forked_handlers_issue_10_000_different_states(connector: Connector) -> None:
    environment, request = connector.environments["StartFunction"], REQUESTS["start"]

    responses = in_forks(PROCESSES, load_start, environment, start, request)

    locations = [response["headers"]["Location"] for response in responses]
    states = {parse_qs(urlsplit(location).query)["state"][0] for location in locations}
    assert len(states) == STARTS


def load_start(environment: dict[str, str]) -> Handler:
    """Return the handler, loaded once before the processes fork."""
    return cold_start("start.handler", environment)


def start(fork: Fork, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the responses to one process's share of the starts."""
    context = LambdaContext("start")
    return [dict(fork.handler(request, context)) for _ in range(STARTS // PROCESSES)]


@pytest.mark.claim("S6", "S7")
def test_start_replaces_only_a_malformed_cookie(browser: Browser) -> None:
    browser.cookies["__Host-qonto-connect"] = "x" * 44

    [cookie], again = browser.start().cookies, browser.start().cookies

    assert again == [cookie]
    assert re.match(r"__Host-qonto-connect=[A-Za-z0-9_-]{43};", cookie)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("context=two+words&organization_id=%20", "context, organization_id"),
        (f"return_to={quote(RETURN_URL)}%0D%0ALocation:%20https://evil.example", "return_to"),
    ],
)
@pytest.mark.claim("S13", "S14", "T6", "T11")
def test_invalid_start_returns_400_without_an_aws_call(
    cut_off: Connector, query: str, names: str
) -> None:
    response = Browser(cut_off).request("start", query)

    assert (response.status, response.cookies) == (400, [])
    assert f"<small>Not valid: {names}</small>" in response.body
    assert "evil" not in response.body


@pytest.mark.parametrize("name", ["start", "callback", "outcome"])
@pytest.mark.claim("S15", "T13")
def test_request_ahead_of_the_user_returns_425_without_an_aws_call(
    browser: Browser, cut_off: Connector, name: str
) -> None:
    query = f"code=x&state={browser.started()}"
    browser.connector = cut_off
    valid = browser.request(name, query)
    assert valid.status == (200 if name == "outcome" else 503)

    for headers in AHEAD_OF_USER.values():
        response = browser.request(name, query, headers=headers)
        assert (response.status, response.body, response.cookies) == (425, "", [])
        assert "Retry-After" not in response.headers


def test_only_a_page_loads_the_pages(connector: Connector) -> None:
    browser = Browser(connector.restarted())
    start, callback = connector.environments.values()
    browser.connector.start = cold_start("start.handler", start)
    browser.connector.callback = cold_start("callback.handler", callback)

    browser.granted(browser.started())
    browser.request("callback", "")
    browser.request("start", headers={"sec-purpose": "prefetch"})
    assert "pages.rendering" not in sys.modules

    browser.request("start", "context=not+allowed")
    assert "pages.rendering" in sys.modules
