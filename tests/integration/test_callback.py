"""``GET /callback``: the accepted requests, the events, the browser's destinations, and repeats."""

import re
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

import cookies
from authorization import RECEIPT_LIFETIME
from callback.events import AuthorizationEvent
from callback.publisher import Publisher
from demo import gateway
from demo import template as infra
from demo.local_aws import LocalAws, Stack
from demo.qonto import SCOPES
from outcomes import Outcome
from tests.integration.examples import FOLDER, examples
from tests.support.connector import (
    CODE,
    NOW,
    PARAMETERS,
    REDIRECT_URI,
    RETURN_URL,
    Browser,
    Connector,
    Subscriber,
)

GRANTED = {"code": CODE, "scope": "organization.read"}
DENIED = {"error": "access_denied"}
FAILED = {"error": "server_error", "error_description": "no, not now"}
RESPONSES = {"granted": GRANTED, "denied": DENIED, "failed": FAILED}


@pytest.fixture
def without_app(stack: Stack, aws: LocalAws) -> Browser:
    """Return a browser whose connector has no app to return to."""
    return Browser(Connector(aws, stack, RETURN_URLS=""))


class KilledPublisher(Publisher):
    """Ends the process instead of publishing."""

    def publish(self, _event: AuthorizationEvent) -> None:
        raise SystemExit


def claim(browser: Browser, state: str, response: dict[str, str]) -> None:
    """Leave *state* as a callback does whose process is killed after the claim."""
    connector = browser.connector
    browser.connector = connector.restarted(publisher=KilledPublisher)
    with pytest.raises(SystemExit):
        browser.returned(state, response)
    browser.connector = connector


@pytest.mark.parametrize("outcome", RESPONSES)
@pytest.mark.parametrize("return_to", [RETURN_URL, "https://app.example.com/back?tab=bank", ""])
@pytest.mark.claim("S8", "S11", "S13", "S18", "T6", "T9", "T12")
def test_response_is_published_and_each_repeat_ends_alike(
    browser: Browser, without_app: Browser, subscriber: Subscriber, return_to: str, outcome: str
) -> None:
    browser = browser if return_to else without_app
    state = browser.started(context="ctx-1", return_to=return_to)
    ignored = {"return_to": "https://evil.example", "iss": "x"}

    response = browser.returned(state, RESPONSES[outcome] | ignored, at=NOW + 90)

    message = subscriber.message()
    sent = {name.replace("scope", "granted_scope"): x for name, x in RESPONSES[outcome].items()}
    assert message["time"] == "2023-11-14T22:14:50Z"
    assert message["data"].items() >= (sent | {"context": "ctx-1"}).items()
    query = f"authorization_id={message['subject']}&outcome={outcome}&context=ctx-1"
    location = f"{return_to}{'&' if '?' in return_to else '?'}{query}#"
    own_page = f"/callback/{outcome}?reference={message['subject'][:8]}#_"
    assert (response.status, response.location) == (303, location if return_to else own_page)
    # The cookie remembers what to start again.
    assert bool(response.cookies) == (not return_to and outcome != "granted")
    assert browser.connector.item(state) is None
    for repeated in RESPONSES.values():
        for at in (NOW + 90, NOW + 90 + RECEIPT_LIFETIME - 1):
            assert browser.returned(state, repeated, at=at) == response
    late = browser.returned(state, RESPONSES[outcome], at=NOW + 90 + RECEIPT_LIFETIME)
    assert (late.location, late.cookies) == ("/callback/used#_", [])
    assert subscriber.messages() == []


