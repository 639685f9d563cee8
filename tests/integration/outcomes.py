"""The outcome of every fault at every AWS call: the tables of docs/faults.md."""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import product
from queue import SimpleQueue

from demo.local_aws import LocalAws, Stack
from tests.integration.connector import PARAMETERS, Browser, Connector, Response, Subscriber
from tests.integration.faults import Fault, FaultProxy, fault_proxies

WORKERS = 12
# A drip outlasts the clients' timeouts and ends at Lambda's, so test_kills.py covers it.
_EXCLUDED = {Fault.DRIPPING, Fault.HELD, Fault.THEN_REFUSED}
FAULTS = [fault for fault in Fault if fault not in _EXCLUDED]
REFUSED = "connection refused"


class Call(StrEnum):
    """An AWS call of the connector; the value is its name in docs/faults.md."""

    ISSUE = "`PutItem` of start"
    CONSUME = "`DeleteItem` of callback"
    PUBLISH = "`Publish` of callback"
    RESTORE = "`PutItem` of callback, after a `Publish` that was refused"

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


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case.

    Attributes:
        seen: the page that the user saw.
        stored: whether the state was in the table afterwards.
        events: the number of events in the queue.
        seen_again: the page that the user saw at the same address a minute later.
        events_in_all: the number of events in the queue by then.
        ids: the number of different ids of these events.
        started_over: the page that the user saw at the end of another flow.

    """

    seen: str
    stored: bool
    events: int
    seen_again: str
    events_in_all: int
    ids: int
    started_over: str

    @property
    def code(self) -> str:
        """The short form: a letter for `seen`, and the number of events in all."""
        letters = {"sent on to Qonto": "Q", "*Received*": "R", "*Try again*": "T"}
        return f"{letters.get(self.seen, 'S')}{self.events_in_all}"


def singles() -> Iterator[tuple[Call, str, str, Case]]:
    """Yield each fault at each call, for the first attempt alone and for every attempt."""
    for call in Call:
        for fault in FAULTS:
            yield call, fault, "first attempt", _case((call, (fault,)))
            yield call, fault, "every attempt", _case((call, (fault, fault)))
        yield call, REFUSED, "every attempt", _case((call, REFUSED))


PAIRS: dict[str, Callable[[Fault, Fault], Case]] = {
    f"{Call.ISSUE}: first attempt / second": lambda a, b: _case((Call.ISSUE, (a, b))),
    f"{Call.CONSUME}: first attempt / second": lambda a, b: _case((Call.CONSUME, (a, b))),
    f"{Call.PUBLISH}: first attempt / second": lambda a, b: _case((Call.PUBLISH, (a, b))),
    f"{Call.RESTORE}: first attempt / second": lambda a, b: _case((Call.RESTORE, (a, b))),
    f"{Call.CONSUME}, first attempt / {Call.PUBLISH}, first attempt": lambda a, b: _case(
        (Call.CONSUME, (a,)), (Call.PUBLISH, (b,))
    ),
    f"{Call.PUBLISH}, every attempt / `PutItem` after it, every attempt": lambda a, b: _case(
        (Call.PUBLISH, (a, a)), (Call.RESTORE, (b, b))
    ),
}


def pairs() -> Iterator[tuple[str, Fault, Fault, Case]]:
    """Yield each pair of faults at each pair of attempts."""
    for name, case in PAIRS.items():
        for first, second in product(FAULTS, FAULTS):
            yield name, first, second, case(first, second)


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

    def of(self, cases: Iterable[Case]) -> list[Outcome]:
        """Run *cases* and return their outcomes in the same order."""
        with ThreadPoolExecutor(self._number) as threads:
            visits = list(threads.map(self._run, enumerate(cases)))
        events: defaultdict[str, list[tuple[bool, str]]] = defaultdict(list)
        for event in self._subscriber.messages():
            timestamp = datetime.fromisoformat(event["time"]).timestamp()
            events[event["data"]["context"]].append((timestamp > self._now, event["id"]))
        return [
            Outcome(
                visit["seen"],
                visit["stored"] == "yes",
                sum(not later for later, _ in events[f"case-{number}"]),
                visit["seen_again"],
                len(events[f"case-{number}"]),
                len({event_id for _, event_id in events[f"case-{number}"]}),
                visit["started_over"],
            )
            for number, visit in enumerate(visits)
        ]

    def _run(self, numbered: tuple[int, Case]) -> dict[str, str]:
        number, case = numbered
        connector, proxy = self._idle.get()
        try:
            return self._visit(Browser(connector), proxy, case, f"case-{number}")
        finally:
            proxy.clear()
            self._idle.put((connector, proxy))

    def _visit(
        self, browser: Browser, proxy: FaultProxy, case: Case, context: str
    ) -> dict[str, str]:
        start_fails = case.faults[0][0] is Call.ISSUE
        if start_fails:
            _inject(proxy, case)
        started = browser.start(at=self._now, context=context)
        state = started.parameters["state"] if started.status == 302 else self._state(context)
        if not start_fails:
            _inject(proxy, case)
        first = started if start_fails else browser.granted(state, at=self._now)
        proxy.clear()
        stored = browser.connector.item(state) is not None
        if start_fails:
            again = browser.start(at=self._now + 60, context=f"{context}-again")
        else:
            again = browser.granted(state, at=self._now + 60)
        restarted = browser.started(at=self._now + 60, context=f"{context}-new")
        return {
            "seen": seen(first),
            "stored": "yes" if stored else "no",
            "seen_again": seen(again),
            "started_over": seen(browser.granted(restarted, at=self._now + 60)),
        }

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
        if call is Call.RESTORE and len(case.faults) == 1:
            proxy.inject("Publish", Fault.DENIED)
        if isinstance(faults, str):
            if call is Call.RESTORE:
                proxy.inject("DeleteItem", Fault.THEN_REFUSED, times=1)
            else:
                (proxy.sns if call is Call.PUBLISH else proxy.dynamodb).refuse()
            continue
        for fault in faults:
            proxy.inject(call.operation, fault, times=1)


def seen(response: Response) -> str:
    """Return the name of the page in *response*, or the response itself if it is unexpected."""
    if response.status == 503 and '<a href="">Try again</a>' in response.body:
        return "*Try again*"
    if response.status == 500:
        return "API Gateway's own 500"
    if response.status not in {302, 303}:
        return f"{response.status}: {response.body}"
    if response.status == 302:
        return "sent on to Qonto"
    outcome = re.search(r"/callback/([a-z-]+)|[?&]outcome=([a-z-]+)", response.location)
    names = {"granted": "*Received*", "start-again": "*Start again*", "used": "*Already used*"}
    return names[outcome[1] or outcome[2]] if outcome else response.location


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
    columns = ("The user sees", "State stored", "Events", "The same URL again", "Events then")
    lines = [f"| {' | '.join((first, *columns))} |", "|---" * 6 + "|"]
    for label, outcome in rows:
        ids = ", one `id`" if outcome.ids == 1 < outcome.events_in_all else ""
        lines.append(
            f"| {label} | {outcome.seen} | {'yes' if outcome.stored else 'no'} | {outcome.events}"
            f" | {outcome.seen_again} | {outcome.events_in_all}{ids} |"
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
