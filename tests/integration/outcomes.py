"""The cases of docs/fault-matrix.md: each fault of each call.

One user visits `/start` and `/callback` while a call fails, and then goes on.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from random import Random
from typing import NamedTuple

from demo.template import ROOT
from tests.support.connector import CODE, Browser, Connector, Response, Subscriber
from tests.support.faults import Fault, FaultProxy
from tests.support.slow import SEED, SLOW

PAGE = ROOT / "docs" / "fault-matrix.md"
UPDATE = bool(os.environ.get("UPDATE"))  # the page, instead of a comparison with it
HEAD = ["| What fails | The user sees | State stored | Events | Events in all |", "|---" * 5 + "|"]
QONTO, RECEIVED, TRY_AGAIN = "sent on to Qonto", "*Received*", "*Try again*"
FIRST, EVERY = "first attempt", "every attempt"
ISSUE = "issue: `PutItem` of start"
CALLBACK = [
    "claim: `UpdateItem` of callback",
    "publish: `Publish` of callback",
    "receipt: `PutItem` of callback",
    "delete: `DeleteItem` of callback",
]
LOOKUP = "lookup: `GetItem` of a callback that is repeated"
CALLS = [ISSUE, *CALLBACK, LOOKUP]


class Case(NamedTuple):
    """A fault of the first or of every attempt of a call."""

    call: str
    attempts: str
    fault: str


CASES = [Case(*each) for each in product(CALLS, [FIRST, EVERY], map(str, Fault))]


class Lane(NamedTuple):
    """A connector with a stack of its own, which calls AWS through *proxy*."""

    proxy: FaultProxy
    connector: Connector
    subscriber: Subscriber


def outcome(lane: Lane, case: Case) -> str:
    """Return the cells of a flow with a fault."""
    call, attempts, fault = case
    now = int(time.time())  # other tests use `NOW`, but here the local AWS removes expired items
    browser = Browser(lane.connector)
    lane.subscriber.messages()
    state = "" if call == ISSUE else browser.started(at=now)
    if call == LOOKUP:
        browser.granted(state, at=now)
    before = lane.connector.states()
    times = 1 if attempts == FIRST else 3  # no client makes more attempts
    lane.proxy.inject(call.split("`")[1], Fault(fault), times=times)
    response = browser.granted(state, at=now) if state else browser.start(at=now)
    lane.proxy.clear()

    states = lane.connector.states()
    is_stored = state in states if state else bool(states - before)
    events = lane.subscriber.messages()
    if call == ISSUE:
        assert len(states - before) <= 1
        is_begun = response.status == 302
        state = response.parameters["state"] if is_begun else browser.started(at=now + 60)
    page, last = seen(response), browser.granted(state, at=now + 60)
    in_all = events + lane.subscriber.messages()

    assert seen(last) == RECEIVED
    assert state not in last.location
    assert len({event["id"] for event in in_all}) == 1
    assert events or page != RECEIVED
    return f"{page} | {'yes' if is_stored else 'no'} | {len(events)} | {len(in_all)}"


def seen(response: Response) -> str:
    """Return the name of the page in *response*; the URL of *Received* has no code."""
    if response.status == 302:
        return QONTO
    if response.status == 303:
        assert response.parameters["outcome"] == "granted"
        assert CODE not in response.location
        return RECEIVED
    assert response.status == 503
    assert '<a href="">Try again</a>' in response.body
    assert "Location" not in response.headers
    assert not response.cookies
    return TRY_AGAIN


def run[L, C, R](
    lanes: Sequence[L], outcome: Callable[[L, C], R], chosen: Collection[C]
) -> dict[C, R]:
    """Return the outcome of each case, several at a time, because they mostly wait for timeouts."""
    idle = deque(lanes)

    def on_idle_lane(case: C) -> R:
        lane = idle.popleft()
        try:
            return outcome(lane, case)
        except AssertionError as error:
            error.add_note(str(case))
            raise
        finally:
            idle.append(lane)

    with ThreadPoolExecutor(len(lanes)) as threads:
        return dict(zip(chosen, threads.map(on_idle_lane, chosen), strict=True))


def assert_documented(lanes: Sequence[Lane]) -> None:
    """Assert that the cells of all cases are those of the page, or write them there."""
    page, chosen = _documented(), CASES
    if UPDATE:
        _write(run(lanes, outcome, chosen))
        return
    assert page.keys() == set(chosen)
    if not SLOW:
        chosen = Random(SEED).sample(CASES, 44)  # noqa: S311 - repeatable
    for _ in range(3):  # again for those that differ: a busy machine causes timeouts
        found = run(lanes, outcome, chosen)
        chosen = [case for case in chosen if found[case] != page[case]]
    assert not chosen


def _documented() -> dict[Case, str]:
    page: dict[Case, str] = {}
    for table in PAGE.read_text("utf-8").split("## ")[1:]:
        call, *lines = table.strip().splitlines()
        for line in lines[3:]:
            what, cells = line.strip("| ").split(" | ", 1)
            for attempts, faults in (each.split(": ") for each in what.split("<br>")):
                page |= {Case(call, attempts, fault): cells for fault in faults.split("; ")}
    return page


def _write(page: Mapping[Case, str]) -> None:
    """Write one table per call, with a row for all faults with the same cells."""
    lines = [PAGE.read_text("utf-8").partition("\n## ")[0]]
    for call in CALLS:
        alike: dict[str, dict[str, list[str]]] = {}
        for case in (case for case in CASES if case.call == call):
            row = alike.setdefault(page[case], {})
            row.setdefault(case.attempts, []).append(case.fault)
        lines += [f"## {call}", "", *HEAD]
        for cells, faults in alike.items():
            what = (f"{attempts}: {'; '.join(each)}" for attempts, each in faults.items())
            lines.append(f"| {'<br>'.join(what)} | {cells} |")
        lines.append("")
    PAGE.write_text("\n".join(lines), "utf-8")