@pytest.mark.claim("S2", "S4", "S5", "S7", "S9", "S11", "S18", "T2", "T4", "T8", "T11")
def test_refused_callback_changes_nothing(
    browser: Browser, cut_off: Connector, subscriber: Subscriber
) -> None:
    connector, stranger = browser.connector, Browser(browser.connector)
    state = browser.started(context="ctx-1")
    stranger.start()
    item, own, cookie = connector.item(state), browser.cookies, "__Host-qonto-connect"
    altered = state[:-1] + ("A" if state[-1] != "A" else "B")
    malformed = ["", state[:-1], state + "A", f"used.{state}", f"used.{state}"[:43]]

    for asked, cookies_sent, query, page in [
        (connector, own, f"state={altered}", "used"),
        (connector, stranger.cookies, f"state={state}", "other-browser"),
        # Without an AWS call, which would be a 503:
        (cut_off, {}, f"state={state}", "other-browser"),
        (cut_off, {cookie: "x" * 44}, f"state={state}", "other-browser"),
        (cut_off, own, f"state={state}&code=x&error=x", "invalid-request"),
        *((cut_off, own, f"state={each}", "invalid-request") for each in malformed),
    ]:
        for response in ("code=x", "error=access_denied"):
            visitor = Browser(asked)
            visitor.cookies = dict(cookies_sent)
            refusal = visitor.request("callback", f"{query}&{response}")
            assert (refusal.status, refusal.location) == (303, f"/callback/{page}#_")
            assert refusal.cookies == []
    expired = browser.granted(state, at=NOW + 3600)

    assert expired.parameters.items() >= {("outcome", "expired"), ("context", "ctx-1")}
    assert connector.item(state) == item
    assert subscriber.messages() == []
    assert browser.granted(state).parameters["outcome"] == "granted"
    assert stranger.granted(state).location == "/callback/used#_"
    assert subscriber.message()["data"]["context"] == "ctx-1"


def test_published_examples_match_delivered_messages(aws: LocalAws, stack: Stack) -> None:
    published = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}

    assert published == examples(aws, stack)


@pytest.mark.claim("S6")
def test_two_tabs_both_finish_in_reverse_order(browser: Browser) -> None:
    states = {tab: browser.started(context=tab) for tab in ("tab-1", "tab-2")}

    for tab in ("tab-2", "tab-1"):
        response = browser.granted(states[tab])
        assert response.parameters.items() >= {("outcome", "granted"), ("context", tab)}


@pytest.mark.claim("T16")
def test_start_again_link_repeats_only_its_own_flow(without_app: Browser) -> None:
    state = without_app.started(context="ctx-1", organization_id="o", registration_id="r")
    query = urlsplit(without_app.failed(state).location).query
    forged = "context=ctx-2&organization_id=org-2&return_to=https://app.example.com/back"

    own = without_app.request("outcome", f"{query}&{forged}", outcome="denied")
    other = without_app.request("outcome", f"reference=1a2b3c4d&{forged}", outcome="denied")
    stranger = Browser(without_app.connector).request("outcome", query, outcome="denied")

    [start_again] = re.findall(r'href="(/start.*?)"', own.body)
    assert unescape(start_again) == "/start?context=ctx-1&organization_id=o&registration_id=r"
    for page in (other, stranger):
        assert re.findall(r'href="(/start.*?)"', page.body) == ["/start"]


def test_flow_keeps_the_settings_of_its_start(
    aws: LocalAws, stack: Stack, browser: Browser, subscriber: Subscriber
) -> None:
    state, uri = browser.started(), "https://new.example.com/"
    new = {"SCOPE": "card.read", "RETURN_URLS": uri, "REDIRECT_URI": f"{uri}callback"}
    browser.connector = Connector(aws, stack, PKCE="S256", **new)
    item = aws.dynamodb.get_item(TableName=stack.table_name, Key={"state": {"S": state}})["Item"]
    item["added_by_a_newer_version"] = {"S": "x"}
    aws.dynamodb.put_item(TableName=stack.table_name, Item=item)

    assert browser.granted(state).location.startswith(RETURN_URL)

    data = subscriber.message()["data"]
    assert (data["requested_scope"], data["redirect_uri"]) == (PARAMETERS["Scope"], REDIRECT_URI)
    assert "code_verifier" not in data


