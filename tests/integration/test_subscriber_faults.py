"""Kinds of faults at some calls of the example: none ends otherwise than tests/model assumes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from random import Random
from typing import Any

import pytest

from demo.local_aws import LocalAws
from tests.integration.outcomes import run
from tests.support.faults import Attempt, Fault, FaultProxy, Hurry, Response
from tests.support.slow import SEED, SLOW
from tests.support.subscription import Event, Example, MockQonto, granted, qonto_at

LANES, SAMPLE = 5 if SLOW else 3, 6  # cases of each test in a fast run
REMINDED, GRACE = 24, 60  # seconds
STATUS = {Fault.DENIED: 401, Fault.THROTTLED: 429, Fault.FAILED: 500}  # at Qonto
CONNECTED = "connected", "connected", {"tokens"}
DISCONNECTED = "disconnected", "disconnected", set[str]()
# Calls to find, claim, send, connect; claim, send, renew, read; remind, mark, revoke, delete. Each
# has the number of calls of its operation before.
EXCHANGE = ("Query", 0), ("UpdateItem", 0), ("POST", 0), ("UpdateItem", 1)
REFRESH = *EXCHANGE[1:], ("GetItem", 0)
DISCONNECTION = ("SendMessageBatch", 0), ("UpdateItem", 1), ("DELETE", 0), ("UpdateItem", 5)
type Case = tuple[str, int, Fault, int]  # a call, its fault, and how many attempts have it


def cases(*calls: tuple[str, int]) -> list[Case]:
    """Return each fault of the first and of every attempt of each of *calls*, or a sample."""
    found = [(*call, fault, times) for call, fault, times in product(calls, Fault, (1, 3))]
    return found if SLOW else Random(SEED).sample(found, SAMPLE)  # noqa: S311 - repeatable


class QontoProxy(FaultProxy):
    """A proxy before mock Qonto, with Qonto's errors instead of those of AWS."""

    def _forwarded(self, attempt: Attempt, fault: Fault | None) -> Response:
        if fault in STATUS:
            return STATUS[fault], {}, b"{}"
        return super()._forwarded(attempt, fault)


class Lane(Example):
    """An example with a topic, a mock Qonto and proxies of its own."""

    def __init__(self, aws: LocalAws, block: ExitStack) -> None:
        qonto = MockQonto()
        block.enter_context(qonto.up())
        self.to_qonto = block.enter_context(QontoProxy(qonto.url))
        self.to_aws = block.enter_context(Hurry(aws.endpoint_url))
        qonto.environment = qonto_at(self.to_qonto.url)
        super().__init__(aws, aws.sns.create_topic(Name=f"lane-{id(self)}")["TopicArn"], qonto)
        self.cold_start(**self.to_aws.endpoints)

    @contextmanager
    def failing(self, operation: str, after: int, fault: Fault, times: int) -> Iterator[None]:
        proxy = self.to_qonto if operation in {"POST", "DELETE"} else self.to_aws
        proxy.inject(operation, fault, after=after, times=times)
        yield
        proxy.wait_for(operation)  # else this tests nothing
        proxy.clear()

    def ask(self, event: Event, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return a response, whose success is true, or nothing after an error."""
        try:
            response = self.token(event, **request)
        except Exception:  # noqa: BLE001 - Lambda's response to any
            return {}
        if response["status"] == "connected":
            assert self.qonto.takes(response["access_token"])
        if response["status"] == "disconnected":  # at Qonto too, with the tokens that were lost
            assert response["revoked"]
            assert not any(map(self.qonto.takes, self.qonto.server._access_tokens))  # noqa: SLF001
        return response

    def pass_time(self, event: Event, seconds: int) -> None:
        """Let *seconds* pass for Qonto and for the claim of a refresh."""
        now = self.qonto.server.now
        self.qonto.server.now = lambda: now() + seconds
        if claim := self.grant(event).get("refresh"):
            self.change(event, refresh=claim | {"claimed_at": claim["claimed_at"] - seconds})


@pytest.fixture(scope="module")
def lanes(aws: LocalAws) -> Iterator[list[Lane]]:
    with ExitStack() as block:
        yield [Lane(aws, block) for _ in range(LANES)]


@pytest.mark.claim("S27", "T12")
def test_fault_around_exchange_sends_code_once(lanes: list[Lane]) -> None:
    def outcome(lane: Lane, case: Case) -> None:
        event, sent = granted(lane.qonto), lane.to_qonto.attempts["POST"]
        lane.handle(event, "publish")
        with lane.failing(*case):
            lane.handle(event, "confirm")
        lane.outlive_claim(event)
        lane.poll()
        status, _, _ = found = lane.outcome(event)
        lane.connect(event)  # both messages are delivered again

        operation, _, fault, times = case
        is_repeated = times == 1 and fault is not Fault.DENIED  # by the AWS client
        ends = {"POST": "lost failed", "Query": "connected"}
        assert status in ends.get(operation, "connected" if is_repeated else "connected lost")
        assert found == (CONNECTED if status == "connected" else (status, status, set()))
        assert (lane.outcome(event), lane.waiting()) == (found, 0)
        assert lane.to_qonto.attempts["POST"] - sent <= 1
        assert status != "connected" or lane.ask(event)["status"] == status

    run(lanes, outcome, cases(*EXCHANGE))


@pytest.mark.parametrize("disconnect", [False, True])
@pytest.mark.claim("S32", "S34", "T12")
def test_fault_in_request_only_delays_its_end(lanes: list[Lane], *, disconnect: bool) -> None:
    calls, end = (DISCONNECTION, DISCONNECTED) if disconnect else (REFRESH, CONNECTED)

    def outcome(lane: Lane, case: Case) -> None:
        event = lane.connect(granted(lane.qonto))
        if not disconnect:
            lane.change(event, issued_at=0)
        with lane.failing(*case):
            lane.ask(event, disconnect=disconnect)
        lane.pass_time(event, REMINDED)
        lane.poll()
        assert lane.outcome(event) in (CONNECTED, end)
        lane.pass_time(event, GRACE)
        response = lane.ask(event, disconnect=disconnect)
        lane.handle(event, "remind")
        assert (lane.ask(event), response["status"]) == (response, end[0])
        assert lane.outcome(event) == end
        assert lane.waiting() == lane.qonto.server.reuses == 0

    run(lanes, outcome, cases(*calls))
