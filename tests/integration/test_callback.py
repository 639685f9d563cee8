"""``GET /callback``: the accepted requests, the events and the browser's destinations."""

import re
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

import cookies
from demo import gateway
from demo import template as infra
from demo.local_aws import LocalAws, Stack
from demo.qonto import SCOPES
from tests.integration.connector import (
    CODE,
    NOW,
    PARAMETERS,
    REDIRECT_URI,
    REQUESTS,
    RETURN_URL,
    Browser,
    Connector,
    Subscriber,
)
from tests.integration.test_repeats import claim
from tests.navigations import AHEAD_OF_USER, BY_USER

EXPIRES_AT = NOW + 3600


@pytest.fixture
def without_app(stack: Stack, aws: LocalAws) -> Browser:
    """Return a browser whose connector has no app to return to."""
    return Browser(Connector(aws, stack, RETURN_URLS=""))


def test_code_is_published_and_browser_returns_to_app(
    browser: Browser, subscriber: Subscriber
) -> None:
    state = browser.started(context="ctx-1", organization_id="org-1")

    response = browser.granted(state, at=NOW + 90)

    assert response.status == 303
    message = subscriber.message()
    assert message["type"] == "qonto-connect.authorization.granted.v1"
    assert message["time"] == "2023-11-14T22:14:50Z"
    assert message["data"] == {
        "environment": "sandbox",
        "client_id": "client-1",
        "redirect_uri": REDIRECT_URI,
        "token_endpoint": "https://oauth-sandbox.staging.qonto.co/oauth2/token",
        "requested_scope": "offline_access organization.read",
        "requested_organization_id": "org-1",
        "context": "ctx-1",
        "started_at": "2023-11-14T22:13:20Z",
        "code": CODE,
        "code_expires_at": "2023-11-14T22:24:50Z",
        "granted_scope": "offline_access organization.read",
    }
    assert response.location.startswith(f"{RETURN_URL}?")
    assert response.parameters == {
        "authorization_id": message["subject"],
        "outcome": "granted",
        "context": "ctx-1",
    }


@pytest.mark.parametrize(
    ("error", "outcome"), [("access_denied", "denied"), ("request_forbidden", "failed")]
)
def test_error_is_published_and_browser_returns_to_app(
    browser: Browser, subscriber: Subscriber, error: str, outcome: str
) -> None:
    state = browser.started()

    response = browser.failed(state, error=error, error_description="no, thank you, not now")

    message = subscriber.message()
    assert message["type"] == "qonto-connect.authorization.failed.v1"
    assert message["data"]["error"] == error
    assert message["data"]["error_description"] == "no, thank you, not now"
    assert response.parameters == {"authorization_id": message["subject"], "outcome": outcome}


def test_subscription_can_filter_by_the_type_attribute(
    browser: Browser, aws: LocalAws, stack: Stack
) -> None:
    url = aws.subscribe_queue(stack.topic_arn, {"type": ["qonto-connect.authorization.failed.v1"]})

    browser.granted(browser.started())
    browser.failed(browser.started())

    [message] = aws.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=5
    )["Messages"]
    assert message["MessageAttributes"] == {
        "type": {
            "DataType": "String",
            "StringValue": "qonto-connect.authorization.failed.v1",
        }
    }


@pytest.mark.parametrize(
    "description",
    [
        "a, b, c",
        "one + two",
        "one %2B two",
        "é 漢字 🏦",
        "<script>alert(1)</script>&amp;",
        "d" * 1025,
    ],
)
def test_description_arrives_intact_or_cut_to_1024_characters(
    browser: Browser, subscriber: Subscriber, description: str
) -> None:
    response = browser.failed(browser.started(), error_description=description)

    assert subscriber.message()["data"]["error_description"] == description[:1024]
    assert description not in response.location


