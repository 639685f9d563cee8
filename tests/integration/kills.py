"""A function's process killed at each moment that can be told apart from outside.

What counts is the last AWS call that was taken. Between two of them it makes no difference when a
process dies: it keeps nothing that outlives it.
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
BEFORE, TAKEN, ANSWERED = "before it was sent", "taken and not answered", "answered"
KILLS = [(call, moment) for call in Call for moment in (BEFORE, TAKEN, ANSWERED)]


class Deployed(Connector):
    """The built packages, each under a Runtime API, before an API Gateway."""

    def __init__(
        self,
        aws: LocalAws,
        stack: Stack,
        environments: Mapping[str, ExecutionEnvironment],
    ) -> None:
        """Take the process that runs each function."""
        self.aws, self.stack = aws, stack
        self.start, self.callback = (_invoked(environments.get(it)) for it in FUNCTIONS.values())


def _invoked(environment: ExecutionEnvironment | None) -> Handler:
    def handler(event: dict[str, object], _context: object) -> object:
        assert environment
        try:
            return environment.invoke(event)
        except FunctionError:
            return {"statusCode": 500, "headers": {}, "body": '{"message":"Internal Server Error"}'}

    return handler


@dataclass(frozen=True)
class Grave:
    """What kills need.

    Attributes:
        aws: where the stack is.
        stack: of their own.
        packages: both, as they are deployed.
        proxy: between the process that dies and AWS.
        survivor: the pair that the next click reaches.

    """

    aws: LocalAws
    stack: Stack
    packages: Mapping[str, Path]
    proxy: FaultProxy
    survivor: Deployed
    subscriber: Subscriber

    @contextmanager
    def victim(self, function: str, timeout: float | None = None) -> Iterator[ExecutionEnvironment]:
        """Run *function* behind the proxy, with another time-out than the template's if given."""
        properties = infra.function(infra.load(), function)
        with ExecutionEnvironment(
            self.packages[function],
            properties["Handler"],
            variables(self.aws, self.stack, function) | self.proxy.endpoints,
            name=function,
            timeout=timeout or properties["Timeout"],
        ) as environment:
            environment.wait_until_initialised()
            yield environment

    def outcome(
        self,
        call: Call,
        end: Callable[[ExecutionEnvironment], None],
        timeout: float | None = None,
    ) -> Outcome:
        """Return what comes of it when *end* ends the function's process in *call*."""
        now = int(time.time())  # the local AWS removes what has expired once a minute
        function = "StartFunction" if call is Call.ISSUE else "CallbackFunction"
        browser = Browser(self.survivor)
        state = "none" if call is Call.ISSUE else browser.started(at=now)
        before = self.survivor.states()
        self.subscriber.messages()
        if call is Call.RESTORE:
            self.proxy.inject("Publish", Fault.DENIED)

        with (
            self.victim(function, timeout) as environment,
            ThreadPoolExecutor(1) as user,
        ):
            browser.connector = Deployed(self.aws, self.stack, {function: environment})
            click = user.submit(_click, browser, state, now)
            end(environment)
            first = click.result(timeout=60)
        self.proxy.clear()
        browser.connector = self.survivor

        states = self.survivor.states()
        stored = bool(states - before) if call is Call.ISSUE else state in states
        events = self.subscriber.messages()
        again = _click(browser, state, now + 60)
        events_in_all = events + self.subscriber.messages()
        restarted = browser.granted(browser.started(at=now), at=now)
        self.subscriber.messages()
        return Outcome(
            seen(first),
            stored,
            len(events),
            seen(again),
            len(events_in_all),
            len({event["id"] for event in events_in_all}),
            seen(restarted),
        )


def variables(aws: LocalAws, stack: Stack, function: str) -> dict[str, str]:
    return stack.environment[function] | aws.client_variables | {"REDIRECT_URI": REDIRECT_URI}


@contextmanager
def grave(
    aws: LocalAws, microburst: str, stack: Stack, packages: Mapping[str, Path]
) -> Iterator[Grave]:
    """Run what kills need for as long as the block runs."""
    with ExitStack() as block:
        [proxy] = block.enter_context(fault_proxies(aws, microburst, 1))
        survivors = {
            function: block.enter_context(
                start_function(
                    function,
                    packages[function],
                    variables(aws, stack, function),
                )
            )
            for function in FUNCTIONS.values()
        }
        survivor = Deployed(aws, stack, survivors)
        yield Grave(aws, stack, packages, proxy, survivor, Subscriber(aws, stack))


def _click(browser: Browser, state: str, now: int) -> Response:
    return browser.start(at=now) if state == "none" else browser.granted(state, at=now)


def killed(grave: Grave, call: Call, moment: str) -> Outcome:
    """Return what comes of a SIGKILL at *moment* of *call*."""
    grave.proxy.inject(call.operation, Fault.HANGING if moment == BEFORE else Fault.HELD)

    def end(environment: ExecutionEnvironment) -> None:
        grave.proxy.wait_for(call.operation)
        if moment == ANSWERED:
            # The answer reaches a process that stands still, and cannot go on before it dies.
            os.kill(environment.pid, signal.SIGSTOP)
            grave.proxy.released.set()
            grave.proxy.wait_for(call.operation)
        environment.kill()

    return grave.outcome(call, end)


def killed_after(grave: Grave, call: Call, seconds: float) -> Outcome:
    """Return what comes of a SIGKILL *seconds* after the click, wherever the function is then."""

    def end(environment: ExecutionEnvironment) -> None:
        time.sleep(seconds)  # a moment is what this is about
        environment.kill()

    return grave.outcome(call, end)


def timed_out(grave: Grave, call: Call, timeout: float | None) -> Outcome:
    """Return what comes of an answer that drips until Lambda's time-out."""
    grave.proxy.inject(call.operation, Fault.DRIPPING)
    return grave.outcome(call, lambda _: None, timeout)


def kill_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of KILLS."""
    rows = [f"{call}, {moment}" for call, moment in KILLS]
    return table("Killed in", zip(rows, outcomes, strict=True))


def drip_table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of calls whose answers drip."""
    return table("The answer that drips", zip(Call, outcomes, strict=True))
