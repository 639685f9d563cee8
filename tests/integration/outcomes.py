"""The outcome of every fault at every AWS call: the tables of docs/fault-matrix.md."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import combinations, product
from queue import SimpleQueue
from typing import NamedTuple
from uuid import uuid4

from demo.local_aws import LocalAws, Stack
from tests.integration.connector import PARAMETERS, Browser, Connector, Response, Subscriber
from tests.integration.faults import Fault, FaultProxy, fault_proxies

WORKERS = 12
# A drip outlasts the clients' timeouts and ends at Lambda's, so test_kills.py covers it.
_EXCLUDED = {Fault.DELAYED, Fault.DRIPPING, Fault.HELD, Fault.THEN_REFUSED}
FAULTS = [fault for fault in Fault if fault not in _EXCLUDED]
REFUSED = "connection refused"
QONTO, RECEIVED, TRY_AGAIN = "sent on to Qonto", "*Received*", "*Try again*"
KILLED = "API Gateway's own 500"


class Call(StrEnum):
    """An AWS call of the connector; the value is its name in docs/fault-matrix.md."""

    ISSUE = "issue: `PutItem` of start"
    CLAIM = "claim: `UpdateItem` of callback"
    PUBLISH = "publish: `Publish` of callback"
    RECEIPT = "receipt: `PutItem` of callback"
    DELETE = "delete: `DeleteItem` of callback"
    LOOKUP = "lookup: `GetItem` of a callback that is repeated"

    @property
    def step(self) -> str:
        return self.value.partition(":")[0]

    @property
    def operation(self) -> str:
        return self.value.split("`")[1]


@dataclass(frozen=True)
class Case:
    """The faults of the attempts that fail.

    Attributes:
        faults: of each failing call: one for the first attempt, two for both, or REFUSED for all.

    """

    faults: tuple[tuple[Call, tuple[Fault, ...] | str], ...]


class Visit(NamedTuple):
    """What `Outcome` says of the user and the table."""

    seen: str
    stored: bool
    seen_then: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case.

    Attributes:
        seen: the page that the user saw.
        stored: whether the state was in the table afterwards.
        events: the number of events in the queue.
        seen_then: the page that the user saw when they went on: a minute later at the same URL, and
            after start at the callback.
        events_in_all: the number of events in the queue by then.
        ids: the number of different ids of these events.

    """

    seen: str
    stored: bool
    events: int
    seen_then: str
    events_in_all: int
    ids: int

    @property
    def code(self) -> str:
        """The short form: the first letter of `seen`, and the number of events in all."""
        return f"{self.seen.strip('*')[0]}{self.events_in_all}"


def singles() -> Iterator[tuple[Call, str, str, Case]]:
    """Yield each fault at each call, for the first attempt alone and for every attempt."""
    for call in Call:
        for fault in FAULTS:
            yield call, fault, "first attempt", _case((call, (fault,)))
            yield call, fault, "every attempt", _case((call, (fault, fault)))
        yield call, REFUSED, "every attempt", _case((call, REFUSED))


# The calls of one callback, in their order.
_CALLS = (Call.CLAIM, Call.PUBLISH, Call.RECEIPT, Call.DELETE)
# Two attempts of one call, or the first attempts of two.
PAIRS: dict[str, tuple[Call, ...]] = {
    f"{call.step}, first attempt / second attempt": (call,) for call in Call
} | {
    f"{one.step}, first attempt / {other.step}, first attempt": (one, other)
    for one, other in combinations(_CALLS, 2)
}


def pairs() -> Iterator[tuple[str, Fault, Fault, Case]]:
    """Yield each pair of faults at each pair of attempts."""
    for name, calls in PAIRS.items():
        for first, second in product(FAULTS, FAULTS):
            faults = [(first, second)] if len(calls) == 1 else [(first,), (second,)]
            yield name, first, second, _case(*zip(calls, faults, strict=True))


def _case(*faults: tuple[Call, tuple[Fault, ...] | str]) -> Case:
    return Case(faults)


