"""``GET /callback`` again: the same browser's repeats, and another response while one is open."""

import copy
from collections.abc import Callable
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from aws_lambda_powertools import Logger

import cookies
from authorization import RECEIPT_LIFETIME
from callback import authorization_response
from callback.app import CallbackApp
from callback.events import AuthorizationEvent
from callback.publisher import Publisher
from demo.local_aws import LocalAws, Stack
from settings import CallbackSettings
from state_store import CLAIM_LIFETIME, StateStore
from tests.integration.connector import (
    CODE,
    NOW,
    RETURN_URL,
    Browser,
    Connector,
    Response,
    Subscriber,
)
from tests.integration.test_faults import counts

EXPIRES_AT = NOW + 3600
USED: tuple[int, str, list[str]] = (303, "/callback/used#_", [])
GRANTED, DENIED, FAILED = {"code": CODE}, {"error": "access_denied"}, {"error": "server_error"}
RESPONSES = [GRANTED, {"code": "another"}, DENIED, FAILED]


class InterruptedPublisher(Publisher):
    """A publisher that calls a function before it publishes its first event."""

    def __init__(self, connector: Connector, interrupt: Callable[[], None]) -> None:
        """Publish to the topic of *connector*, and call *interrupt* before the first event."""
        super().__init__(connector.aws.sns, connector.stack.topic_arn)
        self._interrupts = [interrupt]

    def publish(self, event: AuthorizationEvent) -> None:
        """Publish *event*."""
        if self._interrupts:
            self._interrupts.pop()()
        super().publish(event)


def interrupted(
    connector: Connector, interrupt: Callable[[], None], states: type[StateStore] = StateStore
) -> Connector:
    """Return *connector* with a callback that calls *interrupt* between its claim and publish."""
    settings = CallbackSettings.model_validate(connector.callback_environment)
    app = CallbackApp(
        settings,
        states(connector.aws.dynamodb, settings),
        InterruptedPublisher(connector, interrupt),
        Logger(service=f"service-{uuid4()}", use_rfc3339=True),  # writes where capsys reads
    )
    changed = copy.copy(connector)
    changed.callback = lambda request, _context: app.handle(request)
    return changed


def call_back(browser: Browser, state: str, response: dict[str, str], *, at: int = NOW) -> Response:
    """Request ``/callback`` with *state* and the authorization *response*."""
    return browser.request("callback", urlencode(response | {"state": state}), at=at)


def claim(browser: Browser, state: str, response: dict[str, str], *, at: int = NOW) -> None:
    """Leave *state* as a callback does whose process is killed after the claim."""
    connector = browser.connector
    settings = CallbackSettings.model_validate(connector.callback_environment)
    own_hash = cookies.browser_hash(browser.cookies[cookies.BROWSER_COOKIE])
    parsed = authorization_response.parse(urlencode(response | {"state": state}))
    StateStore(connector.aws.dynamodb, settings).claim(state, own_hash, parsed.hash, at)


def summary(response: Response) -> tuple[int, str, list[str]]:
    """Return the status, the location and the cookies of *response*."""
    return response.status, response.location, response.cookies


# The state was used


@pytest.mark.parametrize("first", RESPONSES)
@pytest.mark.parametrize("return_urls", [RETURN_URL, ""])
def test_repeated_callback_gets_the_same_response(
    aws: LocalAws,
    stack: Stack,
    subscriber: Subscriber,
    first: dict[str, str],
    return_urls: str,
) -> None:
    browser = Browser(Connector(aws, stack, RETURN_URLS=return_urls))
    state = browser.started(context="ctx-1")

    response = call_back(browser, state, first)
    repeats = [
        call_back(browser, state, again, at=NOW + seconds)
        for again in RESPONSES
        for seconds in (0, RECEIPT_LIFETIME - 1)
    ]

    assert (response.status, "used" in response.location) == (303, False)
    assert bool(response.cookies) == (not return_urls and "code" not in first)  # to start again
    assert repeats == [response] * len(repeats)
    subscriber.message()


def test_repeat_after_ten_minutes_is_told_used(browser: Browser, subscriber: Subscriber) -> None:
    state = browser.started()
    browser.granted(state)

    repeat = browser.granted(state, at=NOW + RECEIPT_LIFETIME)

    assert summary(repeat) == USED
    subscriber.message()


def test_other_browser_learns_nothing_from_the_receipt(
    browser: Browser, subscriber: Subscriber
) -> None:
    state = browser.started(context="ctx-1")
    response = browser.granted(state)
    stranger = Browser(browser.connector)
    stranger.started()

    refusals = [call_back(stranger, state, each) for each in RESPONSES]

    assert [summary(refusal) for refusal in refusals] == [USED] * len(refusals)
    assert browser.granted(state) == response
    subscriber.message()


