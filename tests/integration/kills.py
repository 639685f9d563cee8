"""Kills a function's process at each moment at which the outcome can differ.

The outcome depends on the last AWS call that was applied. The moment between two calls makes no
difference, because the process itself stores nothing.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import template as infra
from demo.gateway import Handler
from demo.local_aws import LocalAws, Stack
from tests.integration.connector import REDIRECT_URI, Browser, Connector, Response, Subscriber
from tests.integration.faults import Fault, FaultProxy, fault_proxies
from tests.integration.outcomes import Call, Outcome, seen, table
from tests.lambda_runtime import ExecutionEnvironment, FunctionError, start_function

FUNCTIONS = {"start": "StartFunction", "callback": "CallbackFunction"}
BEFORE, APPLIED, RESPONDED = "before the call", "applied, before the response", "after the response"
KILLS = [(call, moment) for call in Call for moment in (BEFORE, APPLIED, RESPONDED)]


class Deployed(Connector):
    """The built packages, each under a Runtime API, called as API Gateway calls them."""

    def __init__(
        self,
        aws: LocalAws,
        stack: Stack,
        environments: Mapping[str, ExecutionEnvironment],
    ) -> None:
        self.aws, self.stack = aws, stack
        self.start, self.callback = (
            _invoked(environments.get(function)) for function in FUNCTIONS.values()
        )


def _invoked(environment: ExecutionEnvironment | None) -> Handler:
    def handler(request: dict[str, object], _context: object) -> object:
        assert environment
        try:
            return environment.invoke(request)
        except FunctionError:
            return {"statusCode": 500, "headers": {}, "body": '{"message":"Internal Server Error"}'}

    return handler


@dataclass(frozen=True)
class KillHarness:
    """Processes to kill, and a connector that stays healthy, on one stack.

    Attributes:
        aws: the local AWS.
        stack: a stack that other tests do not use.
        packages: the built packages, by function.
        proxy: stands between AWS and the process to kill.
        healthy: the connector that receives the next click.

    """

    aws: LocalAws
    stack: Stack
    packages: Mapping[str, Path]
    proxy: FaultProxy
    healthy: Deployed
    subscriber: Subscriber

    @contextmanager
    def run(self, function: str) -> Iterator[ExecutionEnvironment]:
        """Run *function* behind the proxy."""
        properties = infra.function(infra.load(), function)
        with ExecutionEnvironment(
            self.packages[function],
            properties["Handler"],
            variables(self.aws, self.stack, function) | self.proxy.endpoints,
            name=function,
            timeout=properties["Timeout"],
        ) as environment:
            environment.wait_until_initialised()
            yield environment

    def outcome(self, call: Call, end: Callable[[ExecutionEnvironment], None]) -> Outcome:
        """Return the outcome when *end* ends the function's process in *call*."""
        now = int(time.time())  # the local AWS removes expired items once a minute
        function = "StartFunction" if call is Call.ISSUE else "CallbackFunction"
        browser = Browser(self.healthy)
        self.subscriber.messages()
        state = "" if call is Call.ISSUE else browser.started(at=now)
        if call is Call.LOOKUP:
            browser.granted(state, at=now)
        before = self.healthy.states()

        with (
            self.run(function) as environment,
            ThreadPoolExecutor(1) as user,
        ):
            browser.connector = Deployed(self.aws, self.stack, {function: environment})
            click = user.submit(_click, browser, state, now)
            end(environment)
            first = click.result(timeout=60)
        self.proxy.clear()
        browser.connector = self.healthy

        states = self.healthy.states()
        stored = state in states if state else bool(states - before)
        events = self.subscriber.messages()
        then = browser.granted(state or browser.started(at=now + 60), at=now + 60)
        in_all = events + self.subscriber.messages()
        return Outcome(
            seen(first),
            stored,
            len(events),
            seen(then),
            len(in_all),
            len({event["id"] for event in in_all}),
        )


def variables(aws: LocalAws, stack: Stack, function: str) -> dict[str, str]:
    return stack.environment[function] | aws.client_variables | {"REDIRECT_URI": REDIRECT_URI}


@contextmanager
def kill_harness(
    aws: LocalAws, microburst: str, stack: Stack, packages: Mapping[str, Path]
) -> Iterator[KillHarness]:
    """Run a harness on *stack* inside the block."""
    with ExitStack() as block:
        [proxy] = block.enter_context(fault_proxies(aws, microburst, 1))
        processes = {
            function: block.enter_context(
                start_function(function, packages[function], variables(aws, stack, function))
            )
            for function in FUNCTIONS.values()
        }
        healthy = Deployed(aws, stack, processes)
        yield KillHarness(aws, stack, packages, proxy, healthy, Subscriber(aws, stack))


def _click(browser: Browser, state: str, now: int) -> Response:
    return browser.granted(state, at=now) if state else browser.start(at=now)


def killed(harness: KillHarness, call: Call, moment: str) -> Outcome:
    """Return the outcome of a SIGKILL at *moment* of *call*."""
    harness.proxy.inject(call.operation, Fault.HANGING if moment == BEFORE else Fault.HELD)

    def end(environment: ExecutionEnvironment) -> None:
        harness.proxy.wait_for(call.operation)
        if moment == RESPONDED:
            # The stopped process receives the response, but cannot continue before it is killed.
            os.kill(environment.pid, signal.SIGSTOP)
            harness.proxy.released.set()
            harness.proxy.wait_for(call.operation)
        environment.kill()

    return harness.outcome(call, end)


def killed_after(harness: KillHarness, call: Call, seconds: float) -> Outcome:
    """Return the outcome of a SIGKILL *seconds* after the click that leads to *call*."""

    def end(environment: ExecutionEnvironment) -> None:
        time.sleep(seconds)  # the kill must come at any time, and not at an event
        environment.kill()

    return harness.outcome(call, end)


def timed_out(harness: KillHarness, call: Call) -> Outcome:
    """Return the outcome of an AWS response that drips until Lambda's timeout."""
    harness.proxy.inject(call.operation, Fault.DRIPPING)
    return harness.outcome(call, lambda _: None)


def kill_table(outcomes: Sequence[Outcome]) -> str:
    """Return the Markdown table of the *outcomes* of `KILLS`."""
    rows = [f"{call}, {moment}" for call, moment in KILLS]
    return table("Killed in", zip(rows, outcomes, strict=True))


def drip_table(outcomes: Sequence[Outcome]) -> str:
    """Return the Markdown table of the *outcomes* of dripping responses, one per call."""
    return table("The response that drips", zip(Call, outcomes, strict=True))