@pytest.mark.parametrize("character", ["\ufffe", "\uffff"])
def test_character_that_sqs_does_not_take_is_replaced(
    browser: Browser, subscriber: Subscriber, character: str
) -> None:
    text = f"a{character}b"

    browser.failed(browser.started(), error=text, error_description=text)

    data = subscriber.message()["data"]
    assert (data["error"], data["error_description"]) == ("a\ufffdb", "a\ufffdb")


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        (f"error=&code={CODE}", "granted"),
        (f"error=&error_description=&code={CODE}&scope=", "granted"),
        ("code=&error=access_denied", "denied"),
        ("code&error=server_error&error_description=", "failed"),
    ],
)
def test_blank_parameter_of_callback_counts_as_omitted(
    browser: Browser, subscriber: Subscriber, query: str, outcome: str
) -> None:
    response = browser.request("callback", f"{query}&state={browser.started()}")

    assert response.parameters["outcome"] == outcome
    assert "error_description" not in subscriber.message()["data"]


def test_without_app_browser_gets_the_outcome_page(
    without_app: Browser, subscriber: Subscriber
) -> None:
    responses = {
        "granted": without_app.granted(without_app.started(context="ctx-1")),
        "denied": without_app.failed(without_app.started()),
        "failed": without_app.failed(without_app.started(), error="server_error"),
    }

    messages = subscriber.messages()
    for (outcome, response), message in zip(responses.items(), messages, strict=True):
        assert response.status == 303
        query = f"reference={message['subject'][:8]}"
        assert response.location == f"/callback/{outcome}?{query}#_"
        page = without_app.request("outcome", query, outcome=outcome)
        assert page.status == 200
        assert f"Reference: {message['subject'][:8]}" in page.body


def test_the_return_url_keeps_its_own_query(browser: Browser, subscriber: Subscriber) -> None:
    state = browser.started(return_to="https://app.example.com/back?tab=bank")

    response = browser.granted(state)

    assert response.location == (
        "https://app.example.com/back?tab=bank"
        f"&authorization_id={subscriber.message()['subject']}&outcome=granted#"
    )


def test_code_and_error_both_delete_the_state(
    browser: Browser, connector: Connector, subscriber: Subscriber
) -> None:
    granted, failed = browser.started(), browser.started()

    browser.granted(granted)
    browser.failed(failed)

    assert connector.item(granted) is connector.item(failed) is None
    assert len(subscriber.messages()) == 2


def test_unknown_or_altered_state_is_refused(
    browser: Browser, connector: Connector, subscriber: Subscriber
) -> None:
    state = browser.started()
    altered = state[:-1] + ("A" if state[-1] != "A" else "B")

    unknown = [browser.granted("x" * 43), browser.granted(altered), browser.failed(altered)]
    malformed = [browser.granted(text) for text in ("", state[:-1], state + "A", state[:-1] + "é")]

    assert {response.location for response in unknown} == {"/callback/used#_"}
    assert {response.location for response in malformed} == {"/callback/invalid-request#_"}
    assert connector.item(state) is not None
    assert subscriber.messages() == []


@pytest.mark.parametrize("response", [{"code": CODE}, {"error": "access_denied"}])
def test_other_browser_is_refused_and_own_can_finish(
    browser: Browser, connector: Connector, subscriber: Subscriber, response: dict[str, str]
) -> None:
    state = browser.started(context="ctx-1")
    stranger, cookieless = Browser(connector), Browser(connector)
    stranger.start()

    refusals = [
        other.request("callback", urlencode(response | {"state": state}))
        for other in (stranger, cookieless)
    ]

    assert subscriber.messages() == []
    for refusal in refusals:
        assert (refusal.status, refusal.location) == (303, "/callback/other-browser#_")
        assert refusal.cookies == []
    page = stranger.request("outcome", outcome="other-browser")
    assert page.status == 403
    assert "ctx-1" not in page.body
    assert browser.granted(state).parameters["outcome"] == "granted"
    assert subscriber.message()["data"]["context"] == "ctx-1"


@pytest.mark.parametrize("entry", ["a=1, {}", "a=1,{}", "a=1; {}", "{}, a=1"])
def test_cookie_joined_with_others_is_found(browser: Browser, entry: str) -> None:
    state = browser.started()
    name, value = entry.format("=".join(*browser.cookies.items())).split("=", 1)
    browser.cookies = {name: value}

    assert browser.granted(state).parameters["outcome"] == "granted"


