"""The connector's matrix: each fault of one call and of two, each kill and each timeout.

One user visits `/start` and `/callback` while a call fails, and then goes on.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import combinations, product
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

QONTO, RECEIVED, TRY_AGAIN = "sent on to Qonto", "*Received*", "*Try again*"
KILLED = "API Gateway's own 500"
ISSUE = Call("issue: `PutItem` of start")
CALLBACK = [
    Call("claim: `UpdateItem` of callback"),
    Call("publish: `Publish` of callback"),
    Call("receipt: `PutItem` of callback"),
    Call("delete: `DeleteItem` of callback"),
]
LOOKUP = Call("lookup: `GetItem` of a callback that is repeated")
CALLS = [ISSUE, *CALLBACK, LOOKUP]
CASES = matrix.cases(CALLS) + [Case(call, EVERY, Fault.DRIPPING) for call in CALLS]
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


def failed(lane: Lane, *faults: Case) -> str:
    """Return the cells of the outcome of one fault or two."""

    @contextmanager
    def failing() -> Iterator[Connector]:
        for case in faults:
            matrix.inject(lane.proxy, case)
        yield lane.connector
        lane.proxy.clear()

    cells = _outcome(lane, faults[0].call, failing())
    assert not cells.startswith(KILLED)
    return cells


def is_end(case: Case) -> bool:
    """Tell whether the function's process is killed, or lasts until Lambda's timeout."""
    return case.attempts == KILL or case.fault == Fault.DRIPPING


def ended(packages: Mapping[str, Path], lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of a kill or a timeout of the function's process."""
    cells = _outcome(lane, case.call, _ending(packages, lane, case))
    assert cells.startswith(KILLED)
    return cells


@contextmanager
def _ending(packages: Mapping[str, Path], lane: Lane, case: Case) -> Iterator[Connector]:
    aws, stack, proxy = lane.connector.aws, lane.connector.stack, lane.proxy
    function = "StartFunction" if case.call is ISSUE else "CallbackFunction"
    environment = variables(aws, stack, function) | proxy.endpoints

    def kill() -> None:
        proxy.wait_for(case.call.operation)
        process.kill()

    with start_function(function, packages[function], environment) as process:
        process.wait_until_initialised()
        matrix.inject(proxy, case)
        with matrix.meanwhile(kill) if case.attempts == KILL else nullcontext():
            yield Deployed(aws, stack, {function: process})
    proxy.clear()


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
