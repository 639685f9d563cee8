"""The matrices of the example subscriber: each fault and kill while it handles a message.

The message is delivered again, as the queue does. For `tokens`, a case makes a connection, then
sends one request, or delivers one message that such a request sent to the stack itself. Then time
passes, the messages in the queue are delivered, and the caller asks again, unless it has its
response.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from uuid import uuid4

from demo import event_source
from demo.gateway import LambdaContext
from demo.local_aws import LocalAws
from tests.integration.matrix import KILL, LANES, Case, Matrix, calls, inject, meanwhile
from tests.support.faults import Attempt, Fault, FaultProxy, Hurry, Response
from tests.support.subscription import (
    SCOPE,
    TOKENS,
    Event,
    Example,
    MockQonto,
    confirmation_of,
    granted,
    lambda_event,
    later_than,
    load,
    qonto_at,
)

_FORKSERVER = get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["tests.support.subscription"])
_HANDLERS: list[Any] = []  # of the process: of messages, and of requests
_STATUS = {Fault.DENIED: 401, Fault.THROTTLED: 429, Fault.FAILED: 500}
NOTHING = "an empty queue"
MANY = 20  # deliveries, more than any case needs
FINAL = {"connected", "disconnected", "ended"}  # the caller does not ask again
IN_VAIN = {"unavailable", "disconnecting", "an error", "handled", "comes again"}
REMINDED = 24  # seconds until the first message arrives; by then a claim is over


class QontoProxy(FaultProxy):
    """A proxy before mock Qonto; *received* counts each code sent and refresh token received."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.received: Counter[str] = Counter()

    def serve(self, attempt: Attempt) -> None:
        self.received.update(parse_qs(attempt.body.decode()).get("code", []))
        super().serve(attempt)

    def _forwarded(self, attempt: Attempt, fault: Fault | None) -> Response:
        if fault in _STATUS:
            return _STATUS[fault], {}, b"{}"
        self.received.update(parse_qs(attempt.body.decode()).get("refresh_token", []))
        status, headers, body = super()._forwarded(attempt, None)
        return status, headers, body[: len(body) // 2] if fault is Fault.SHORTENED else body


class ProxiedQonto(MockQonto):
    """Mock Qonto behind a proxy of its own, with a clock that can run ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.proxy = QontoProxy(self.url)
        self.environment = qonto_at(self.proxy.url)
        self.seconds_ahead = 0
        self.server.now = lambda: time.time() + self.seconds_ahead

    def takes_any(self, code: str) -> bool:
        """Tell whether Qonto takes any token of the grant of *code*, one that was lost included."""
        grants = self.server._grants  # noqa: SLF001 - nothing outside sees them all
        grant = grants.get(code.rpartition(".")[2])
        return grant is not None and grant.is_exchanged and not grant.is_revoked


class Function:
    """A process of both real handlers behind *proxy*, one at a time; it can be killed."""

    def __init__(self, environment: dict[str, str], proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.environment = environment | proxy.endpoints
        self._start()

    def _start(self) -> None:
        self._process = ProcessPoolExecutor(1, _FORKSERVER, _load, (self.environment,))
        self._id = self._process.submit(os.getpid)

    def kill(self) -> None:
        os.kill(self._id.result(), signal.SIGKILL)

    def close(self) -> None:
        self._process.shutdown()

    def restart(self) -> None:
        self.close()
        self._start()

    def __call__(self, event: dict[str, Any], _context: object = None) -> dict[str, Any]:
        """Return the response to *event*, empty if there is an error."""
        try:
            return dict(self._process.submit(_handle, event).result())
        except BrokenProcessPool:
            self.restart()
        left = [{"itemIdentifier": each["messageId"]} for each in event.get("Records", [])]
        return {"batchItemFailures": left} if left else {}


def _load(environment: dict[str, str]) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - the log, for as long as it runs
    _HANDLERS[:] = load(environment), load(environment, TOKENS)


def _handle(event: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    handler = _HANDLERS["Records" not in event]
    try:
        response = handler(event, LambdaContext("subscriber"))
        return json.loads(json.dumps(response))  # as Lambda responds
    except Exception:  # noqa: BLE001 - Lambda's response to any
        return {}


class Lane(NamedTuple):
    """A process of both functions, with a mock Qonto and a queue of its own."""

    example: Example
    function: Function
    qonto: ProxiedQonto
    queue_url: str

    @contextmanager
    def failing(self, case: Case) -> Iterator[None]:
        """Let the fault of *case* happen inside the block, or kill the process in its call."""
        function, qonto, operation = self.function, self.qonto.proxy, case.call.operation
        proxy = qonto if operation in {"POST", "DELETE", "GET"} else function.proxy
        if operation == "GetSecretValue":
            function.restart()  # it keeps the secret for a minute
        function.proxy.clear()  # the faults of earlier messages
        inject(proxy, case)
        if case.call.scenario.qonto == "refused":
            qonto.refuse()
        elif case.call.scenario.qonto:
            qonto.inject("POST", Fault.FAILED)

        def kill() -> None:
            proxy.wait_for(operation, seconds=120)  # its process may have just started
            function.kill()

        with meanwhile(kill) if case.attempts == KILL else nullcontext():
            yield
        assert proxy.attempts(operation)  # else it tests nothing
        function.proxy.clear()
        qonto.clear()

    def handle(self, message: dict[str, Any]) -> bool:
        return not self.function(lambda_event(json.dumps(message)))["batchItemFailures"]

    def found(self, events: list[Event]) -> list[tuple[int, str, bool, str | None]]:
        """Return of each event how often its code was sent, the grant, and what the app reads."""
        return [
            (self.qonto.proxy.received[event["data"]["code"]], grant, "tokens" in kept, app)
            for event in events
            for grant, app, kept in [self.example.outcome(event)]
        ]


@contextmanager
def lanes(
    aws: LocalAws, microburst: str, topic_arn: str, number: int = LANES
) -> Iterator[list[Lane]]:
    with ExitStack() as block:
        found: list[Lane] = []
        for _ in range(number):
            qonto = ProxiedQonto()
            example = found[0].example if found else Example(aws, topic_arn, qonto)
            block.enter_context(qonto.proxy)
            block.enter_context(qonto.up())
            proxy = block.enter_context(Hurry(aws.endpoint_url, microburst))
            queue_url = aws.sqs.create_queue(QueueName=f"tokens-{uuid4()}")["QueueUrl"]
            environment = example.environment | qonto.environment | {"QUEUE_URL": queue_url}
            function = block.enter_context(closing(Function(environment, proxy)))
            found.append(Lane(example, function, qonto, queue_url))
        yield found


@dataclass(frozen=True, eq=False)
class Delivery:
    """The messages of a case, by name; fault_calls.toml describes the fields."""

    at: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    end: Sequence[str] = ("connected",)
    qonto: str = ""
    code: str = ""
    scope: str = SCOPE


def _delivered(lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of *case*, with an authorization of its own."""
    scenario: Delivery = case.call.scenario
    code = f"{scenario.code} {uuid4()}" if scenario.code else lane.qonto.allow()
    event = granted(lane.qonto, granted_scope=scenario.scope, code=code)
    confirmation = confirmation_of(event)
    messages: dict[str, Event] = {
        "event": event,
        "later event": later_than(event, lane.qonto),
        "confirmation": confirmation,
        "repudiation": confirmation | {"repudiated": True},
    }
    order = [*scenario.before, scenario.at, *scenario.after]
    events = [messages[name] for name in dict.fromkeys(order) if "event" in name]
    assert all(lane.handle(messages[name]) for name in scenario.before)
    with lane.failing(case):
        comes_again = not lane.handle(messages[scenario.at])
    for name in [scenario.at] * comes_again + [*scenario.after]:
        if not lane.handle(messages[name]):  # its claim is too young
            for each in events:
                if lane.example.grant(each)["status"] == "exchanging":
                    lane.example.outlive_claim(each)
            assert lane.handle(messages[name])

    found = lane.found(events)
    exchanges, grants, tokens, app = zip(*found, strict=True)
    assert max(exchanges) <= 1
    assert tokens == tuple(grant == "connected" for grant in grants)
    assert grants == tuple(scenario.end) or (case.call.may_lose and grants == ("lost",))
    assert app[-1] == grants[-1]
    assert app[-1] != "connected" or exchanges[-1] == 1
    assert all(lane.handle(messages[name]) for name in order)
    assert lane.found(events) == found
    cells = ["no", "yes"][comes_again], ", ".join(map(str, exchanges)), ", ".join(grants), app[0]
    return " | ".join(cells)


@dataclass(frozen=True, eq=False)
class Scenario:
    """The connection of a case, and its request; fault_calls.toml describes the fields."""

    at: str = "token"
    interrupted: str = ""
    end: str = "connected"
    lives: int = 0
    named: bool = True
    claimed: bool = False
    revoked: bool = False
    qonto: str = ""
    scope: str = SCOPE
    held: bool = False


def _asked(lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of *case*, with a connection of its own."""
    scenario: Scenario = case.call.scenario
    end = scenario.end
    connection = Connection(lane, scenario)
    request = scenario.interrupted or scenario.at
    if scenario.interrupted:
        lane.qonto.proxy.inject("POST", Fault.LOST)
        lane.qonto.proxy.inject("DELETE", Fault.RESET)
        connection.ask(request)
        lane.qonto.proxy.clear()
    with lane.failing(case):
        response = connection.ask(scenario.at)
    refreshes, status, *_ = connection.found()
    connection.age()
    message = connection.found()[1] if connection.settle() else None
    again = None if response in FINAL else connection.ask(request)
    connection.settle()
    found = connection.found()

    assert response in {end} | IN_VAIN
    assert message in {None, "connected", end}
    assert again in {None, end}
    assert found[1:] == (end, end == "connected", end)
    is_begun = refreshes or status.startswith("disconnecting")
    assert message or not is_begun  # else it would be forgotten if nobody asked again
    # Another message and another request change nothing, unless the token must still be refreshed.
    assert lane.handle(connection.subject | {"unfinished": True})
    connection.ask(request)
    connection.settle()
    is_due = response == "connected" and not sum(found[0])
    assert is_due or connection.found() == found
    assert not lane.qonto.server.reuses  # of a refresh token after its grace
    counts = ", ".join(map(str, found[0])) or "0"
    return " | ".join(each or "-" for each in (response, message, again, counts, end, end))


class Connection:
    """A connection whose grant is as a scenario says, and its caller."""

    def __init__(self, lane: Lane, scenario: Scenario) -> None:
        self._lane, self._qonto, self._example = lane, lane.qonto, lane.example
        self._qonto.reset()
        self._qonto.proxy.received.clear()
        self._qonto.seconds_ahead = 0
        self._event = granted(lane.qonto, granted_scope=scenario.scope)
        self.subject = {"authorization_id": self._event["subject"]}
        messages = [self._event, confirmation_of(self._event)]
        if scenario.held:
            messages.append(later_than(self._event, self._qonto, context=None))
        assert all(lane.handle(message) for message in messages)
        now = int(time.time())
        changes: dict[str, Any] = {"issued_at": now - 3600 + scenario.lives}
        if not scenario.named:
            changes["organization"] = None
        if scenario.claimed:
            changes["refresh"] = {"owner": "of-another-caller", "claimed_at": now}
        self._example.change(self._event, **changes)
        if scenario.revoked:
            self._qonto.revoke(self._grant["tokens"]["access_token"])

    @property
    def _grant(self) -> dict[str, Any]:
        return self._example.grant(self._event)

    def age(self, seconds: int = REMINDED) -> None:
        self._qonto.seconds_ahead += seconds
        changes: dict[str, Any] = {"issued_at": self._grant["issued_at"] - seconds}
        if claim := self._grant.get("refresh"):
            changes["refresh"] = claim | {"claimed_at": int(time.time()) - seconds}
        self._example.change(self._event, **changes)

    def ask(self, name: str) -> str:
        """Send a request, and return the status of the response; or deliver a message."""
        if name == "message":
            return self._poll()
        response = self._lane.function(self.subject | {"disconnect": name == "disconnect"})
        status = str(response.get("status", "an error"))
        if status == "connected":
            assert self._qonto.takes(response["access_token"])
        if status == "disconnected" and response["revoked"]:
            assert not self._qonto.takes_any(self._event["data"]["code"])
        return status

    def _poll(self) -> str:
        ends = [NOTHING]

        def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
            response = self._lane.function(event)
            ends.append("comes again" if response["batchItemFailures"] else "handled")
            return response

        queue = self._example.aws.sqs, self._lane.queue_url
        event_source.poll(*queue, handle, batch_size=1, retry_seconds=0)
        return ends[-1]

    def settle(self) -> int:
        """Deliver messages until the queue is empty; return how often one was delivered."""
        return next(number for number in range(MANY) if self._poll() == NOTHING)

    def found(self) -> tuple[tuple[int, ...], str, bool, str | None]:
        """Return the uses of each refresh token, the grant's status and tokens, and the app's."""
        received = self._qonto.proxy.received.items()
        refreshes = tuple(number for name, number in received if name.startswith("ory_rt_"))
        status, app, kept = self._example.outcome(self._event)
        return refreshes, status + ", unfinished" * ("refresh" in kept), "tokens" in kept, app


MATRICES = {
    "subscriber": Matrix(calls("subscriber", Delivery), _delivered),
    "tokens": Matrix(calls("tokens", Scenario), _asked),
}