@pytest.mark.claim("S17")
def test_every_response_has_the_security_headers(browser: Browser) -> None:
    state, ahead = browser.started(), {"sec-purpose": "prefetch"}
    page = browser.request("outcome", outcome="nothing")
    responses = [browser.start(), browser.granted(state), page, browser.start(headers=ahead)]

    assert [response.status for response in responses] == [302, 303, 404, 425]
    expected = {
        "Cache-Control": "no-store",  # for a CDN too
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=63072000",
        "X-Content-Type-Options": "nosniff",
    }
    assert all(response.headers.items() >= expected.items() for response in responses)


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        ("context=ctx-1&utm=x&utm=y", ""),
        ("reference=1a2b3c4d", "Reference: 1a2b3c4d"),
        *((f"reference={wrong}", None) for wrong in ("1234567", "GGGGGGGG", "1234567%0A")),
        ("reference=12345678&reference=12345678", None),
    ],
)
def test_outcome_page_shows_a_valid_reference(
    cut_off: Connector, query: str, reference: str | None
) -> None:
    pages = {outcome.page for outcome in Outcome} if reference is not None else set()
    for outcome in {each.page for each in Outcome} | {"start-again", "not-found", "", "<b>"}:
        page = Browser(cut_off).request("outcome", query, outcome=outcome)

        assert (page.status != 404) == (outcome in pages)
        assert f"<small>{reference if outcome in pages else ''}</small>" in page.body


@pytest.mark.parametrize(("first", "other"), [(GRANTED, {"code": "x"}), (DENIED, GRANTED)])
@pytest.mark.claim("S3", "T5")
def test_other_response_in_flight_gets_a_409(
    browser: Browser, subscriber: Subscriber, first: dict[str, str], other: dict[str, str]
) -> None:
    state = browser.started()
    claim(browser, state, first)
    claimed = browser.connector.item(state)

    in_flight = browser.returned(state, other)

    assert (in_flight.status, in_flight.cookies) == (409, [])
    assert '<a href="">' in in_flight.body
    assert "Location" not in in_flight.headers
    assert browser.connector.item(state) == claimed
    assert subscriber.messages() == []
    response = browser.returned(state, first)
    assert response.status == 303
    assert browser.returned(state, other) == response  # the page's link has the same URL


@pytest.mark.claim("S14", "S19", "T11")
def test_longest_flow_stays_within_the_limits(aws: LocalAws, stack: Stack) -> None:
    return_url = "https://app.example.com/".ljust(512, "x")
    asked = {"context": "~" * 256, "organization_id": "o" * 128, "registration_id": "r" * 128}
    longest = {"SCOPE": "s" * 1024, "CLIENT_ID": "c" * 128, "RETURN_URLS": return_url}
    longest["REDIRECT_URI"] = "https://" + "h" * 495 + "/callback"
    connector = Connector(aws, stack, PKCE="S256", **longest)
    handlers = {"StartFunction": connector.start, "CallbackFunction": connector.callback}
    application = gateway.application(gateway.routes(infra.load()), handlers)
    browser = TestClient(application, "https://connect.example.com", follow_redirects=False)

    start = browser.get("/start", params=asked).headers["Location"]
    [state] = parse_qs(urlsplit(start).query)["state"]
    claimed = Browser(connector)
    claimed.cookies.update(browser.cookies)
    claim(claimed, state, {"code": CODE})
    item = str(connector.item(state))
    # This start cookie is longer than any that callback sets.
    cookie = cookies.set_start_query("1a2b3c4d", urlencode(asked | {"return_to": return_url}))
    browser.cookies.set(*cookie.partition(";")[0].split("=", 1))
    query = {"code": CODE, "scope": " ".join(sorted(SCOPES)), "state": state}
    response = browser.get("/callback", params=query)

    assert response.status_code == 303  # the gateway limits a request to 10,240 bytes
    assert "&outcome=granted&" in response.headers["Location"]
    assert max(len(text) for text in (start, item, response.headers["Location"])) < 8192