class Outcomes:
    """Runs cases, several at a time, because they mostly wait for timeouts."""

    def __init__(self, aws: LocalAws, stack: Stack, proxies: Sequence[FaultProxy]) -> None:
        """Use *stack*, and run as many cases at a time as there are *proxies*."""
        self._aws, self._stack = aws, stack
        # Other tests use `NOW`, but here the local AWS would remove the expired items.
        self._now = int(time.time())
        self._subscriber = Subscriber(aws, stack)
        self._idle: SimpleQueue[tuple[Connector, FaultProxy]] = SimpleQueue()
        self._number = len(proxies)
        for proxy in proxies:
            self._idle.put((Connector(aws, stack, **proxy.endpoints), proxy))

    def of(self, cases: Sequence[Case]) -> list[Outcome]:
        """Run *cases* and return their outcomes in the same order."""
        # New ones, because the states of an earlier run are still in the table.
        contexts = [str(uuid4()) for _ in cases]
        with ThreadPoolExecutor(self._number) as threads:
            visits = list(threads.map(self._run, cases, contexts))
        events: defaultdict[str, list[tuple[bool, str]]] = defaultdict(list)
        for event in self._subscriber.messages():
            timestamp = datetime.fromisoformat(event["time"]).timestamp()
            events[event["data"]["context"]].append((timestamp > self._now, event["id"]))
        return [
            Outcome(
                visit.seen,
                visit.stored,
                sum(not later for later, _ in events[context]),
                visit.seen_then,
                len(events[context]),
                len({event_id for _, event_id in events[context]}),
            )
            for context, visit in zip(contexts, visits, strict=True)
        ]

    def _run(self, case: Case, context: str) -> Visit:
        connector, proxy = self._idle.get()
        try:
            return self._visit(Browser(connector), proxy, case, context)
        finally:
            proxy.clear()
            self._idle.put((connector, proxy))

    def _visit(self, browser: Browser, proxy: FaultProxy, case: Case, context: str) -> Visit:
        call = case.faults[0][0]
        if call is Call.ISSUE:
            _inject(proxy, case)
        response = browser.start(at=self._now, context=context)
        state = response.parameters["state"] if response.status == 302 else self._state(context)
        if call is Call.LOOKUP:
            browser.granted(state, at=self._now)
        if call is not Call.ISSUE:
            _inject(proxy, case)
            response = browser.granted(state, at=self._now)
        proxy.clear()
        stored = browser.connector.item(state) is not None
        if call is Call.ISSUE and seen(response) == TRY_AGAIN:
            state = browser.started(at=self._now + 60, context=context)
        return Visit(seen(response), stored, seen(browser.granted(state, at=self._now + 60)))

    def _state(self, context: str) -> str:
        """Return the state that was stored with *context*, or a state that is not stored."""
        pages = self._aws.dynamodb.get_paginator("scan").paginate(
            TableName=self._stack.table_name,
            FilterExpression="#context = :context",
            ExpressionAttributeNames={"#context": "context"},
            ExpressionAttributeValues={":context": {"S": context}},
        )
        return next((item["state"]["S"] for page in pages for item in page["Items"]), "none")


def _inject(proxy: FaultProxy, case: Case) -> None:
    for call, faults in case.faults:
        if isinstance(faults, str):
            _refuse(proxy, call)
            continue
        for fault in faults:
            proxy.inject(call.operation, fault, times=1)


def _refuse(proxy: FaultProxy, call: Call) -> None:
    """Make the services of *call* refuse connections from *call* on."""
    before = {
        Call.LOOKUP: "UpdateItem",
        Call.RECEIPT: "Publish",
        Call.DELETE: "PutItem",
    }
    if call in before:
        proxy.inject(before[call], Fault.THEN_REFUSED, times=1)
    else:
        (proxy.sns if call is Call.PUBLISH else proxy.dynamodb).refuse()


def seen(response: Response) -> str:
    """Return the name of the page in *response*, or the response itself if it is unexpected."""
    if response.status == 503 and '<a href="">Try again</a>' in response.body:
        return TRY_AGAIN
    if response.status == 500:
        return KILLED
    if response.status == 302:
        return QONTO
    if response.status == 303 and response.parameters.get("outcome") == "granted":
        return RECEIVED
    return f"{response.status}: {response.location if response.status == 303 else response.body}"


def single_tables(outcomes: Sequence[Outcome]) -> str:
    """Return one Markdown table per call, with a row for all faults of the same outcome."""
    lines = []
    found = list(zip(singles(), outcomes, strict=True))
    for call in Call:
        alike: defaultdict[Outcome, dict[str, list[str]]] = defaultdict(dict)
        for (of_call, fault, attempts, _), outcome in found:
            if of_call is call:
                alike[outcome].setdefault(attempts, []).append(fault)
        rows = [
            (
                "<br>".join(
                    f"{attempts}: {'; '.join(names)}" for attempts, names in faults.items()
                ),
                outcome,
            )
            for outcome, faults in alike.items()
        ]
        lines += [f"### {call}", "", table("What fails", rows)]
    return "\n".join(lines)


def table(first: str, rows: Iterable[tuple[str, Outcome]]) -> str:
    """Return a Markdown table of *rows*; *first* is the title of its first column."""
    columns = ("The user sees", "State stored", "Events", "Then", "Events in all")
    lines = [f"| {' | '.join((first, *columns))} |", "|---" * 6 + "|"]
    for label, outcome in rows:
        ids = ", one `id`" if outcome.ids == 1 < outcome.events_in_all else ""
        lines.append(
            f"| {label} | {outcome.seen} | {'yes' if outcome.stored else 'no'} | {outcome.events}"
            f" | {outcome.seen_then} | {outcome.events_in_all}{ids} |"
        )
    return "\n".join([*lines, ""])


def pair_tables(outcomes: Sequence[Outcome]) -> str:
    """Return one Markdown table per pair of attempts: first fault down, second across."""
    codes = {
        (name, first, second): outcome.code
        for (name, first, second, _), outcome in zip(pairs(), outcomes, strict=True)
    }
    numbers = {fault: str(number) for number, fault in enumerate(FAULTS, 1)}
    lines = [f"{number}. {fault}" for fault, number in numbers.items()]
    for name in PAIRS:
        lines += ["", f"### {name}", "", f"| | {' | '.join(numbers.values())} |"]
        lines.append("|---" * (len(FAULTS) + 1) + "|")
        for first in FAULTS:
            row = [codes[name, first, second] for second in FAULTS]
            lines.append(f"| **{numbers[first]}** | {' | '.join(row)} |")
    return "\n".join([*lines, ""])


@contextmanager
def outcomes(aws: LocalAws, microburst: str) -> Iterator[Outcomes]:
    """Run the proxies inside the block, and yield an `Outcomes` with a stack of its own."""
    with fault_proxies(aws, microburst, WORKERS) as proxies:
        yield Outcomes(aws, aws.deploy(PARAMETERS), proxies)
