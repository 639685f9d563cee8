"""The connector's matrix: each fault of one call and of two, each kill and each timeout.

One user visits `/start` and `/callback` while a call fails, and then goes on.
"""

import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import batched, combinations, product
from pathlib import Path
from typing import NamedTuple

from demo.local_aws import LocalAws, Stack
from demo.template import Json
from tests.integration import matrix
from tests.integration.matrix import EVERY, FAULTS, FIRST, KILL, Call, Case
from tests.support.connector import (
    CODE,
    PARAMETERS,
    REDIRECT_URI,
    Browser,
    Connector,
    Response,
    Subscriber,
)
from tests.support.faults import Fault, FaultProxy
from tests.support.lambda_runtime import ExecutionEnvironment, FunctionError, start_function

REFUSED = "connection refused"
QONTO, RECEIVED, TRY_AGAIN = "sent on to Qonto", "*Received*", "*Try again*"
KILLED = "API Gateway's own 500"
COLUMNS = "The user sees | State stored | Events | Then | Events in all"
ISSUE = Call("issue: `PutItem` of start")
CALLBACK = CLAIM, PUBLISH, RECEIPT, DELETE = (
    Call("claim: `UpdateItem` of callback"),
    Call("publish: `Publish` of callback"),
    Call("receipt: `PutItem` of callback"),
    Call("delete: `DeleteItem` of callback"),
)
LOOKUP = Call("lookup: `GetItem` of a callback that is repeated")
CALLS = (ISSUE, *CALLBACK, LOOKUP)
CALL_BEFORE = {PUBLISH: CLAIM, RECEIPT: PUBLISH, DELETE: RECEIPT, LOOKUP: CLAIM}

SINGLES = [
    Case(call, attempts, fault)
    for call in CALLS
    for fault, attempts in [*product(FAULTS, (FIRST, EVERY)), (REFUSED, EVERY)]
]
# Two attempts of one call, or the first attempts of two.
PAIRS = [
    (Case(one, FIRST, fault), Case(other, FIRST, other_fault))
    for one, other in [*zip(CALLS, CALLS, strict=True), *combinations(CALLBACK, 2)]
    for fault, other_fault in product(FAULTS, FAULTS)
]
MOMENTS = matrix.BEFORE, matrix.APPLIED, matrix.RESPONDED
# The outcome of a kill depends on the last call that was applied: the process stores nothing.
KILLS = [Case(call, KILL, moment) for call in CALLS for moment in MOMENTS]
TIMEOUTS = [Case(call, EVERY, Fault.DRIPPING) for call in CALLS]

ENDINGS = {"kills": "Killed in", "time-outs": "The response that drips"}  # of their tables

type Pair = tuple[Case, Case]


class Lane(NamedTuple):
    """A connector with a stack of its own, which calls AWS through *proxy*."""

    proxy: FaultProxy
    connector: Connector
    subscriber: Subscriber


@contextmanager
def lanes(aws: LocalAws, url: str) -> Iterator[list[Lane]]:
    """Run proxies, with microburst at *url*, inside the block, each before a stack of its own."""
    with ExitStack() as block:
        found = []
        for _ in range(matrix.LANES):
            proxy = block.enter_context(FaultProxy(aws.endpoint_url, url))
            stack = aws.deploy(PARAMETERS)
            connector = Connector(aws, stack, **proxy.endpoints)
            found.append(Lane(proxy, connector, Subscriber(aws, stack)))
        yield found


def failing(lane: Lane, *faults: Case) -> str:
    """Return the cells of the outcome of one fault or two."""
    cells = _outcome(lane, faults[0].call, _failing(lane, faults))
    assert not cells.startswith(KILLED)
    return cells


@contextmanager
def _failing(lane: Lane, faults: tuple[Case, ...]) -> Iterator[Connector]:
    for case in faults:
        if case.fault != REFUSED:
            matrix.inject(lane.proxy, case)
        elif before := CALL_BEFORE.get(case.call):
            lane.proxy.inject(before.operation, Fault.THEN_REFUSED, times=1)
        else:
            lane.proxy.refuse()
    yield lane.connector
    lane.proxy.clear()


