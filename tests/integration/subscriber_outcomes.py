"""The outcome of every fault and kill at every AWS call of the example subscriber.

A case delivers messages to the function, one of them with a fault, and then delivers that message
again, as the queue does, until the function has handled it.
"""

import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from demo import event_source
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws
from tests.integration.faults import Fault, FaultProxy, fault_proxies
from tests.integration.kills import APPLIED, BEFORE
from tests.integration.outcomes import FAULTS
from tests.integration.subscription import (
    ExampleSubscriber,
    MockQonto,
    confirmation_of,
    granted,
    load,
)
from tests.lambda_runtime import FunctionError

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

LANES = 12
FIRST, EVERY, KILL = "first attempt", "every attempt", "process killed"
_ATTEMPTS = 3
_FORKSERVER = get_context("forkserver")
_FORKSERVER.set_forkserver_preload(["tests.integration.subscription"])


class CountingQonto(MockQonto):
    """Mock Qonto that counts how often its token endpoint received each code or refresh token."""

    def __init__(self) -> None:
        super().__init__()
        self.received: Counter[str] = Counter()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/oauth2/token":
            await super()._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        form = parse_qs(body.decode())
        self.received.update(form.get("code") or form["refresh_token"])

        async def receive_body() -> Message:
            return {"type": "http.request", "body": body}

        await super()._app(scope, receive_body, send)


