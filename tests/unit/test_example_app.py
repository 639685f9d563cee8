"""The example app confirms what this session asked for, and nothing else."""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from starlette.testclient import TestClient

from examples.app.app import CODE_LIFETIME, Ledgerly, Subscriber, create_app

APP_URL = "http://localhost:8000"
PAIR_URL = "http://localhost:8001"
QUEUE_URL = "https://sqs.eu-west-3.amazonaws.com/000000000000/subscriber"
AUTHORIZATION_ID = "5b0f5a0e-0000-4000-8000-000000000001"
OTHER_ID = "5b0f5a0e-0000-4000-8000-000000000002"


class SubscriberStandIn:
    """Both of the clients that the app has: keeps confirmed pairs, and answers what a test says."""

    def __init__(self) -> None:
        self.confirmed: list[dict[str, str]] = []
        self.connection: dict[str, str | None] = {"status": "pending"}
        self.asked: dict[str, str] = {}
        self.down = False

    def send_message(self, **call: str) -> None:
        self._answer()
        assert call["QueueUrl"] == QUEUE_URL
        self.confirmed.append(json.loads(call["MessageBody"]))

    def get_item(self, **call: dict[str, str]) -> dict[str, dict[str, str | None]]:
        self._answer()
        self.asked = call["Key"]
        return {"Item": self.connection} if self.connection else {}

    def _answer(self) -> None:
        if self.down:
            raise EndpointConnectionError(endpoint_url="https://sqs")


@pytest.fixture
def subscriber() -> SubscriberStandIn:
    return SubscriberStandIn()


@pytest.fixture
def browser(subscriber: SubscriberStandIn) -> Iterator[TestClient]:
    with new_browser(subscriber) as client:
        yield client


def new_browser(subscriber: SubscriberStandIn) -> TestClient:
    clients: Any = subscriber
    ledgerly = Ledgerly(APP_URL, PAIR_URL, Subscriber(clients, QUEUE_URL, clients))
    app = create_app(ledgerly, session_secret="a-secret-of-the-test")
    return TestClient(app, APP_URL, follow_redirects=False)


def connect(browser: TestClient) -> str:
    """Click the button; returns the context that goes to the pair."""
    location = browser.get("/connect").headers["location"]
    return dict(parse_qsl(urlsplit(location).query))["context"]


def come_back(
    browser: TestClient, context: str | None, outcome: str = "granted"
) -> httpx2.Response:
    parameters = {"authorization_id": AUTHORIZATION_ID, "outcome": outcome}
    if context is not None:
        parameters["context"] = context
    return browser.get("/connected", params=parameters)


def test_the_button_leads_to_the_pair_with_the_way_back(browser: TestClient) -> None:
    home = browser.get("/")
    response = browser.get("/connect")

    assert '<a class="button" href="/connect">Connect with Qonto</a>' in home.text
    assert response.status_code == 302
    assert response.headers["location"].startswith(f"{PAIR_URL}/start?context=")
    assert response.headers["location"].endswith(
        "&return_to=http%3A%2F%2Flocalhost%3A8000%2Fconnected#"
    )


def test_each_connection_has_a_context_of_its_own(browser: TestClient) -> None:
    contexts = [connect(browser) for _ in range(3)]

    assert len(set(contexts)) == 3
    assert all(len(context) == 43 for context in contexts)


def test_the_pair_of_this_session_is_confirmed(
    browser: TestClient, subscriber: SubscriberStandIn
) -> None:
    context = connect(browser)

    response = come_back(browser, context)

    assert subscriber.confirmed == [{"authorization_id": AUTHORIZATION_ID, "context": context}]
    assert (response.status_code, response.headers["location"]) == (303, "/connection#_")


def test_a_forwarded_links_context_is_never_confirmed(
    browser: TestClient, subscriber: SubscriberStandIn
) -> None:
    """The sender asked for the connection; the person who followed the link comes back."""
    context_of_the_sender = connect(new_browser(subscriber))

    response = come_back(browser, context_of_the_sender)

    assert response.headers["location"] == "/not-asked#_"
    page = browser.get("/not-asked")
    assert page.status_code == 403
    assert "This browser did not ask for that" in page.text
    assert subscriber.confirmed == []


