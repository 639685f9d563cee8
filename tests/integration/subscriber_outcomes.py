"""The matrix of the example subscriber: each fault and kill while it handles a message.

The message is delivered again, as the queue does, until the function has handled it.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from uuid import uuid4

from demo.gateway import LambdaContext
from demo.local_aws import LocalAws
from tests.integration.matrix import KILL, LANES, Case, calls, inject, meanwhile
from tests.support.faults import Attempt, Fault, FaultProxy, Hurry, Response
from tests.support.lambda_runtime import FunctionError
from tests.support.subscription import (
    TOKENS,
    Example,
    MockQonto,
    confirmation_of,
    granted,
    later_than,
    load,
)

COLUMNS = "Comes again | Exchanges | Grant | The app reads"
_FORKSERVER = get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["tests.support.subscription"])
_STATUS = {Fault.DENIED: 401, Fault.THROTTLED: 429, Fault.FAILED: 500}


class QontoProxy(FaultProxy):
    """A proxy before mock Qonto. Its error responses are statuses, and name no OAuth error.

    *received* counts how often each code was sent, and how often Qonto got each refresh token.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, "")
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
        url = self.proxy.url
        self.environment = {"TOKEN_ENDPOINT": f"{url}/oauth2/token", "API_URL": url}
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
        self._environment = environment | proxy.endpoints
        self._start()

    def _start(self) -> None:
        self._connection, child = _FORKSERVER.Pipe()
        self._process = _FORKSERVER.Process(
            target=_serve, args=(child, self._environment), daemon=True
        )
        self._process.start()
        child.close()  # so that the end of the process ends the connection

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self.kill()
        self._process.join()

    def restart(self) -> None:
        self.stop()
        self._start()

    def __call__(self, event: dict[str, Any], _context: object = None) -> dict[str, Any]:
        """Return the response to *event*, or raise a `FunctionError`.

        A process that is killed leaves all its messages, and a new one follows.
        """
        self._connection.send(event)
        try:
            result: dict[str, Any] = json.loads(self._connection.recv())
        except (EOFError, ConnectionError):
            self.restart()
            if "Records" not in event:
                raise FunctionError("Runtime.ExitError", "killed") from None
            messages = [record["messageId"] for record in event["Records"]]
            return {"batchItemFailures": [{"itemIdentifier": each} for each in messages]}
        if "errorType" in result:
            raise FunctionError(result["errorType"], result["errorMessage"])
        return result


def _serve(connection: Connection, environment: dict[str, str]) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - the log, for as long as it runs
    subscriber, tokens = load(environment), load(environment, TOKENS)
    while True:
        try:
            event = connection.recv()
        except EOFError:  # the test has ended
            return
        try:
            handler = subscriber if "Records" in event else tokens
            result = handler(event, LambdaContext("subscriber"))
        except Exception as error:  # noqa: BLE001 - Lambda's response to any
            result = {"errorType": type(error).__name__, "errorMessage": str(error)}
        connection.send(json.dumps(result))  # as Lambda does


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
        """Deliver a message, and tell whether the function handled it."""
        return not self.function(lambda_event(json.dumps(message)))["batchItemFailures"]


@contextmanager
def lanes(
    aws: LocalAws, microburst: str, topic_arn: str, number: int = LANES
) -> Iterator[list[Lane]]:
    """Run processes and proxies inside the block, before one stack of the example."""
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
            function = Function(environment, proxy)
            block.callback(function.stop)
            found.append(Lane(example, function, qonto, queue_url))
        yield found


@dataclass(frozen=True, eq=False)
class Scenario:
    """The messages of a case, by name; fault_calls.toml describes the fields."""

    at: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    end: Sequence[str] = ("connected",)
    qonto: str = ""
    code: str = ""
    scope: str = "offline_access organization.read"


CALLS = calls("subscriber", Scenario)


def outcome(lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of *case*, with an authorization of its own."""
    scenario = case.call.scenario
    messages = _messages(lane.qonto, scenario)
    order = [*scenario.before, scenario.at, *scenario.after]
    events = [messages[name] for name in dict.fromkeys(order) if "event" in name]
    if case.call.operation == "GetSecretValue":
        lane.function.restart()  # it keeps the secret for a minute
    assert all(lane.handle(messages[name]) for name in scenario.before)
    with lane.failing(case):
        comes_again = not lane.handle(messages[scenario.at])
    for name in [scenario.at] * comes_again + [*scenario.after]:
        if not lane.handle(messages[name]):  # its claim is too young
            for event in events:
                if lane.example.grant(event)["status"] == "exchanging":
                    lane.example.outlive_claim(event)
            assert lane.handle(messages[name])

    found = _found(lane, events)
    exchanges, grants, tokens, app = zip(*found, strict=True)
    assert max(exchanges) <= 1
    assert tokens == tuple(grant == "connected" for grant in grants)
    assert grants == tuple(scenario.end) or (case.call.may_lose and grants == ("lost",))
    assert app[-1] == grants[-1]
    assert app[-1] != "connected" or exchanges[-1] == 1
    assert all(lane.handle(messages[name]) for name in order)
    assert _found(lane, events) == found
    cells = ["no", "yes"][comes_again], ", ".join(map(str, exchanges)), ", ".join(grants), app[0]
    return " | ".join(cells)


def _found(lane: Lane, events: list[dict[str, Any]]) -> list[tuple[int, str, bool, str | None]]:
    """Return of each event how often its code was sent, the grant, and what the app reads."""
    found = []
    for event in events:
        grant = lane.example.grant(event)
        sent = lane.qonto.proxy.received[event["data"]["code"]]
        app = lane.example.connection(event).get("status")
        found.append((sent, grant["status"], "tokens" in grant, app))
    return found


def _messages(qonto: MockQonto, scenario: Scenario) -> dict[str, dict[str, Any]]:
    code = f"{scenario.code} {uuid4()}" if scenario.code else qonto.allow()
    event = granted(qonto, granted_scope=scenario.scope, code=code)
    confirmation = confirmation_of(event)
    return {
        "event": event,
        "later event": later_than(event, qonto),
        "confirmation": confirmation,
        "repudiation": confirmation | {"repudiated": True},
    }


def lambda_event(body: str) -> dict[str, Any]:
    """Return the event with which Lambda delivers a message with *body*."""
    attributes = {"SentTimestamp": str(int(time.time() * 1000))}
    record = {"messageId": str(uuid4()), "body": body, "attributes": attributes}
    return {"Records": [record | {"eventSource": "aws:sqs"}]}
