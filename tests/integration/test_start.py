"""``GET /start``: the response, the cookie and the item."""

import json
import re
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from uuid import UUID

import pytest

from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack
from tests.integration.connector import (
    NOW,
    REDIRECT_URI,
    REQUESTS,
    RETURN_URL,
    Browser,
    Connector,
    cold_start,
)
from tests.integration.forks import Fork, in_forks
from tests.integration.test_repeats import claim
from tests.navigations import AHEAD_OF_USER, BY_USER
from tests.slow import SLOW

PROCESSES = 2
STARTS = 10_000 if SLOW else 500


def test_start_redirects_the_browser_to_qonto(browser: Browser) -> None:
    response = browser.start(context="ctx-1", organization_id="org-1", registration_id="reg-1")

    assert response.status == 302
    assert response.location.startswith(
        "https://oauth-sandbox.staging.qonto.co/oauth2/auth?client_id=client-1&"
    )
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", response.parameters["state"])
    assert response.parameters == {
        "client_id": "client-1",
        "redirect_uri": REDIRECT_URI,
        "response_type": "code",
        "scope": "offline_access organization.read",
        "state": response.parameters["state"],
        "organization_id": "org-1",
        "registration_id": "reg-1",
    }
    assert "scope=offline_access%20organization.read" in response.location


def test_item_holds_the_authorization_and_the_cookie_hash(
    browser: Browser, connector: Connector
) -> None:
    state = browser.started(context="ctx-1", organization_id="org-1", registration_id="reg-1")

    item = connector.item(state)
    assert item is not None
    assert re.fullmatch(r"[0-9a-f]{64}", item.pop("browser_hash"))
    assert UUID(item.pop("authorization_id")).version == 4
    assert item == {
        "state": state,
        "expires_at": str(NOW + 3600),
        "environment": "sandbox",
        "client_id": "client-1",
        "redirect_uri": REDIRECT_URI,
        "scope": "offline_access organization.read",
        "started_at": "2023-11-14T22:13:20Z",
        "organization_id": "org-1",
        "registration_id": "reg-1",
        "context": "ctx-1",
        "return_to": RETURN_URL,
    }
    [cookie] = browser.cookies.values()
    assert cookie not in json.dumps(connector.item(state))


def test_forked_handlers_issue_10_000_different_states(connector: Connector) -> None:
    responses = in_forks(
        PROCESSES, load_start, connector.start_environment, start, REQUESTS["start"]
    )

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


def test_start_sets_the_cookie_with_its_attributes(browser: Browser) -> None:
    [line] = browser.start().cookies

    cookie = SimpleCookie(line)["__Host-qonto-connect"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", cookie.value)
    assert {name: value for name, value in cookie.items() if value} == {
        "path": "/",
        "max-age": "86400",
        "secure": True,
        "httponly": True,
        "samesite": "Lax",
    }


def test_fifty_starts_leave_one_cookie(browser: Browser) -> None:
    lines = {line for _ in range(50) for line in browser.start().cookies}

    assert len(lines) == 1
    assert len(browser.cookies) == 1


@pytest.mark.parametrize("value", ["", "short", "x" * 44, "ü" * 43, "a" * 42 + "%"])
def test_a_malformed_cookie_is_replaced(browser: Browser, value: str) -> None:
    browser.cookies["__Host-qonto-connect"] = value

    browser.start()

    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", browser.cookies["__Host-qonto-connect"])


def test_every_response_has_the_security_headers(browser: Browser) -> None:
    for response in (
        browser.start(),
        browser.start(context="not allowed"),
        browser.start(headers={"sec-purpose": "prefetch"}),
    ):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Strict-Transport-Security"] == "max-age=63072000"


def test_query_cannot_override_the_settings(browser: Browser) -> None:
    usual = browser.start()

    response = browser.start(
        client_id="evil",
        scope="payment.write",
        redirect_uri="https://evil.example/callback",
        response_type="token",
        state="chosen-by-somebody-else",
    )

    changed = {**response.parameters, "state": usual.parameters["state"]}
    assert changed == usual.parameters


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"x-forwarded-host": "evil.example", "x-forwarded-proto": "http"},
        {"x-forwarded-port": "8443", "forwarded": "host=evil.example;proto=http"},
    ],
)
def test_host_and_forwarding_headers_change_nothing(
    browser: Browser, headers: dict[str, str]
) -> None:
    usual = browser.start()

    response = browser.start(headers=headers)

    assert {**response.parameters, "state": ""} == {**usual.parameters, "state": ""}
    assert browser.granted(response.parameters["state"]).location.startswith(RETURN_URL)