def ended(packages: Mapping[str, Path], lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of a kill or a timeout of the function's process."""
    cells = _outcome(lane, case.call, _ending(packages, lane, case))
    assert cells.startswith(KILLED)
    return cells


class Deployed(Connector):
    """The built packages, run as Lambda runs them, and called as API Gateway calls them."""

    def __init__(
        self, aws: LocalAws, stack: Stack, processes: Mapping[str, ExecutionEnvironment]
    ) -> None:
        """Use *processes*, by the functions' logical ids."""
        self.aws, self.stack = aws, stack
        self.start = partial(_invoke, processes.get("StartFunction"))
        self.callback = partial(_invoke, processes.get("CallbackFunction"))


def _invoke(process: ExecutionEnvironment | None, request: Json, _context: object) -> Json:
    assert process
    try:
        return process.invoke(request)
    except FunctionError:
        return {"statusCode": 500, "headers": {}, "body": '{"message":"Internal Server Error"}'}


def variables(aws: LocalAws, stack: Stack, function: str) -> dict[str, str]:
    """Return the environment of a deployed *function*."""
    return stack.environment[function] | aws.client_variables | {"REDIRECT_URI": REDIRECT_URI}


@contextmanager
def _ending(packages: Mapping[str, Path], lane: Lane, case: Case) -> Iterator[Connector]:
    aws, stack, proxy = lane.connector.aws, lane.connector.stack, lane.proxy
    function = "StartFunction" if case.call is ISSUE else "CallbackFunction"
    environment = variables(aws, stack, function) | proxy.endpoints

    def kill() -> None:
        proxy.wait_for(case.call.operation)
        if case.fault == matrix.RESPONDED:
            # The stopped process receives the response, but cannot continue before it is killed.
            os.kill(process.pid, signal.SIGSTOP)
            proxy.released.set()
            proxy.wait_for(case.call.operation)
        process.kill()

    with start_function(function, packages[function], environment) as process:
        process.wait_until_initialised()
        matrix.inject(proxy, case)
        with matrix.meanwhile(kill) if case.attempts == KILL else nullcontext():
            yield Deployed(aws, stack, {function: process})
    proxy.clear()


def _outcome(lane: Lane, call: Call, faulty: AbstractContextManager[Connector]) -> str:
    """Return the cells of a flow in which the *faulty* connector makes *call*."""
    now = int(time.time())  # other tests use `NOW`, but here the local AWS removes expired items
    browser = Browser(lane.connector)
    lane.subscriber.messages()
    state = "" if call is ISSUE else browser.started(at=now)
    if call is LOOKUP:
        browser.granted(state, at=now)
    before = lane.connector.states()
    with faulty as browser.connector:
        response = browser.granted(state, at=now) if state else browser.start(at=now)
    browser.connector = lane.connector

    states = lane.connector.states()
    is_stored = state in states if state else bool(states - before)
    events = lane.subscriber.messages()
    if call is ISSUE:
        assert len(states - before) <= 1
        is_begun = response.status == 302
        state = response.parameters["state"] if is_begun else browser.started(at=now + 60)
    page, last = seen(response), browser.granted(state, at=now + 60)
    in_all = events + lane.subscriber.messages()

    assert seen(last) == RECEIVED
    assert state not in last.location
    assert len({event["id"] for event in in_all}) == 1
    assert events or page != RECEIVED
    one_id = ", one `id`" if len(in_all) > 1 else ""
    stored = "yes" if is_stored else "no"
    return f"{page} | {stored} | {len(events)} | {seen(last)} | {len(in_all)}{one_id}"


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


def list_table(first: str, found: Mapping[Case, str]) -> str:
    """Return a Markdown table with a row for each kill or timeout."""
    rows = (
        (f"{call.name}, {fault}" if attempts == KILL else call.name, cells)
        for (call, attempts, fault), cells in found.items()
    )
    return matrix.table(first, COLUMNS, rows)


def pair_code(lane: Lane, pair: Pair) -> str:
    """Return the short form of an outcome: the first letter of the page, and all events."""
    page, *_, events = failing(lane, *pair).split(" | ")
    return page.strip("*")[0] + events.partition(",")[0]


def pair_tables(found: Mapping[Pair, str]) -> str:
    """Return one Markdown table per pair of attempts: first fault down, second across."""
    codes_of_table = defaultdict(list)
    for pair, code in found.items():
        one, other = (case.call.name.partition(":")[0] for case in pair)
        second = "second attempt" if one == other else f"{other}, first attempt"
        codes_of_table[f"{one}, first attempt / {second}"].append(code)
    lines = [f"{number}. {fault}" for number, fault in enumerate(FAULTS, 1)]
    columns = " | ".join(str(number) for number, _ in enumerate(FAULTS, 1))
    for name, codes in codes_of_table.items():
        rows = enumerate(batched(codes, len(FAULTS), strict=True), 1)
        named = ((f"**{number}**", " | ".join(row)) for number, row in rows)
        table = matrix.table("", columns, named).strip().replace("|  |", "| |")
        lines += ["", f"### {name}", "", table]
    return "\n".join([*lines, ""])


def documented_pairs() -> dict[Pair, str]:
    """Return the codes in the tables of `pair_tables`."""
    return dict(zip(PAIRS, re.findall(r"[A-Z]\d", matrix.section("pairs")), strict=True))