class Function:
    """A process that runs a real handler behind *proxy*, and that can be killed at any time.

    *load_handler* loads it: `load` or `load_tokens`.
    """

    def __init__(
        self,
        environment: dict[str, str],
        proxy: FaultProxy,
        load_handler: Callable[[dict[str, str]], Handler] = load,
    ) -> None:
        self.proxy = proxy
        self._arguments = load_handler, environment | proxy.endpoints
        self._start()

    def __enter__(self) -> Self:
        """Return the function, to be stopped at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process."""
        self.kill()
        self._process.join()

    def restart(self) -> None:
        """Replace the process."""
        self.kill()
        self._process.join()
        self._start()

    def _start(self) -> None:
        self._connection, child = _FORKSERVER.Pipe()
        self._process = _FORKSERVER.Process(
            target=_serve, args=(child, *self._arguments), daemon=True
        )
        self._process.start()
        child.close()  # so that the end of the process ends the connection

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._process.kill()

    def __call__(self, event: dict[str, Any], _context: object = None) -> dict[str, Any]:
        """Handle *event*; a process that is killed leaves all messages, and a new one follows.

        Raises:
            FunctionError: the handler raised, or the process was killed without a message.

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


def _serve(
    connection: Connection,
    load_handler: Callable[[dict[str, str]], Handler],
    environment: dict[str, str],
) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - the log, for as long as it runs
    handler = load_handler(environment)
    while True:
        try:
            event = connection.recv()
        except EOFError:  # the test has ended
            return
        try:
            result = handler(event, LambdaContext("subscriber"))
        except Exception as error:  # noqa: BLE001 - Lambda's response to any
            result = {"errorType": type(error).__name__, "errorMessage": str(error)}
        connection.send(json.dumps(result))  # as Lambda does


@dataclass(frozen=True)
class Scenario:
    """The messages of a case, by name, and the token endpoint during the message that has a fault.

    Attributes:
        at: the message with the fault.
        before: the messages that were handled before it.
        after: the messages that follow it.
        end: the status of each grant at the end, if nothing fails.
        instead: the response of the token endpoint in the place of its own.
        down: whether the token endpoint refuses connections.
        granted_scope: the event's.

    """

    at: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    end: tuple[str, ...] = ("connected",)
    instead: Response | None = None
    down: bool = False
    granted_scope: str = "offline_access organization.read"


EVENT = Scenario("event", after=("confirmation",))
EVENT_AGAIN = Scenario("event", before=("event",), after=("confirmation",))
CONFIRMED = Scenario("confirmation", before=("event",))
UNREACHABLE = Scenario("confirmation", before=("event",), down=True)
MORE_SCOPE = Scenario(
    "confirmation",
    before=("event",),
    end=("failed",),
    granted_scope="offline_access organization.read payment.write",
)
REFUSED = Scenario(
    "confirmation",
    before=("event",),
    end=("failed",),
    instead=JSONResponse({"error": "invalid_grant"}, 400),
)
UNKNOWN = Scenario(
    "confirmation", before=("event",), end=("lost",), instead=PlainTextResponse("", 500)
)
LATER = Scenario("later event", before=("event", "confirmation"), end=("superseded", "connected"))
REPUDIATED = Scenario("repudiation", before=("event", "confirmation"), end=("repudiated",))
REPUDIATED_FIRST = Scenario(
    "event", before=("repudiation",), after=("confirmation",), end=("repudiated",)
)


class Call[S](NamedTuple):
    """A call of the subscriber.

    Attributes:
        name: its name in docs/fault-matrix.md.
        scenario: the messages that lead to it.
        nth: its number among the calls of this operation while the message is handled.
        may_lose: whether a fault here can end the grant as `lost`: the claim is stored.

    """

    name: str
    scenario: S
    nth: int = 1
    may_lose: bool = False

    @property
    def operation(self) -> str:
        """The name of the AWS operation."""
        return self.name.split("`")[1]


EXCHANGE = Call("exchange: `POST` of the code to the token endpoint", CONFIRMED, may_lose=True)
CLAIM = Call("claim: `UpdateItem` of the grant", CONFIRMED, 1, may_lose=True)
CONNECT = Call("connect: `UpdateItem` of the grant, with the tokens", CONFIRMED, 2, may_lose=True)
RELEASE = Call(
    "release: `UpdateItem` of the grant, when no connection to Qonto was possible",
    UNREACHABLE,
    2,
    may_lose=True,
)
SECRET = Call("secret: `GetSecretValue`", CONFIRMED)
LOCK = Call("lock: `PutItem` of the code's hash", CONFIRMED, 2)
CALLS = (
    Call("hold: `PutItem` of the grant", EVENT),
    Call("read: `GetItem` of the grant, when the event comes again", EVENT_AGAIN),
    Call("look up: `GetItem` of the connection, for an event", EVENT),
    Call("confirm: `PutItem` of the connection", CONFIRMED),
    Call("find: `Query` of the grants, for a confirmation", CONFIRMED),
    Call("look up: `GetItem` of the connection, for a confirmation", CONFIRMED),
    Call("compare: `Query` of the grants, for a later one", CONFIRMED, 2),
    SECRET,
    LOCK,
    CLAIM,
    EXCHANGE,
    RELEASE,
    CONNECT,
    Call("name: `UpdateItem` of the grant, with the organization", CONFIRMED, 3),
    Call("conclude: `Query` of the grants, after the exchange", CONFIRMED, 3),
    Call("tell: `UpdateItem` of the connection", CONFIRMED, 4),
    Call("supersede: `UpdateItem` of an earlier grant", LATER, 4),
    Call("refuse: `UpdateItem` of the grant, for more scope than requested", MORE_SCOPE),
    Call("fail: `UpdateItem` of the grant, when Qonto refuses", REFUSED, 2, may_lose=True),
    Call("lose: `UpdateItem` of the grant, when Qonto responds with 500", UNKNOWN, 2),
    Call("find: `Query` of the grants, for a repudiation", REPUDIATED),
    Call("repudiate: `PutItem` of the connection", REPUDIATED),
    Call("find again: `Query` of the grants, for a repudiation", REPUDIATED, 2),
    Call("repudiate: `UpdateItem` of the grant", REPUDIATED),
    Call("repudiate: `UpdateItem` of the grant, when the event comes later", REPUDIATED_FIRST),
)


class Case[S](NamedTuple):
    """A fault of the first or of every attempt of a call, or a kill before or after it."""

    call: Call[S]
    attempts: str
    fault: str


def cases[S](calls: Iterable[Call[S]]) -> Iterator[Case[S]]:
    """Yield each fault at each of *calls*, and each kill."""
    for call in calls:
        if call is not EXCHANGE:
            yield from (Case(call, FIRST, fault) for fault in FAULTS)
            yield from (Case(call, EVERY, fault) for fault in FAULTS)
        yield from (Case(call, KILL, moment) for moment in (BEFORE, APPLIED))


class Outcome(NamedTuple):
    """The outcome of a case, when no message is left.

    Attributes:
        comes_again: whether the message with the fault was left in the queue.
        exchanges: how often the token endpoint received each code.
        grants: the status of each grant.
        tokens: whether each grant has tokens.
        app: the status that the app reads.
        left: whether a message could not be handled in the end.
        changed: whether another delivery of all messages changed anything.

    """

    comes_again: bool
    exchanges: tuple[int, ...]
    grants: tuple[str, ...]
    tokens: tuple[bool, ...]
    app: str | None
    left: bool
    changed: bool


class Lane(NamedTuple):
    """A process of the function, with a mock Qonto of its own."""

    function: Function
    qonto: CountingQonto


class Outcomes[L, C, O]:
    """Runs cases, several at a time, because they mostly wait for timeouts."""

    def __init__(self, lanes: Sequence[L], outcome: Callable[[L, C], O]) -> None:
        """Run as many cases at a time as there are *lanes*; *outcome* runs one."""
        self._number, self._outcome = len(lanes), outcome
        self._idle: SimpleQueue[L] = SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)

    def of(self, chosen: Sequence[C]) -> list[O]:
        """Run the cases and return their outcomes in the same order."""
        with ThreadPoolExecutor(self._number) as threads:
            return list(threads.map(self._run, chosen))

    def _run(self, case: C) -> O:
        lane = self._idle.get()
        try:
            return self._outcome(lane, case)
        finally:
            self._idle.put(lane)


def with_fault[R](
    case: Case[Any], proxy: FaultProxy, function: Function, send: Callable[[], R]
) -> R:
    """Return what *send* returns if the fault of *case* happens meanwhile, or kills *function*."""
    call, attempts, fault = case
    proxy.clear()  # the faults of earlier messages
    try:
        if attempts == KILL:
            held = Fault.HANGING if fault == BEFORE else Fault.HELD
            proxy.inject(call.operation, held, after=call.nth - 1, times=1)
            return killed(function, lambda: proxy.wait_for(call.operation), send)
        times = 1 if attempts == FIRST else _ATTEMPTS
        proxy.inject(call.operation, Fault(fault), after=call.nth - 1, times=times)
        result = send()
        assert proxy.attempts(call.operation), case  # else it tests nothing
        return result
    finally:
        proxy.clear()


def killed[R](function: Function, wait: Callable[[], object], send: Callable[[], R]) -> R:
    """Return what *send* returns if *function* is killed when *wait* returns."""
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(send)
        wait()
        function.kill()
        return result.result()


class _Run:
    """One case, with an authorization of its own."""

    def __init__(self, example: ExampleSubscriber, lane: Lane, case: Case[Scenario]) -> None:
        self._example, self._case = example, case
        self._function, self._qonto = lane
        self._scenario = case.call.scenario
        first = granted(self._qonto, granted_scope=self._scenario.granted_scope)
        later = granted(self._qonto, context=first["data"]["context"])
        in_a_minute = datetime.now(UTC) + timedelta(minutes=1)
        later |= {"subject": first["subject"], "time": in_a_minute.isoformat()}
        confirmation = confirmation_of(first)
        self._messages = {
            "event": first,
            "later event": later,
            "confirmation": confirmation,
            "repudiation": confirmation | {"repudiated": True},
        }
        self._order = (*self._scenario.before, self._scenario.at, *self._scenario.after)
        self._events = [self._messages[name] for name in dict.fromkeys(self._order) if "ev" in name]

    def outcome(self) -> Outcome:
        if self._case.call is SECRET:
            self._function.restart()  # it keeps the secret for a minute
        with nullcontext() if self._scenario.down else self._qonto.up():
            left = [name for name in self._scenario.before if not self._handle(name)]
            comes_again = not self._handle_with_fault()
        with self._qonto.up():
            again = (self._scenario.at,) if comes_again else ()
            left += [name for name in (*again, *self._scenario.after) if not self._settle(name)]
            ended = self._found()
            left += [name for name in self._order if not self._handle(name)]
            return Outcome(comes_again, *ended, bool(left), self._found() != ended)

    def _handle(self, name: str) -> bool:
        """Deliver a message, and tell whether the function handled it."""
        return not self._function(lambda_event(json.dumps(self._messages[name])))[
            "batchItemFailures"
        ]

    def _settle(self, name: str) -> bool:
        """Deliver a message until it is handled; the first time, its claim may be too young."""
        if self._handle(name):
            return True
        self._let_claims_age()
        return self._handle(name)

    def _handle_with_fault(self) -> bool:
        def handle() -> bool:
            return self._handle(self._scenario.at)

        self._qonto.instead = self._scenario.instead
        try:
            if self._case.call is not EXCHANGE:
                return with_fault(self._case, self._function.proxy, self._function, handle)
            self._qonto.breaks = "before" if self._case.fault == BEFORE else "after"
            return killed(self._function, self._wait_for_exchange, handle)
        finally:
            self._qonto.reset()

    def _wait_for_exchange(self) -> None:
        assert self._qonto.reached.wait(30)

    def _found(self) -> tuple[tuple[int, ...], tuple[str, ...], tuple[bool, ...], str | None]:
        exchanges = tuple(self._qonto.received[event["data"]["code"]] for event in self._events)
        items = [self._example.grant(event) for event in self._events]
        statuses = tuple(item["status"] for item in items)
        tokens = tuple("tokens" in item for item in items)
        return exchanges, statuses, tokens, self._example.status(self._events[0])

    def _let_claims_age(self) -> None:
        for event in self._events:
            if self._example.grant(event)["status"] == "exchanging":
                self._example.outlive_claim(event)


def lambda_event(body: str) -> dict[str, Any]:
    """Return the event with which Lambda delivers a message with *body*."""
    message: MessageTypeDef = {
        "MessageId": str(uuid4()),
        "ReceiptHandle": "",
        "MD5OfBody": "",
        "Body": body,
        "Attributes": {"SentTimestamp": str(int(time.time() * 1000))},
    }
    return event_source.lambda_event([message], "")


def tables(columns: str, found: Iterable[tuple[Case[Any], str]]) -> str:
    """Return one Markdown table per call, with a row for all faults with the same cells."""
    alike: defaultdict[str, defaultdict[str, dict[str, list[str]]]]
    alike = defaultdict(lambda: defaultdict(dict))
    for (call, attempts, fault), row in found:
        faults = alike[call.name][row]
        faults.setdefault(attempts, []).append(fault)
    lines = []
    for name, rows in alike.items():
        lines += [f"### {name}", "", f"| What fails | {columns} |"]
        lines.append("|---" * (columns.count("|") + 2) + "|")
        for row, faults in rows.items():
            texts = (f"{attempts}: {'; '.join(each)}" for attempts, each in faults.items())
            lines.append(f"| {'<br>'.join(texts)} | {row} |")
        lines.append("")
    return "\n".join(lines)


def documented(text: str) -> dict[tuple[str, str, str], str]:
    """Return the cells of each case in the tables *text*, by call, attempts and fault."""
    found: dict[tuple[str, str, str], str] = {}
    for part in text.split("### ")[1:]:
        name, *lines = part.strip().splitlines()
        for line in lines[3:]:
            what, cells = line.strip("| ").split(" | ", 1)
            for attempts, faults in (each.split(": ") for each in what.split("<br>")):
                found |= {(name, attempts, fault): cells for fault in faults.split("; ")}
    return found


COLUMNS = "Comes again | Exchanges | Grant | The app reads"


def cells(outcome: Outcome) -> str:
    """Return the cells of *outcome* in a table."""
    comes_again = "yes" if outcome.comes_again else "no"
    exchanges = ", ".join(map(str, outcome.exchanges))
    return f"{comes_again} | {exchanges} | {', '.join(outcome.grants)} | {outcome.app}"


@contextmanager
def subscriber_outcomes(
    aws: LocalAws, microburst: str, topic_arn: str, lanes: int = LANES
) -> Iterator[Outcomes[Lane, Case[Scenario], Outcome]]:
    """Run processes and proxies inside the block, and yield a runner with a stack of its own."""
    with ExitStack() as block:
        proxies = block.enter_context(fault_proxies(aws, microburst, lanes, retry_after=False))
        mocks = [CountingQonto() for _ in proxies]
        example = ExampleSubscriber(aws, topic_arn, mocks[0])
        functions = [
            block.enter_context(Function(example.environment | mock.environment, proxy))
            for proxy, mock in zip(proxies, mocks, strict=True)
        ]
        yield Outcomes(
            list(map(Lane, functions, mocks)),
            lambda lane, case: _Run(example, lane, case).outcome(),
        )