@pytest.mark.parametrize(
    "query",
    [
        "context=abc&organization_id=&registration_id",
        "context=abc&return_to=",
        "context=&context=abc",
    ],
)
def test_blank_parameter_of_start_counts_as_omitted(browser: Browser, query: str) -> None:
    response = browser.request("start", query)

    item = browser.connector.item(response.parameters["state"])
    assert item is not None
    assert (item["context"], item["return_to"]) == ("abc", RETURN_URL)
    assert not {"organization_id", "registration_id"} & {*item, *response.parameters}


@pytest.mark.parametrize(
    "query",
    [
        "context=two+words",
        "context=" + "x" * 257,
        "context=a&context=a",
        "organization_id=a%2Fb",
        "registration_id=" + "x" * 129,
        "return_to=https://evil.example",
        "return_to=//app.example.com/connected",
        "return_to=/%5Capp.example.com",
        "return_to=https:app.example.com",
        "return_to=https://x@app.example.com/connected",
        f"return_to={quote(RETURN_URL)}%0D%0ALocation:%20https://evil.example",
        "return_to=javascript:alert(1)",
        "return_to=https://app.example.com:444/connected",
        f"return_to={quote(RETURN_URL)}/more",
    ],
)
def test_invalid_start_returns_400_without_an_aws_call(cut_off: Connector, query: str) -> None:
    browser = Browser(cut_off)

    response = browser.request("start", query)

    assert response.status == 400
    assert query.partition("=")[0] in response.body
    assert "evil" not in response.body
    assert response.cookies == []


def test_invalid_start_names_the_invalid_parameters(browser: Browser) -> None:
    response = browser.request("start", "context=%20&organization_id=%20")

    assert "<small>Not valid: context, organization_id</small>" in response.body


def test_cut_off_connector_returns_503_to_valid_start(cut_off: Connector) -> None:
    response = Browser(cut_off).start()

    assert response.status == 503  # an AWS call through cut_off shows as a 503
    assert response.cookies == []


def test_another_return_url_may_be_chosen(browser: Browser, connector: Connector) -> None:
    state = browser.started(return_to="https://app.example.com/back?tab=bank")

    item = connector.item(state)
    assert item is not None
    assert item["return_to"] == "https://app.example.com/back?tab=bank"


@pytest.mark.parametrize("headers", AHEAD_OF_USER.values(), ids=AHEAD_OF_USER)
def test_start_ahead_of_the_user_returns_425_without_an_aws_call(
    cut_off: Connector, headers: dict[str, str]
) -> None:
    response = Browser(cut_off).start(headers=headers)

    assert (response.status, response.body, response.cookies) == (425, "", [])
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize("headers", BY_USER.values(), ids=BY_USER)
def test_start_of_the_user_is_served(browser: Browser, headers: dict[str, str]) -> None:
    assert browser.start(headers=headers).status == 302


def test_pkce_stores_the_verifier_and_sends_its_challenge(aws: LocalAws, stack: Stack) -> None:
    browser = Browser(Connector(aws, stack, PKCE="S256"))

    response = browser.start()

    item = browser.connector.item(response.parameters["state"])
    assert item is not None
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", item["code_verifier"])
    assert item["code_verifier"] not in response.location
    assert response.parameters["code_challenge_method"] == "S256"


def test_the_largest_item_stays_under_8_kb(aws: LocalAws, stack: Stack) -> None:
    return_url = "https://app.example.com/" + "x" * 488
    connector = Connector(
        aws,
        stack,
        PKCE="S256",
        SCOPE="s" * 1024,
        CLIENT_ID="c" * 128,
        RETURN_URLS=return_url,
        REDIRECT_URI="https://" + "h" * 495 + "/callback",
    )

    browser = Browser(connector)
    response = browser.start(
        context="x" * 256,
        organization_id="o" * 128,
        registration_id="r" * 128,
        return_to=return_url,
    )

    claim(browser, response.parameters["state"], {"code": "x"})
    assert len(json.dumps(connector.item(response.parameters["state"]))) < 8192
    assert len(response.location) < 8192
