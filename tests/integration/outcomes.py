"""Every fault at every AWS call, and what comes of it: the tables of docs/faults.md."""

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
# A drip outlasts the clients' time-outs: it ends at Lambda's, so with a run-time (test_kills.py).
_FOR_OTHERS = {Fault.DRIPPING, Fault.HELD, Fault.LAST}
FAULTS = [fault for fault in Fault if fault not in _FOR_OTHERS]
REFUSED = "connection refused"


class Call(StrEnum):
    """An AWS call of the pair; its value is how documents name it."""

    ISSUE = "`PutItem` of start"
    CONSUME = "`DeleteItem` of callback"
    PUBLISH = "`Publish` of callback"
    RESTORE = "`PutItem` of callback, after a `Publish` that was refused"

    @property
    def operation(self) -> str:
        """AWS's name of it."""
        return self.value.split("`")[1]


@dataclass(frozen=True)
class Case:
    """Which attempts fail, and how.

    Attributes:
        faults: of each call that fails: one fault for its first attempt, two for its both, or
            REFUSED for all of them.

    """

    faults: tuple[tuple[Call, tuple[Fault, ...] | str], ...]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        seen: what the person saw.
        stored: whether the state was in the table afterwards.
        events: how many events were in the queue.
        seen_again: what the person saw at the same address a minute later.
        events_in_all: how many events were in the queue then.
        ids: how many ids they had.
        started_over: what came of starting again after all that.

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
        """Its short form: what the person saw, and how many events there were in the end."""
        letters = {"sent on to Qonto": "Q", "*Received*": "R", "*Try again*": "T"}
        return f"{letters.get(self.seen, 'S')}{self.events_in_all}"


def singles() -> Iterator[tuple[Call, str, str, Case]]:
    """Yield each fault at each call: at the first attempt alone, and at every attempt."""
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
    """Runs cases, several at a time: most of their time they wait for a time-out."""

    def __init__(self, aws: LocalAws, stack: Stack, proxies: Sequence[FaultProxy]) -> None:
        """Take a stack of its own, and a proxy for each of the cases that run at a time."""
        self._aws, self._stack = aws, stack
        # Not the past, as elsewhere: the local AWS removes what has expired once a minute.
        self._now = int(time.time())
        self._subscriber = Subscriber(aws, stack)
        self._pairs: SimpleQueue[tuple[Connector, FaultProxy]] = SimpleQueue()
        self._number = len(proxies)
        for proxy in proxies:
            self._pairs.put((Connector(aws, stack, **proxy.endpoints), proxy))

    def of(self, cases: Iterable[Case]) -> list[Outcome]:
        """Return the outcome of each of *cases*, in their order."""
        with ThreadPoolExecutor(self._number) as threads:
            visits = list(threads.map(self._run, enumerate(cases)))
        events: defaultdict[str, list[tuple[bool, str]]] = defaultdict(list)
        for event in self._subscriber.messages():
            time_of = datetime.fromisoformat(event["time"]).timestamp()
            events[event["data"]["context"]].append((time_of > self._now, event["id"]))
        return [
            Outcome(
                it["seen"],
                it["stored"] == "yes",
                sum(not later for later, _ in events[f"case-{number}"]),
                it["seen_again"],
                len(events[f"case-{number}"]),
                len({event_id for _, event_id in events[f"case-{number}"]}),
                it["started_over"],
            )
            for number, it in enumerate(visits)
        ]

    def _run(self, numbered: tuple[int, Case]) -> dict[str, str]:
        number, case = numbered
        connector, proxy = self._pairs.get()
        try:
            return self._visit(Browser(connector), proxy, case, f"case-{number}")
        finally:
            proxy.clear()
            self._pairs.put((connector, proxy))

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
        restarted = browser.started(at=self._now + 60, context=f"{context}-anew")
        return {
            "seen": seen(first),
            "stored": "yes" if stored else "no",
            "seen_again": seen(again),
            "started_over": seen(browser.granted(restarted, at=self._now + 60)),
        }

    def _state(self, context: str) -> str:
        """Return the state that was stored with *context*, or one that nobody has."""
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
                proxy.inject("DeleteItem", Fault.LAST, times=1)
            else:
                (proxy.sns if call is Call.PUBLISH else proxy.dynamodb).refuse()
            continue
        for fault in faults:
            proxy.inject(call.operation, fault, times=1)


def seen(response: Response) -> str:
    """Say what a person sees; anything that is not designed is said as it is."""
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
    """Return a table a call: which faults end alike, and how."""
    lines = []
    found = list(zip(singles(), outcomes, strict=True))
    for call in Call:
        alike: defaultdict[Outcome, dict[str, list[str]]] = defaultdict(dict)
        for (of_call, fault, attempts, _), outcome in found:
            if of_call is call:
                alike[outcome].setdefault(attempts, []).append(fault)
        rows = [
            (
                "<br>".join(f"{attempts}: {'; '.join(it)}" for attempts, it in faults.items()),
                outcome,
            )
            for outcome, faults in alike.items()
        ]
        lines += [f"### {call}", "", table("What fails", rows)]
    return "\n".join(lines)


def table(first: str, rows: Iterable[tuple[str, Outcome]]) -> str:
    """Return a table of outcomes, its *first* column saying what happened."""
    columns = ("The person sees", "State stored", "Events", "The same address again", "Events then")
    lines = [f"| {' | '.join((first, *columns))} |", "|---" * 6 + "|"]
    for what, outcome in rows:
        ids = ", one `id`" if outcome.ids == 1 < outcome.events_in_all else ""
        lines.append(
            f"| {what} | {outcome.seen} | {'yes' if outcome.stored else 'no'} | {outcome.events}"
            f" | {outcome.seen_again} | {outcome.events_in_all}{ids} |"
        )
    return "\n".join([*lines, ""])


def pair_tables(outcomes: Sequence[Outcome]) -> str:
    """Return a table a pair of attempts: the first's fault down, the second's across."""
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
    """Run what it takes to find outcomes for as long as the block runs."""
    with fault_proxies(aws, microburst, WORKERS) as proxies:
        yield Outcomes(aws, aws.deploy(PARAMETERS), proxies)