@pytest.mark.parametrize("value", ["", "short", "x" * 44, "ü" * 43])
def test_a_malformed_cookie_is_refused(browser: Browser, cut_off: Connector, value: str) -> None:
    state = browser.started()
    other = Browser(cut_off)
    other.cookies["__Host-qonto-connect"] = value

    assert other.granted(state).location == "/callback/other-browser#_"


def test_other_browser_wins_over_expired(browser: Browser, connector: Connector) -> None:
    state = browser.started()
    stranger = Browser(connector)
    stranger.start()

    assert stranger.granted(state, at=EXPIRES_AT).location == "/callback/other-browser#_"


def test_state_is_accepted_until_its_last_second(browser: Browser, subscriber: Subscriber) -> None:
    state = browser.started()

    assert browser.granted(state, at=EXPIRES_AT - 1).parameters["outcome"] == "granted"
    assert len(subscriber.messages()) == 1


@pytest.mark.parametrize("late", [0, 1, 86_400])
def test_expired_item_in_the_table_is_refused(
    browser: Browser, connector: Connector, subscriber: Subscriber, late: int
) -> None:
    state = browser.started(context="ctx-1")
    item = connector.item(state)

    response = browser.granted(state, at=EXPIRES_AT + late)

    assert item is not None
    assert response.parameters == {
        "authorization_id": item["authorization_id"],
        "outcome": "expired",
        "context": "ctx-1",
    }
    assert subscriber.messages() == []


def test_start_again_link_repeats_the_start_query(
    without_app: Browser,
) -> None:
    state = without_app.started(context="ctx-1", organization_id="org-1", registration_id="reg-1")

    response = without_app.failed(state)

    assert re.fullmatch(r"/callback/denied\?reference=[0-9a-f]{8}#_", response.location)
    page = without_app.request("outcome", urlsplit(response.location).query, outcome="denied")
    [start_again] = re.findall(r'href="/start\?(.*?)"', page.body)
    again = without_app.request("start", unescape(start_again)).parameters
    item = without_app.connector.item(again["state"])
    assert item is not None
    assert [item[name] for name in ("context", "organization_id", "registration_id")] == [
        "ctx-1",
        "org-1",
        "reg-1",
    ]


def test_start_again_link_ignores_a_forged_query(without_app: Browser) -> None:
    response = without_app.failed(without_app.started(context="ctx-1"))
    query = urlsplit(response.location).query

    forged = "context=ctx-2&organization_id=org-2&return_to=https://app.example.com/back"
    own = without_app.request("outcome", f"{query}&{forged}", outcome="denied")
    other = without_app.request("outcome", f"reference=1a2b3c4d&{forged}", outcome="denied")
    stranger = Browser(without_app.connector).request("outcome", query, outcome="denied")

    assert re.findall(r'href="(/start.*?)"', own.body) == ["/start?context=ctx-1"]
    assert re.findall(r'href="(/start.*?)"', other.body) == ["/start"]
    assert re.findall(r'href="(/start.*?)"', stranger.body) == ["/start"]


def test_without_app_expired_state_gets_its_page(without_app: Browser) -> None:
    response = without_app.granted(without_app.started(), at=EXPIRES_AT)

    assert response.location.startswith("/callback/expired?reference=")
    assert without_app.request("outcome", outcome="expired").status == 410


def test_incomplete_item_returns_503_without_event(
    browser: Browser, subscriber: Subscriber
) -> None:
    state = browser.started()
    browser.connector.aws.dynamodb.update_item(
        TableName=browser.connector.stack.table_name,
        Key={"state": {"S": state}},
        UpdateExpression="REMOVE redirect_uri",
    )

    assert browser.granted(state).status == 503
    assert subscriber.messages() == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_tabs_both_finish_in_either_order(
    browser: Browser, subscriber: Subscriber, order: tuple[int, int]
) -> None:
    states = [browser.started(context=f"tab-{tab}") for tab in (0, 1)]

    responses = [browser.granted(states[tab], code=f"code-{tab}") for tab in order]

    assert [response.parameters["outcome"] for response in responses] == ["granted", "granted"]
    messages = subscriber.messages()
    assert [message["data"]["context"] for message in messages] == [f"tab-{tab}" for tab in order]
    assert [message["data"]["code"] for message in messages] == [f"code-{tab}" for tab in order]