@pytest.mark.parametrize("context", ["", "made-up", "ü", None])
def test_a_context_that_this_session_did_not_make_is_refused(
    browser: TestClient, subscriber: SubscriberStandIn, context: str | None
) -> None:
    own_context = connect(browser)

    response = come_back(browser, context)
    own_return = come_back(browser, own_context)

    assert response.headers["location"] == "/not-asked#_"
    assert own_return.headers["location"] == "/connection#_"
    assert [pair["context"] for pair in subscriber.confirmed] == [own_context]


def test_repeated_return_shows_the_connection_and_confirms_once(
    browser: TestClient, subscriber: SubscriberStandIn
) -> None:
    context = connect(browser)
    first = come_back(browser, context)

    again = come_back(browser, context)
    other = browser.get("/connected", params={"authorization_id": OTHER_ID, "context": context})

    assert again.headers["location"] == first.headers["location"] == "/connection#_"
    assert other.headers["location"] == "/not-asked#_"
    assert len(subscriber.confirmed) == 1


def test_two_tabs_both_come_back(browser: TestClient, subscriber: SubscriberStandIn) -> None:
    contexts = [connect(browser), connect(browser)]

    for context in contexts:
        come_back(browser, context)

    assert [pair["context"] for pair in subscriber.confirmed] == contexts


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        ("denied", "Nothing was connected"),
        ("expired", "That took too long"),
        ("failed", "That did not work"),
        ("made-up", "That did not work"),
        ("", "That did not work"),
    ],
)
def test_another_outcome_is_said_and_can_be_tried_again(
    browser: TestClient, subscriber: SubscriberStandIn, outcome: str, sentence: str
) -> None:
    come_back(browser, connect(browser), outcome)

    page = browser.get("/connection")

    assert sentence in page.text
    assert 'href="/connect"' in page.text
    assert subscriber.confirmed == []


def test_a_confirmation_that_did_not_arrive_can_be_tried_again(
    browser: TestClient, subscriber: SubscriberStandIn
) -> None:
    context = connect(browser)

    subscriber.down = True
    first = come_back(browser, context)
    subscriber.down = False
    second = come_back(browser, context)

    assert (first.status_code, second.status_code) == (503, 303)
    assert 'href="">Try again' in first.text


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        ({"status": "pending"}, "Finishing…"),
        ({"status": "connected"}, "Connected to Qonto"),
        ({"status": "connected", "organization": "Martin & <b>"}, "to Martin &amp; &lt;b&gt;"),
        ({"status": "failed"}, "That did not work"),
        ({"status": "expired"}, "That took too long"),
        ({"status": "lost"}, "We did not hear back"),
        ({"status": "failed", "organization": None}, "That did not work"),
        ({}, "Finishing…"),
    ],
)
def test_the_page_says_connected_only_when_the_subscriber_does(
    browser: TestClient,
    subscriber: SubscriberStandIn,
    connection: dict[str, str | None],
    sentence: str,
) -> None:
    context = connect(browser)
    come_back(browser, context)
    subscriber.connection = connection

    page = browser.get("/connection")

    assert sentence in page.text
    assert ("Connected to" in page.text) == (connection.get("status") == "connected")
    assert subscriber.asked == {"authorization_id": AUTHORIZATION_ID, "context": context}


def test_a_connection_whose_event_never_comes_is_given_up(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_back(browser, connect(browser))

    before = browser.get("/connection")
    later = time.time() + CODE_LIFETIME + 1
    monkeypatch.setattr(time, "time", lambda: later)
    after = browser.get("/connection")

    assert "Finishing…" in before.text
    assert "That took too long" in after.text


@pytest.mark.parametrize("authorization_id", ["", "made-up", AUTHORIZATION_ID + "0"])
def test_what_is_no_authorization_id_is_not_confirmed(
    browser: TestClient, subscriber: SubscriberStandIn, authorization_id: str
) -> None:
    query = {"authorization_id": authorization_id, "context": connect(browser)}

    response = browser.get("/connected", params=query | {"outcome": "granted"})

    assert response.headers["location"] == "/not-asked#_"
    assert subscriber.confirmed == []


def test_a_subscriber_that_does_not_answer_leaves_the_page_waiting(
    browser: TestClient, subscriber: SubscriberStandIn
) -> None:
    come_back(browser, connect(browser))
    subscriber.down = True

    page = browser.get("/connection")

    assert "Finishing…" in page.text


def test_a_browser_without_a_connection_is_sent_home(browser: TestClient) -> None:
    response = browser.get("/connection")

    assert (response.status_code, response.headers["location"]) == (303, "/#_")