def test_receipt_holds_no_code_and_lives_ten_minutes(aws: LocalAws, stack: Stack) -> None:
    browser = Browser(Connector(aws, stack, PKCE="S256"))
    state = browser.started(context="ctx-1", organization_id="org-1", registration_id="reg-1")
    item = browser.connector.item(state)

    browser.granted(state, at=NOW + 90)

    assert browser.connector.item(state) is None
    receipt = browser.connector.item(f"used.{state}")
    assert item is not None
    assert receipt is not None
    asked = {"context", "return_to", "organization_id", "registration_id"}
    kept = {"browser_hash", "authorization_id", "environment", "client_id", *asked}
    assert {name: receipt[name] for name in kept} == {name: item[name] for name in kept}
    assert receipt["outcome"] == "GRANTED"
    assert receipt["expires_at"] == str(NOW + 90 + 600)
    assert not {"code_verifier", "response_hash"} & receipt.keys()
    assert CODE not in receipt.values()


# Another callback of the same browser is not finished


def test_equal_callbacks_at_once_count_one_authorization(
    browser: Browser, subscriber: Subscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    state = browser.started()
    own = browser.connector
    responses: list[Response] = []

    def repeat() -> None:
        browser.connector = own
        responses.append(browser.granted(state))

    browser.connector = interrupted(own, repeat)
    capsys.readouterr()
    responses.append(browser.granted(state))

    assert responses == [responses[0]] * 2
    assert responses[0].parameters["outcome"] == "granted"
    assert len({message["id"] for message in subscriber.messages()}) == 1
    assert sorted(counts(capsys.readouterr().out)) == [
        ("AuthorizationGranted", None),
        ("CallbackRepeated", None),
    ]


@pytest.mark.parametrize(
    ("first", "other"), [(GRANTED, DENIED), (GRANTED, {"code": "x"}), (DENIED, GRANTED)]
)
def test_other_response_in_flight_gets_a_409(
    browser: Browser,
    connector: Connector,
    subscriber: Subscriber,
    first: dict[str, str],
    other: dict[str, str],
) -> None:
    state = browser.started()
    stranger = Browser(connector)
    stranger.started()
    during: list[Response] = []

    def send_other() -> None:
        claimed = connector.item(state)
        browser.connector = connector
        during.extend((call_back(browser, state, other), call_back(stranger, state, first)))
        assert connector.item(state) == claimed is not None
        assert subscriber.messages() == []

    browser.connector = interrupted(connector, send_other)
    response = call_back(browser, state, first)

    in_flight, refusal = during
    assert in_flight.status == 409
    assert '<a href="">' in in_flight.body
    assert (in_flight.cookies, "Location" in in_flight.headers) == ([], False)
    assert summary(refusal) == (303, "/callback/other-browser#_", [])
    assert subscriber.message()["data"].items() >= first.items()
    assert call_back(browser, state, other) == response  # the page's link has the same URL


# The process of another callback was killed after its claim


def test_same_response_succeeds_at_once_after_a_kill(
    browser: Browser, subscriber: Subscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    browser.connector = browser.connector.restarted()
    state = browser.started()
    claim(browser, state, GRANTED)
    capsys.readouterr()

    assert browser.granted(state).parameters["outcome"] == "granted"

    subscriber.message()
    assert counts(capsys.readouterr().out) == [
        ("AuthorizationGranted", None),
        ("CallbackRepeated", None),
    ]


def test_other_response_succeeds_a_minute_after_a_kill(
    browser: Browser, subscriber: Subscriber
) -> None:
    state = browser.started()
    claim(browser, state, GRANTED)

    early = call_back(browser, state, DENIED, at=NOW + CLAIM_LIFETIME)
    late = call_back(browser, state, DENIED, at=NOW + CLAIM_LIFETIME + 1)

    assert early.status == 409
    assert late.parameters["outcome"] == "denied"
    assert browser.granted(state, at=NOW + CLAIM_LIFETIME + 2) == late
    assert subscriber.message()["data"]["error"] == "access_denied"


@pytest.mark.parametrize(
    ("response", "seconds", "outcome"),
    [
        (GRANTED, RECEIPT_LIFETIME - 1, "granted"),
        (GRANTED, RECEIPT_LIFETIME, "expired"),
        (DENIED, 1, "expired"),
        (DENIED, CLAIM_LIFETIME + 1, "expired"),
    ],
)
def test_only_claimed_response_succeeds_after_the_hour(
    browser: Browser,
    subscriber: Subscriber,
    response: dict[str, str],
    seconds: int,
    outcome: str,
) -> None:
    state = browser.started()
    claim(browser, state, GRANTED, at=EXPIRES_AT - 1)

    result = call_back(browser, state, response, at=EXPIRES_AT - 1 + seconds)

    assert result.parameters["outcome"] == outcome
    assert len(subscriber.messages()) == (outcome == "granted")


@pytest.mark.parametrize("take_over", [claim, call_back])
def test_outlived_claim_changes_nothing_of_its_successor(
    browser: Browser, connector: Connector, subscriber: Subscriber, take_over: Callable[..., object]
) -> None:
    state = browser.started()
    at = NOW + CLAIM_LIFETIME + 1

    def succeed() -> None:
        browser.connector = connector
        take_over(browser, state, DENIED, at=at)

    browser.connector = interrupted(connector, succeed)
    outlived = browser.granted(state)
    successor = call_back(browser, state, DENIED, at=at)

    assert outlived.parameters["outcome"] == "granted"
    assert successor.parameters["outcome"] == "denied"
    assert connector.item(state) is None
    assert len({message["id"] for message in subscriber.messages()}) == 2