@pytest.mark.parametrize(
    "query",
    [
        "code=x&error=y&state={state}",
        "state={state}",
        "code=x",
        "code=x&code=x&state={state}",
        "code=x&state={state}&state={state}",
        "error=x&error=x&state={state}",
        "error=x&error_description=a&error_description=b&state={state}",
        "code=x&scope=a&scope=a&state={state}",
        "code=" + "x" * 2049 + "&state={state}",
        "",
    ],
)
def test_invalid_callback_query_makes_no_aws_call(
    browser: Browser, cut_off: Connector, query: str
) -> None:
    state = browser.started()
    same = Browser(cut_off)
    same.cookies = browser.cookies

    response = same.request("callback", query.format(state=state))

    assert (response.status, response.location) == (303, "/callback/invalid-request#_")


def test_cut_off_connector_returns_503_to_valid_callback(
    cut_off: Connector, browser: Browser
) -> None:
    state = browser.started()
    same = Browser(cut_off)
    same.cookies = browser.cookies

    assert same.granted(state).status == 503  # an AWS call through cut_off shows as a 503


def test_return_to_on_the_callback_is_ignored(browser: Browser) -> None:
    state = browser.started()

    response = browser.request(
        "callback",
        urlencode({"code": CODE, "state": state, "return_to": "https://evil.example", "iss": "x"}),
    )

    assert response.location.startswith(f"{RETURN_URL}?")


def test_no_location_holds_code_or_state(browser: Browser) -> None:
    granted, failed, late = browser.started(), browser.started(), browser.started()

    locations = [
        browser.granted(granted).location,
        browser.granted(granted).location,
        browser.failed(failed).location,
        browser.granted(late, at=EXPIRES_AT).location,
        browser.request("callback", f"code={CODE}&state={late}&state={late}").location,
        Browser(browser.connector).granted(late).location,
    ]

    for location in locations:
        assert not {"code", "state"} & parse_qs(urlsplit(location).query).keys()
        assert not [secret for secret in (CODE, granted, failed, late) if secret in location]


@pytest.mark.parametrize(
    "environment",
    [{"QONTO_ENVIRONMENT": "production"}, {"CLIENT_ID": "another-client"}],
)
def test_item_of_another_environment_or_client_is_unknown(
    browser: Browser,
    aws: LocalAws,
    stack: Stack,
    subscriber: Subscriber,
    environment: dict[str, str],
) -> None:
    state = browser.started()
    other = Browser(Connector(aws, stack, **environment))
    other.cookies = browser.cookies

    response = other.granted(state)

    assert response.location == "/callback/used#_"
    assert subscriber.messages() == []
    assert browser.granted(state).parameters["outcome"] == "granted"
    assert other.granted(state) == response  # which has a receipt now


def test_production_and_sandbox_have_hosts_of_their_own(
    aws: LocalAws, stack: Stack, subscriber: Subscriber
) -> None:
    browser = Browser(Connector(aws, stack, QONTO_ENVIRONMENT="production"))

    start = browser.start()
    browser.granted(start.parameters["state"])

    assert start.location.startswith("https://oauth.qonto.com/oauth2/auth?")
    message = subscriber.message()
    assert message["source"] == "/qonto-connect/production/client-1"
    assert message["data"]["token_endpoint"] == "https://oauth.qonto.com/oauth2/token"


@pytest.mark.parametrize("headers", AHEAD_OF_USER.values(), ids=AHEAD_OF_USER)
def test_callback_ahead_of_the_user_returns_425_and_claims_nothing(
    browser: Browser, connector: Connector, subscriber: Subscriber, headers: dict[str, str]
) -> None:
    state = browser.started()
    item = connector.item(state)
    query = urlencode({"code": CODE, "state": state})

    response = browser.request("callback", query, headers=headers)

    assert (response.status, response.body, response.cookies) == (425, "", [])
    assert "Retry-After" not in response.headers
    assert connector.item(state) == item
    assert subscriber.messages() == []


