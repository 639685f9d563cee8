"""A connection lives through a hundred refreshes under random faults, and is read from at each."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from math import ceil
from pathlib import Path
from queue import Empty
from random import Random
from threading import Lock
from typing import Any

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from demo import clock as shared_clock
from demo import event_source
from demo.clock import Clock
from demo.gateway import Handler
from demo.local_aws import LocalAws, Stack
from demo.qonto import ShownError
from tests.integration.faults import ANY, Fault, Hurry
from tests.integration.subscriber_outcomes import Function
from tests.integration.subscription import (
    STAGING,
    ExampleSubscriber,
    MockQonto,
    granted,
    load,
    load_tokens,
)
from tests.lambda_runtime import FunctionError
from tests.slow import SEED, slow

ROUNDS, CALLERS = 100, 3
MINUTE = 60
WAIT = 11  # seconds in which a caller's function gives up waiting for another one
NEXT_MESSAGE = 24  # seconds; then the claim of the function before is over
# After one of these faults, the AWS client repeats the call.
REPEATED = [
    Fault.RESET,
    Fault.FAILED_LATE,
    Fault.LOST,
    Fault.THROTTLED,
    Fault.FAILED,
    Fault.CUT_OFF,
]
FATAL = [
    Fault.MALFORMED,
    Fault.THEN_REFUSED,
    Fault.DENIED,
    Fault.SHORTENED,
    Fault.HANGING,
    Fault.SILENT,
    *REPEATED,
]
ERROR = PlainTextResponse("", 500)
CUT_OFF = PlainTextResponse("{", headers={"Content-Length": "9"})
NO_TOKENS = PlainTextResponse("<html>")
TOO_MANY = PlainTextResponse("", 429)

type Load = Callable[[dict[str, str]], Handler]
type Ask = Callable[[dict[str, Any]], dict[str, Any]]


class LosingQonto(MockQonto):
    """Mock Qonto on the shared clock, which loses requests and responses.

    Attributes:
        losses: how many more it may lose.

    """

    def __init__(self, clock: Clock, random: Random) -> None:
        super().__init__()
        self.server.now = lambda: time.time() + clock.ahead
        self.losses = 0
        self._random = random

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v2/organization" or not self.losses or self._random.random() < 0.5:
            await super()._app(scope, receive, send)
            return
        self.losses -= 1
        instead = [ERROR, CUT_OFF]
        if self._random.random() < 0.7:
            await super()._app(scope, receive, _nowhere)
        else:
            instead.append(TOO_MANY)
        if scope["path"] == "/oauth2/token":
            instead.append(NO_TOKENS)
        await self._random.choice(instead)(scope, receive, send)


async def _nowhere(_message: object) -> None:
    """Lose a response."""


class ClockedFunction(Function):
    """A process of a handler, on the shared clock, whose AWS calls fail."""

    def __init__(
        self, environment: dict[str, str], proxy: Hurry, load_handler: Load, random: Random
    ) -> None:
        self._random = random
        super().__init__(environment, proxy, partial(_load_clocked, load_handler))

    def handle(self, event: dict[str, Any], _context: object = None) -> dict[str, Any]:
        """Handle *event*; an AWS call may fail once, and is repeated."""
        if self._random.random() < 0.3:
            self._inject(self._random.choice(REPEATED), 1)
        return self._handle(event)

    def fail(self, event: dict[str, Any], _context: object = None) -> dict[str, Any]:
        """Handle *event*; an AWS call fails for good."""
        self._inject(self._random.choice(FATAL), 3)
        return self._handle(event)

    def die(self, event: dict[str, Any], _context: object = None) -> dict[str, Any]:
        """Handle *event*, until the process is killed before or after an AWS call.

        Half of the time it is before the new tokens of a refresh are stored.
        """
        if self._random.random() < 0.5:
            self.proxy.inject("UpdateItem", Fault.HANGING, after=1, times=1)
        else:
            self._inject(self._random.choice([Fault.HANGING, Fault.HELD]), 1)
        with ThreadPoolExecutor(1) as thread:
            handled = thread.submit(self._handle, event)
            while not handled.done():
                with suppress(Empty):
                    self.proxy.wait_for(ANY, 0.05)
                    self.kill()
                    break
            return handled.result()

    def _inject(self, fault: Fault, times: int) -> None:
        self.proxy.inject(ANY, fault, after=self._random.randrange(7), times=times)

    def _handle(self, event: dict[str, Any]) -> dict[str, Any]:
        try:
            return self(event)
        except FunctionError as error:
            killed = error.type == "Runtime.ExitError"
            return {"status": "killed" if killed else "FunctionError"}
        finally:
            self.proxy.clear()


def _load_clocked(load_handler: Load, environment: dict[str, str]) -> Handler:
    os.environ[shared_clock.VARIABLE] = environment[shared_clock.VARIABLE]
    shared_clock.install()
    return load_handler(environment)


@dataclass
class Life:
    """A connection and its callers, each with a process of `tokens`.

    Time passes between their calls. Within a call, it passes when another caller has an accident.
    """

    example: ExampleSubscriber
    qonto: LosingQonto
    clock: Clock
    random: Random
    functions: list[ClockedFunction]
    subscriber: ClockedFunction
    event: dict[str, Any]
    seen: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def read_by_all(self, refused: str = "") -> None:
        """Let each caller read Qonto's API, which has *refused* an access token.

        A connection survives two kills within the grace of a refresh token, with some losses
        besides. Either its callers ask again within the grace, or its messages must be enough.
        """
        plan = self.random.choice([[], ["fail"], ["die"], ["die", "die"]])
        by_message = "fail" not in plan and self.random.random() < 0.5
        self.qonto.losses = 2 - len(plan) if by_message else 5 - 2 * len(plan)
        waiting, moment = self.functions, self.qonto.server.now()
        if by_message:
            waiting = [self.random.choice(self.functions)]
        for attempt in range(9):
            accident = plan.pop(0) if plan else "handle"
            reckless = self.random.choice(waiting)
            asks = [getattr(each, accident if each is reckless else "handle") for each in waiting]
            with ThreadPoolExecutor() as threads:
                asked = [threads.submit(self._token, refused, ask) for ask in asks]
                if accident != "handle" and wait(asked, timeout=1).not_done:
                    self._give_up()
            tokens = [each.result() for each in asked]
            reads = [self._reads(token) for token in tokens]
            waiting = [each for each, read in zip(waiting, reads, strict=True) if not read]
            if not waiting:
                break
            refused = max(token for token, read in zip(tokens, reads, strict=True) if not read)
            if by_message and not attempt:
                moment = self._deliver(moment, plan.pop() if plan else "handle") + 2 * MINUTE
            else:
                moment += self.random.randrange(WAIT) if accident == "handle" else NEXT_MESSAGE
            self._wait_until(moment)
        assert not waiting, self.seen
        self._deliver(self.qonto.server.now())

    def disconnect(self) -> dict[str, Any]:
        """End the connection; a function may be stopped, and Qonto may lose responses."""
        self.qonto.losses = 3
        function = self.functions[0]
        for ask in (function.fail, function.die, function.handle, function.handle):
            response = self._ask(ask, disconnect=True)
            self._deliver(self.qonto.server.now())
        return response

    def _deliver(self, moment: float, accident: str = "handle") -> float:
        """Handle the messages of functions that ran at *moment*, and return when that ends.

        The first message may have an accident. It comes again after the grace, which is too late.
        """
        self._wait_until(moment + NEXT_MESSAGE)
        self._poll_once(getattr(self.subscriber, accident))
        self._wait_until(moment + 2 * NEXT_MESSAGE)
        while self.example.poll(self.subscriber.handle):
            pass
        return moment + 2 * NEXT_MESSAGE

    def _poll_once(self, ask: Ask) -> None:
        def handled(event: dict[str, Any], _context: object) -> dict[str, Any]:
            ask(event)
            return {"batchItemFailures": []}

        event_source.poll(self.example.aws.sqs, self.example.queue_url, handled, batch_size=1)

    def _wait_until(self, moment: float) -> None:
        """Put the clock forward to *moment*; what has really passed by then makes no difference."""
        self.clock.put_forward(max(0, ceil(moment - self.qonto.server.now())))

    def _token(self, refused: str, ask: Ask) -> str:
        response = self._ask(ask, **({"refused": refused} if refused else {}))
        return str(response.get("access_token", ""))

    def _ask(self, ask: Ask, **request: str | bool) -> dict[str, Any]:
        response = ask({"authorization_id": self.event["subject"], **request})
        self.seen[response["status"]] += 1
        if response["status"] in {"killed", "FunctionError"}:
            self._give_up()
        return response

    def _give_up(self) -> None:
        """Let those who wait for the refresh of a function that was stopped give up."""
        with self.lock:
            self.clock.put_forward(WAIT)

    def _reads(self, access_token: str) -> bool:
        if not access_token:
            return False
        headers = STAGING | {"Authorization": f"Bearer {access_token}"}
        read = httpx2.get(f"{self.qonto.url}/v2/organization", headers=headers)
        self.seen[f"read {read.status_code}"] += 1
        return read.status_code == HTTPStatus.OK


@pytest.fixture
def life(aws: LocalAws, stack: Stack, tmp_path: Path, microburst: str) -> Iterator[Life]:
    """A new connection."""
    random = Random(SEED)  # noqa: S311 - repeatable
    clock = Clock(tmp_path / "clock")
    with ExitStack() as block:
        qonto = LosingQonto(clock, Random(SEED))  # noqa: S311 - repeatable
        block.enter_context(qonto.up())
        example = ExampleSubscriber(aws, stack.topic_arn, qonto)
        example.set_redrive_policy()
        environment = example.environment | {shared_clock.VARIABLE: str(tmp_path / "clock")}

        def started(load_handler: Load, number: int) -> ClockedFunction:
            proxy = block.enter_context(Hurry(aws.endpoint_url, microburst))
            own = Random(SEED + number)  # noqa: S311 - repeatable
            return block.enter_context(ClockedFunction(environment, proxy, load_handler, own))

        functions = [started(load_tokens, number) for number in range(CALLERS)]
        subscriber = started(load, CALLERS)
        event = example.connect(granted(qonto))
        yield Life(example, qonto, clock, random, functions, subscriber, event)


@slow
@pytest.mark.claim("S32")
def test_connection_lives_through_hundred_refreshes(life: Life) -> None:
    for _ in range(ROUNDS):
        is_refused = life.random.random() < 0.3  # early, by Qonto's API
        refused = life.example.tokens(life.event)["access_token"] if is_refused else ""
        least = 2 if is_refused else 50
        life.clock.put_forward(life.random.randrange(least * MINUTE, 70 * MINUTE))
        life.read_by_all(refused)
        assert life.qonto.server.reuses == 0
    tokens = life.example.tokens(life.event)
    refreshes = life.qonto.server.refreshes

    end = life.disconnect()

    assert refreshes >= ROUNDS
    assert life.seen["killed"]
    assert life.seen["ended"] == 0
    assert end == {"status": "disconnected", "revoked": True}
    assert "tokens" not in life.example.grant(life.event)
    assert life.example.status(life.event) == "disconnected"
    assert not life.qonto.takes(tokens["access_token"])
    with pytest.raises(ShownError, match="invalid_grant"):
        life.qonto.refresh(tokens["refresh_token"])
    assert life.example.waiting() == 0
    assert life.example.dead_letters() == []
