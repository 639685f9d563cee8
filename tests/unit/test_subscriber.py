"""The subscriber exchanges the code of a confirmed pair, once, and no other."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from starlette.datastructures import FormData
from starlette.testclient import TestClient

from demo import qonto
from demo.subscriber import (
    Confirmation,
    Connection,
    Exchange,
    ExchangeError,
    GrantedData,
    Subscriber,
    Tokens,
    consume,
    create_app,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ARRIVED_AT = 1_800_000_000.0
CODE = "ory_ac_AbC" + "x" * 84
PAIR = Confirmation(authorization_id="5b0f5a0e-0000-4000-8000-000000000001", context="ours")
REDIRECT_URI = "http://localhost:8001/callback"
STAND_IN = "http://127.0.0.1:8002"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = ARRIVED_AT

    def __call__(self) -> float:
        return self.seconds


class RecordingExchange:
    """Brings tokens for every code, or the failure it was given; keeps the codes."""

    def __init__(self, failure: ExchangeError | None = None) -> None:
        self.codes: list[str] = []
        self.failure = failure

    async def __call__(self, data: GrantedData) -> Connection:
        self.codes.append(data.code)
        if self.failure:
            raise self.failure
        return Connection(Tokens(access_token="ory_at_" + "y" * 87), "Atelier Martin")


def granted(**data: str | None) -> str:
    """Return a granted event as the contract has it; None leaves a member out."""
    members = {
        "environment": "sandbox",
        "client_id": "client",
        "redirect_uri": REDIRECT_URI,
        "token_endpoint": f"{STAND_IN}/oauth2/token",
        "requested_scope": "offline_access organization.read",
        "context": PAIR.context,
        "started_at": rfc3339(ARRIVED_AT - 90),
        "code": CODE,
        "code_expires_at": rfc3339(ARRIVED_AT + 600),
    }
    return event("granted", members | data)


def failed(**data: str | None) -> str:
    return event("failed", {"error": "access_denied"} | data)


def event(kind: str, data: dict[str, Any]) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": "0a1b2c3d-0000-5000-8000-000000000001",
            "source": "/qonto-connect/sandbox/client",
            "type": f"qonto-connect.authorization.{kind}.v1",
            "subject": PAIR.authorization_id,
            "time": rfc3339(ARRIVED_AT),
            "data": {name: value for name, value in data.items() if value is not None},
        }
    )


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def settle(subscriber: Subscriber) -> None:
    asyncio.run(subscriber.settle())


def page(subscriber: Subscriber) -> str:
    return TestClient(create_app(subscriber), "http://localhost:8003").get("/").text


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange() -> RecordingExchange:
    return RecordingExchange()


@pytest.fixture
def subscriber(exchange: RecordingExchange, clock: Clock) -> Subscriber:
    return Subscriber(exchange, clock)


# What is exchanged


def test_a_code_is_not_exchanged_before_its_pair_is_confirmed(
    subscriber: Subscriber, exchange: RecordingExchange
) -> None:
    subscriber.take_in(granted())

    settle(subscriber)

    assert exchange.codes == []
    assert subscriber.status(PAIR.authorization_id) == {"status": "pending"}


def test_the_code_of_a_confirmed_pair_is_exchanged(
    subscriber: Subscriber, exchange: RecordingExchange
) -> None:
    subscriber.take_in(granted())
    subscriber.confirm(PAIR)

    settle(subscriber)

    assert exchange.codes == [CODE]
    assert subscriber.status(PAIR.authorization_id) == {
        "status": "connected",
        "organization": "Atelier Martin",
    }


def test_a_confirmation_may_come_before_its_event(
    subscriber: Subscriber, exchange: RecordingExchange
) -> None:
    subscriber.confirm(PAIR)
    subscriber.take_in(granted())

    settle(subscriber)

    assert exchange.codes == [CODE]


@pytest.mark.parametrize("context", ["theirs", None])
def test_a_code_of_another_context_is_not_exchanged(
    subscriber: Subscriber, exchange: RecordingExchange, context: str | None
) -> None:
    subscriber.take_in(granted(context=context))
    subscriber.confirm(PAIR)

    settle(subscriber)

    assert exchange.codes == []


def test_an_event_delivered_twice_is_exchanged_once(
    subscriber: Subscriber, exchange: RecordingExchange
) -> None:
    subscriber.confirm(PAIR)

    subscriber.take_in(granted())
    settle(subscriber)
    subscriber.take_in(granted())
    settle(subscriber)

    assert exchange.codes == [CODE]
    assert "2 times, taken in once" in page(subscriber)


def test_an_attempt_is_on_record_before_the_request_leaves(clock: Clock) -> None:
    """A request that settles the same events again, while it runs, changes nothing."""
    codes = []

    async def exchange(data: GrantedData) -> Connection:
        codes.append(data.code)
        await busy.settle()
        return Connection(Tokens(access_token="ory_at_"))

    busy = Subscriber(exchange, clock)
    busy.take_in(granted())
    busy.confirm(PAIR)

    settle(busy)

    assert codes == [CODE]


def test_a_failed_exchange_is_not_tried_again(clock: Clock) -> None:
    exchange = RecordingExchange(ExchangeError("invalid_grant: <b>used</b>"))
    subscriber = Subscriber(exchange, clock)
    subscriber.take_in(granted())
    subscriber.confirm(PAIR)

    settle(subscriber)
    settle(subscriber)

    assert exchange.codes == [CODE]
    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}
    assert "invalid_grant: &lt;b&gt;used&lt;/b&gt;" in page(subscriber)


def test_a_code_that_nobody_confirmed_in_time_is_never_exchanged(
    subscriber: Subscriber, exchange: RecordingExchange, clock: Clock
) -> None:
    subscriber.take_in(granted())

    clock.seconds += 600
    settle(subscriber)
    subscriber.confirm(PAIR)
    settle(subscriber)

    assert exchange.codes == []
    assert subscriber.status(PAIR.authorization_id) == {"status": "expired"}
    assert "Never confirmed" in page(subscriber)


def test_a_code_is_exchanged_until_its_last_second(
    subscriber: Subscriber, exchange: RecordingExchange, clock: Clock
) -> None:
    subscriber.take_in(granted())
    subscriber.confirm(PAIR)

    clock.seconds += 599
    settle(subscriber)

    assert exchange.codes == [CODE]


def test_a_confirmed_pair_whose_event_never_comes_expires(
    subscriber: Subscriber, clock: Clock
) -> None:
    subscriber.confirm(PAIR)

    before = subscriber.status(PAIR.authorization_id)
    clock.seconds += 600
    after = subscriber.status(PAIR.authorization_id)

    assert (before["status"], after["status"]) == ("pending", "expired")


def test_a_failed_event_fails_the_connection(
    subscriber: Subscriber, exchange: RecordingExchange
) -> None:
    subscriber.take_in(failed())
    subscriber.confirm(PAIR)

    settle(subscriber)

    assert exchange.codes == []
    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}


@pytest.mark.parametrize(
    "message",
    [
        "not JSON",
        "[]",
        granted().replace('"1.0"', '"0.3"'),
        granted().replace("granted.v1", "granted.v2"),
        granted(token_endpoint=None),
        granted(code_expires_at="2027-01-15T08:00:00"),
    ],
)
def test_an_invalid_message_is_shown_and_not_exchanged(
    subscriber: Subscriber, exchange: RecordingExchange, message: str
) -> None:
    subscriber.confirm(PAIR)

    subscriber.take_in(message)
    settle(subscriber)

    assert exchange.codes == []
    assert "not an event of the pair" in page(subscriber)
    assert CODE not in page(subscriber)


def test_without_an_exchange_the_code_is_shown_in_full(clock: Clock) -> None:
    subscriber = Subscriber(None, clock)
    subscriber.take_in(granted())
    subscriber.confirm(PAIR)

    settle(subscriber)

    assert CODE in page(subscriber)
    assert "yours to try by hand" in page(subscriber)
    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}


# What is shown


def test_secrets_are_shown_shortened(subscriber: Subscriber) -> None:
    subscriber.take_in(granted(code_verifier="v" * 43))
    subscriber.confirm(PAIR)
    settle(subscriber)

    text = page(subscriber)

    assert "ory_ac_AbC…(94 characters)" in text
    assert "ory_at_yyy…(94 characters)" in text
    assert "vvvvvvvvvv…(43 characters)" in text
    assert CODE not in text


def test_an_error_is_shown_escaped(subscriber: Subscriber) -> None:
    subscriber.take_in(failed(error="<b>", error_description="<script>alert(1)</script>"))

    text = page(subscriber)

    assert "&lt;b&gt;" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_a_late_watcher_sees_what_came_before_and_then_each_change(
    subscriber: Subscriber,
) -> None:
    async def watch() -> list[str]:
        ending = anyio.Event()
        entries = subscriber.watch(ending)
        states = [str((await anext(entries)).state)]
        subscriber.confirm(PAIR)
        await subscriber.settle()
        ending.set()
        return states + [str(entry.state) async for entry in entries]

    subscriber.take_in(granted())

    states = asyncio.run(watch())

    # Each of the two changes, exchanging and connected, shows the entry as it is by then.
    assert states == ["waiting", "connected", "connected"]


# What the app may ask


@pytest.mark.parametrize("body", [b"", b"[]", b'{"authorization_id": "", "context": "c"}'])
def test_a_bad_confirmation_is_answered_with_what_is_wrong(
    subscriber: Subscriber, body: bytes
) -> None:
    client = TestClient(create_app(subscriber), "http://localhost:8003")

    response = client.post("/confirmations", content=body)

    assert response.status_code == 400
    assert response.json()["error"]


def test_a_confirmation_is_accepted(subscriber: Subscriber, exchange: RecordingExchange) -> None:
    client = TestClient(create_app(subscriber), "http://localhost:8003")
    subscriber.take_in(granted())

    response = client.post("/confirmations", json=PAIR.model_dump())
    settle(subscriber)

    assert response.status_code == 202
    assert exchange.codes == [CODE]
    status = client.get(f"/connections/{PAIR.authorization_id}").json()
    assert status["status"] == "connected"


def test_another_host_name_reads_nothing(subscriber: Subscriber) -> None:
    client = TestClient(create_app(subscriber), "http://rebound.example:8003")

    response = client.get("/")

    assert response.status_code == 400


# The exchange itself, at the stand-in for Qonto


class Qonto:
    """The stand-in behind a transport, with a person who always allows."""

    def __init__(self, clock: Callable[[], float], staging_token: str = "") -> None:
        self.server = qonto.AuthorizationServer(
            "client", "secret", [REDIRECT_URI], staging_token, clock
        )
        self.transport = httpx2.ASGITransport(qonto.create_app(self.server))

    def allow(self, **changes: str) -> str:
        query = {
            "client_id": "client",
            "redirect_uri": REDIRECT_URI,
            "scope": "offline_access organization.read",
            "response_type": "code",
            "state": "a-state-of-enough-characters",
        }
        login = self.server.begin(query | changes, "browser")
        scopes = [("scope", scope) for scope in login.request.scopes]
        picked = ("organization", qonto.ORGANIZATIONS[0].id)
        form = FormData([("decision", "allow"), picked, *scopes])
        return str(httpx2.URL(self.server.answer(login, form)).params["code"])


def connect(exchange: Exchange, clock: Clock, message: str) -> Subscriber:
    subscriber = Subscriber(exchange, clock)
    subscriber.take_in(message)
    subscriber.confirm(PAIR)
    settle(subscriber)
    return subscriber


def test_the_exchange_authenticates_in_the_body_and_asks_for_the_organization(
    clock: Clock,
) -> None:
    stand_in = Qonto(clock)
    exchange = Exchange("secret", api_url=STAND_IN, transport=stand_in.transport)

    subscriber = connect(exchange, clock, granted(code=stand_in.allow()))

    assert stand_in.server.exchanges_succeeded == 1
    assert subscriber.status(PAIR.authorization_id) == {
        "status": "connected",
        "organization": qonto.ORGANIZATIONS[0].name,
    }


def test_the_exchange_sends_the_verifier_and_the_staging_token(clock: Clock) -> None:
    stand_in = Qonto(clock, staging_token="staging")
    exchange = Exchange("secret", staging_token="staging", transport=stand_in.transport)
    code = stand_in.allow(
        code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",  # RFC 7636, appendix B
        code_challenge_method="S256",
    )
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    subscriber = connect(exchange, clock, granted(code=code, code_verifier=verifier))

    assert subscriber.status(PAIR.authorization_id) == {"status": "connected"}


def test_tokens_without_a_name_for_the_organization_are_still_a_connection(clock: Clock) -> None:
    stand_in = Qonto(clock)
    exchange = Exchange("secret", api_url=STAND_IN, transport=stand_in.transport)
    code = stand_in.allow(scope="offline_access")

    subscriber = connect(exchange, clock, granted(code=code))

    assert subscriber.status(PAIR.authorization_id) == {"status": "connected"}


def test_a_refused_exchange_says_why(clock: Clock) -> None:
    exchange = Exchange("wrong", transport=Qonto(clock).transport)

    subscriber = connect(exchange, clock, granted())

    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}
    assert "invalid_client" in page(subscriber)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, json={}),
        httpx2.Response(200, json=[]),
        httpx2.Response(200, text="not JSON"),
        httpx2.Response(502, text="<html>"),
    ],
)
def test_an_answer_without_tokens_is_a_failure(clock: Clock, answer: httpx2.Response) -> None:
    exchange = Exchange("secret", transport=httpx2.MockTransport(lambda _request: answer))

    subscriber = connect(exchange, clock, granted())

    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}


@pytest.mark.parametrize("token_endpoint", ["", "http://[", "nowhere"])
def test_an_impossible_token_endpoint_is_a_failure(clock: Clock, token_endpoint: str) -> None:
    subscriber = connect(Exchange("secret"), clock, granted(token_endpoint=token_endpoint))

    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}


def test_an_exchange_that_gets_no_answer_is_a_failure(clock: Clock) -> None:
    def time_out(request: httpx2.Request) -> httpx2.Response:
        message = "no answer"
        raise httpx2.ReadTimeout(message, request=request)

    exchange = Exchange("secret", transport=httpx2.MockTransport(time_out))

    subscriber = connect(exchange, clock, granted())

    assert subscriber.status(PAIR.authorization_id) == {"status": "failed"}


# The queue


class Stopped(threading.Event):
    """An event that nobody waits for."""

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout == 1
        return self.is_set()


class Queue:
    """A queue that delivers its messages until they are deleted, then stops its consumer."""

    def __init__(self, *bodies: str) -> None:
        self.stopped = Stopped()
        self.log: list[str] = []
        self.faults = 0
        self._messages = {body: {"Body": body, "ReceiptHandle": body} for body in bodies}

    def receive_message(self, **_: object) -> dict[str, list[dict[str, str]]]:
        if self.faults:
            self.faults -= 1
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:8004")
        if not self._messages:
            self.stopped.set()
        return {"Messages": list(self._messages.values())} if self._messages else {}

    def delete_message(self, **call: str) -> None:
        self.log.append(f"deleted {call['ReceiptHandle']}")
        del self._messages[call["ReceiptHandle"]]

    def consume(self) -> None:
        def take_in(body: str) -> None:
            self.log.append(f"taken in {body}")

        consume(cast("SQSClient", self), "queue-url", take_in, self.stopped)


def test_a_message_is_deleted_after_it_was_taken_in() -> None:
    queue = Queue("one", "two")

    queue.consume()

    assert queue.log == ["taken in one", "deleted one", "taken in two", "deleted two"]


def test_a_stopped_consumer_leaves_its_messages_in_the_queue() -> None:
    queue = Queue("one")
    queue.stopped.set()

    queue.consume()

    assert queue.log == []


def test_a_queue_that_does_not_answer_is_asked_again() -> None:
    queue = Queue("one")
    queue.faults = 2

    queue.consume()

    assert queue.log == ["taken in one", "deleted one"]