@pytest.mark.parametrize("headers", BY_USER.values(), ids=BY_USER)
def test_callback_of_the_user_is_served(browser: Browser, headers: dict[str, str]) -> None:
    query = urlencode({"code": CODE, "state": browser.started()})

    response = browser.request("callback", query, headers=headers)

    assert response.parameters["outcome"] == "granted"


def test_every_response_has_the_security_headers(browser: Browser) -> None:
    state, claimed = browser.started(), browser.started()
    claim(browser, claimed, {"error": "access_denied"})
    responses = [
        browser.granted(state),
        browser.granted(state),
        browser.granted(claimed),  # another response is in flight
        browser.request("callback", ""),
        browser.request("callback", headers={"sec-purpose": "prefetch"}),
        browser.request("outcome", outcome="granted"),
        browser.request("outcome", outcome="nothing"),
    ]

    for response in responses:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Strict-Transport-Security"] == "max-age=63072000"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("granted", 200),
        ("denied", 200),
        ("failed", 200),
        ("expired", 410),
        ("used", 410),
        ("other-browser", 403),
        ("invalid-request", 400),
        ("start-again", 404),
        ("unheard-of", 404),
        ("not-found", 404),
        ("callback-unavailable", 404),
        ("callback-in-flight", 404),
        ("start-invalid", 404),
        ("", 404),
        ("<script>", 404),
    ],
)
@pytest.mark.parametrize(
    "query", ["", "reference=", "reference=1a2b3c4d", "context=ctx-1&utm=x&utm=y"]
)
def test_outcome_page_has_the_status_of_its_outcome(
    cut_off: Connector, outcome: str, status: int, query: str
) -> None:
    response = Browser(cut_off).request("outcome", query, outcome=outcome)

    assert response.status == status
    assert "<script" not in response.body
    shows_reference = "1a2b3c4d" in query and status != 404
    reference = "Reference: 1a2b3c4d" if shows_reference else ""
    assert f"<small>{reference}</small>" in response.body


@pytest.mark.parametrize(
    "query",
    [
        "reference=12345678&reference=12345678",
        "reference=1234567",
        "reference=123456789",
        "reference=GGGGGGGG",
        "reference=<script>",
        "reference=1234567%0A",
    ],
)
def test_a_malformed_reference_is_a_404_page(cut_off: Connector, query: str) -> None:
    response = Browser(cut_off).request("outcome", query, outcome="granted")

    assert response.status == 404
    assert "script" not in response.body
    assert "/start" not in response.body


def test_the_longest_location_stays_under_8_kb(aws: LocalAws) -> None:
    return_url = "https://app.example.com/" + "x" * 488
    stack = aws.deploy(PARAMETERS | {"ReturnUrls": return_url})
    browser = Browser(Connector(aws, stack))

    response = browser.granted(browser.started(context="~" * 256))

    assert response.parameters["context"] == "~" * 256
    assert len(response.location) < 8192


def test_gateway_accepts_the_longest_real_callback(connector: Connector) -> None:
    handlers = {"StartFunction": connector.start, "CallbackFunction": connector.callback}
    application = gateway.application(gateway.routes(infra.load()), handlers)
    sent = REQUESTS["callback"]["headers"]
    headers = {name: value for name, value in sent.items() if name != "host"}
    origin = REDIRECT_URI.removesuffix("/callback")
    browser = TestClient(application, origin, headers=headers, follow_redirects=False)
    longest = {"context": "~" * 256, "organization_id": "o" * 128, "registration_id": "r" * 128}
    location = browser.get("/start", params=longest).headers["Location"]
    [state] = parse_qs(urlsplit(location).query)["state"]
    # This start cookie is longer than any that callback sets.
    start_query = urlencode(longest | {"return_to": "https://app.example.com".ljust(512, "/")})
    cookie = cookies.set_start_query("1a2b3c4d", start_query).partition(";")[0]
    name, _, value = cookie.partition("=")
    browser.cookies.set(name, value)

    scope = " ".join(sorted(SCOPES))
    response = browser.get("/callback", params={"code": CODE, "scope": scope, "state": state})

    assert len(value) > 2000
    assert response.status_code == 303
    assert "&outcome=granted&" in response.headers["Location"]
