"""The cases of docs/fault-matrix.md: each fault of one call and of two, each kill and timeout.

One user visits `/start` and `/callback` while a call fails, and then goes on.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

from demo.local_aws import LocalAws, Stack
from demo.template import ROOT, Json
from tests.support.connector import CODE, REDIRECT_URI, Browser, Connector, Response, Subscriber
from tests.support.faults import Fault, FaultProxy
from tests.support.lambda_runtime import ExecutionEnvironment, FunctionError, start_function

PAGE = ROOT / "docs" / "fault-matrix.md"
UPDATE = bool(os.environ.get("UPDATE"))  # the page, instead of a comparison with it
HEAD = ["| What fails | The user sees | State stored | Events | Events in all |", "|---" * 5 + "|"]
QONTO, RECEIVED, TRY_AGAIN = "sent on to Qonto", "*Received*", "*Try again*"
KILLED = "API Gateway's own 500"
FIRST, EVERY, KILL = "first attempt", "every attempt", "process killed"
# The process stores nothing: the outcome of a kill depends on the last call that was applied.
BEFORE, APPLIED = "before the call", "applied, before the response"
# A drip outlasts the clients' timeouts and ends at Lambda's.
FAULTS: list[Fault] = [fault for fault in Fault if fault not in {Fault.DRIPPING, Fault.HELD}]
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
    """A fault of the first or of every attempt of a call, or a kill before or after it."""

    call: str
    attempts: str
    fault: str

    @property
    def operation(self) -> str:
        return self.call.split("`")[1]

    @property
    def is_end(self) -> bool:
        """Whether the function's process is killed, or lasts until Lambda's timeout."""
        return self.attempts == KILL or self.fault == Fault.DRIPPING


ENDS = [(KILL, BEFORE), (KILL, APPLIED), (EVERY, Fault.DRIPPING)]
CASES = [Case(call, *each) for call in CALLS for each in [*product([FIRST, EVERY], FAULTS), *ENDS]]
# Two attempts of one call, or the first attempts of two.
PAIRS = [
    (Case(one, FIRST, fault), Case(other, FIRST, other_fault))
    for one, other in [*zip(CALLS, CALLS, strict=True), *combinations(CALLBACK, 2)]
    for fault, other_fault in product(FAULTS, FAULTS)
]


class Lane(NamedTuple):
    """A connector with a stack of its own, which calls AWS through *proxy*."""

    proxy: FaultProxy
    connector: Connector
    subscriber: Subscriber


def failed(lane: Lane, *faults: Case) -> str:
    """Return the cells of the outcome of one fault or two."""

    @contextmanager
    def failing() -> Iterator[Connector]:
        for case in faults:
            _inject(lane.proxy, case)
        yield lane.connector
        lane.proxy.clear()

    cells = _outcome(lane, faults[0].call, failing())
    assert not cells.startswith(KILLED)
    return cells


def ended(packages: Mapping[str, Path], lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of a kill or a timeout of the function's process."""
    cells = _outcome(lane, case.call, _ending(packages, lane, case))
    assert cells.startswith(KILLED)
    return cells


@contextmanager
def _ending(packages: Mapping[str, Path], lane: Lane, case: Case) -> Iterator[Connector]:
    aws, stack, proxy = lane.connector.aws, lane.connector.stack, lane.proxy
    function = "StartFunction" if case.call == ISSUE else "CallbackFunction"
    environment = variables(aws, stack, function) | proxy.endpoints

    def kill() -> None:
        if case.attempts == KILL:
            proxy.wait_for(case.operation)
            process.kill()

    with (
        start_function(function, packages[function], environment) as process,
        ThreadPoolExecutor(1) as thread,
    ):
        process.wait_until_initialised()
        _inject(proxy, case)
        killed = thread.submit(kill)
        yield Deployed(aws, stack, {function: process})
        killed.result()
    proxy.clear()


def _inject(proxy: FaultProxy, case: Case) -> None:
    """Let *proxy* have the fault of *case*, or hold its call until the process is killed."""
    fault = {BEFORE: Fault.HANGING, APPLIED: Fault.HELD}.get(case.fault) or Fault(case.fault)
    # no client makes more attempts
    proxy.inject(case.operation, fault, times=3 if case.attempts == EVERY else 1)


def variables(aws: LocalAws, stack: Stack, function: str) -> dict[str, str]:
    """Return the environment of a deployed *function*."""
    return stack.environment[function] | aws.client_variables | {"REDIRECT_URI": REDIRECT_URI}


class Deployed(Connector):
    """The built packages, run as Lambda runs them, and called as API Gateway calls them."""

    def __init__(
        self, aws: LocalAws, stack: Stack, processes: Mapping[str, ExecutionEnvironment]
    ) -> None:
        """Use *processes*, by the functions' logical ids."""
        self.aws, self.stack, self._processes = aws, stack, processes

    def start(self, request: Json, _context: object) -> Json:
        return self._invoke("StartFunction", request)

    def callback(self, request: Json, _context: object) -> Json:
        return self._invoke("CallbackFunction", request)

    def _invoke(self, function: str, request: Json) -> Json:
        try:
            return self._processes[function].invoke(request)
        except FunctionError:
            return {"statusCode": 500, "headers": {}}


def _outcome(lane: Lane, call: str, faulty: AbstractContextManager[Connector]) -> str:
    """Return the cells of a flow in which the *faulty* connector makes *call*."""
    now = int(time.time())  # other tests use `NOW`, but here the local AWS removes expired items
    browser = Browser(lane.connector)
    lane.subscriber.messages()
    state = "" if call == ISSUE else browser.started(at=now)
    if call == LOOKUP:
        browser.granted(state, at=now)
    before = lane.connector.states()
    with faulty as browser.connector:
        response = browser.granted(state, at=now) if state else browser.start(at=now)
    browser.connector = lane.connector

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
    if response.status in {302, 500}:
        return QONTO if response.status == 302 else KILLED
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


def assert_documented(
    lanes: Sequence[Lane], outcome: Callable[[Lane, Case], str], chosen: Collection[Case]
) -> None:
    """Assert that the cells of the *chosen* cases are those of the page, or write them there."""
    page = _documented()
    if UPDATE:
        _write(page | run(lanes, outcome, chosen))
        return
    assert page.keys() == set(CASES)
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
            row = alike.setdefault(page.get(case, ""), {})
            row.setdefault(case.attempts, []).append(case.fault)
        lines += [f"## {call}", "", *HEAD]
        for cells, faults in alike.items():
            what = (f"{attempts}: {'; '.join(each)}" for attempts, each in faults.items())
            lines.append(f"| {'<br>'.join(what)} | {cells} |")
        lines.append("")
    PAGE.write_text("\n".join(lines), "utf-8")
