"""The example subscriber sends a code to Qonto at most once, whatever happens to it."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import boto3
import pytest
from starlette.responses import PlainTextResponse, Response

from demo import event_source
from demo.gateway import Handler, LambdaContext
from tests.integration.faults import Fault, FaultProxy
from tests.integration.forks import Fork, in_forks
from tests.integration.subscription import (
    Breaks,
    ExampleSubscriber,
    MockQonto,
    granted,
    load,
    load_with,
    read_output,
)
from tests.slow import slow

PROCESSES = 4


@pytest.fixture
def faults(example: ExampleSubscriber) -> Iterator[FaultProxy]:
    """A proxy before the function's DynamoDB."""
    with FaultProxy(example.aws.endpoint_url, microburst="") as proxy:
        example.cold_start(**proxy.endpoints)
        yield proxy


# -------------------------------------------------------------------- the two locks


def test_second_delivery_changes_nothing(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = example.connect(granted(qonto))
    before = example.grant(event)

    for _ in range(2):
        example.connect(event)

    assert qonto.exchanges == (1, 1)
    assert example.grant(event) == before
    assert example.status(event) == "connected"
    assert example.waiting() == 0


def _load_without_claims(environment: dict[str, str]) -> Handler:
    handler: Handler = load_with(environment, claim=lambda _self, grant, _now: grant)
    return handler


def _handle(fork: Fork, event: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(fork.handler(event, LambdaContext("subscriber")))]


def deliver_concurrently(
    example: ExampleSubscriber,
    event: dict[str, Any],
    loaded: Callable[[dict[str, str]], Handler] = load,
) -> None:
    """Hand one confirmed event to PROCESSES copies of the function at the same moment."""
    example.confirm(event)
    example.poll()
    example.publish(event)
    received = example.aws.sqs.receive_message(QueueUrl=example.queue_url)["Messages"]
    lambda_event = event_source.lambda_event(received, example.queue_url)
    in_forks(PROCESSES, loaded, example.environment, _handle, lambda_event)


def test_concurrent_deliveries_exchange_once(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = granted(qonto)

    deliver_concurrently(example, event)

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"


@slow
def test_concurrent_deliveries_need_the_claim(example: ExampleSubscriber, qonto: MockQonto) -> None:
    """The test above can fail."""
    deliver_concurrently(example, granted(qonto), _load_without_claims)

    assert qonto.exchanges[0] > 1


@pytest.mark.parametrize("form", ["{0}.{1}", "ory_ac_changed.{1}", "{1}"])
def test_used_code_in_other_authorization_fails(
    example: ExampleSubscriber, qonto: MockQonto, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Qonto knows a code by its second part, and revokes before it looks at the first."""
    first = example.connect(granted(qonto))

    code = form.format(*first["data"]["code"].split("."))
    second = example.connect(granted(qonto, code=code))

    assert qonto.exchanges == (1, 1)
    assert example.grant(second)["reason"] == "code-used"
    assert "code" not in example.grant(second)
    assert example.status(second) == "failed"
    assert "tokens" in example.grant(first)
    assert example.status(first) == "connected"
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_used_code_needs_its_lock(example: ExampleSubscriber, qonto: MockQonto) -> None:
    """The test above can fail: Qonto sees the code twice, and revokes the tokens."""
    example.handler = load_with(example.environment, _lock=lambda _self, _grant: None)
    first = example.connect(granted(qonto))

    example.connect(granted(qonto, code=first["data"]["code"]))

    assert qonto.exchanges == (2, 1)


# -------------------------------------------------------- the owner of an exchange


@pytest.mark.parametrize("response", [None, PlainTextResponse("", 400), PlainTextResponse("", 500)])
def test_outcome_without_claim_changes_nothing(
    example: ExampleSubscriber, qonto: MockQonto, response: Response | None
) -> None:
    event = granted(qonto)
    qonto.instead = response
    qonto.meanwhile = lambda: example.change_grant(event, "owner", {"S": "another"})

    example.connect(event)

    grant = example.grant(event)
    assert (grant["status"], grant["owner"]) == ("exchanging", "another")
    assert "code" in grant
    assert example.status(event) == "pending"


def test_release_without_claim_changes_nothing(example: ExampleSubscriber, down: MockQonto) -> None:
    event = granted(down)
    example.publish(event)
    example.poll()
    example.confirm(event)

    with example.delayed_poll("UpdateItem"):  # the claim
        example.change_grant(event, "owner", {"S": "another"})
    with down.up():
        example.poll()

    grant = example.grant(event)
    assert (grant["status"], grant["owner"]) == ("exchanging", "another")
    assert down.exchanges == (0, 0)
    assert example.waiting() == 1


# ------------------------------------------------------------------------ crashes


def _poll_once(environment: dict[str, str], queue_url: str) -> None:
    handler = load(environment)
    os.environ |= environment
    event_source.poll(boto3.client("sqs"), queue_url, handler)


def kill_during_exchange(
    example: ExampleSubscriber, qonto: MockQonto, where: Breaks
) -> dict[str, Any]:
    """Kill the function while it waits for Qonto's response; return the event."""
    event = granted(qonto)
    example.confirm(event)
    example.poll()
    example.publish(event)
    qonto.breaks = where
    function = get_context("spawn").Process(
        target=_poll_once, args=(example.environment, example.queue_url)
    )
    function.start()
    assert qonto.reached.wait(30)
    assert function.pid
    os.kill(function.pid, signal.SIGKILL)
    function.join()
    qonto.breaks = None
    example.publish(event)  # a second delivery
    return event


@pytest.mark.parametrize(("where", "succeeded"), [("before", 0), ("after", 1)])
def test_killed_exchange_is_lost(
    example: ExampleSubscriber,
    qonto: MockQonto,
    capsys: pytest.CaptureFixture[str],
    where: Breaks,
    succeeded: int,
) -> None:
    event = kill_during_exchange(example, qonto, where)

    example.poll()
    too_early = example.grant(event)["status"]
    example.outlive_claim(event)
    example.poll()

    assert too_early == "exchanging"  # nobody knows whether it is still running
    assert qonto.exchanges == (succeeded, succeeded)
    assert example.grant(event)["status"] == "lost"
    assert "code" not in example.grant(event)
    assert example.status(event) == "lost"
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_crash_before_telling_app_is_repaired(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = example.connect(granted(qonto))
    example.change_connection(event, "status", {"S": "pending"})

    example.publish(event)
    example.poll()

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"


def test_unstored_tokens_are_lost(
    example: ExampleSubscriber, qonto: MockQonto, faults: FaultProxy
) -> None:
    qonto.meanwhile = lambda: faults.inject("UpdateItem", Fault.RESET)
    event = example.connect(granted(qonto))
    faults.clear()
    example.outlive_claim(event)

    example.poll()

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "lost"
    assert example.waiting() == 0
