"""The example subscriber sends a code to Qonto at most once, whatever happens to it."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from demo import event_source
from demo.gateway import Handler, LambdaContext
from demo.local_aws import free_port
from tests.integration.forks import Fork, in_forks
from tests.integration.subscription import (
    ExampleSubscriber,
    granted,
    load,
    load_with,
    read_output,
)
from tests.slow import slow

pytestmark = [pytest.mark.usefixtures("qonto"), pytest.mark.claim("S27", "T5")]
CONNECTED = "connected", "connected", {"tokens"}


def _claim_nothing(_grants: object, grant: object, _now: int) -> object:
    return grant


def _handle(fork: Fork, event: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(fork.handler(event, LambdaContext("subscriber")))]


@pytest.mark.parametrize(
    ("loaded", "is_sent_once"),
    [(load, True), pytest.param(partial(load_with, claim=_claim_nothing), False, marks=slow)],
)
def test_concurrent_deliveries_need_claim(
    example: ExampleSubscriber, loaded: Callable[..., Handler], *, is_sent_once: bool
) -> None:
    """One confirmed event reaches four copies of the function at the same moment."""
    event = granted(example.qonto)
    example.handle(event, "confirm")
    example.publish(event)
    received = example.aws.sqs.receive_message(QueueUrl=example.queue_url)["Messages"]
    batch = event_source.lambda_event(received, example.queue_url)

    in_forks(4, loaded, example.environment, _handle, batch)

    assert (example.qonto.exchanges == (1, 1)) == is_sent_once
    if is_sent_once:
        assert example.outcome(event) == CONNECTED


@pytest.mark.parametrize("form", ["{0}.{1}", "ory_ac_changed.{1}", "{1}"])
def test_used_code_in_other_authorization_fails(
    example: ExampleSubscriber, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Qonto knows a code by its second part, and revokes before it looks at the first."""
    first = example.connect(granted(example.qonto))

    code = form.format(*first["data"]["code"].split("."))
    second = example.connect(granted(example.qonto, code=code))

    assert example.qonto.exchanges == (1, 1)
    assert example.grant(second)["reason"] == "code-used"
    assert example.outcome(second) == ("failed", "failed", set())
    assert example.outcome(first) == CONNECTED
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_used_code_needs_its_lock(example: ExampleSubscriber) -> None:
    """The test above can fail: Qonto sees the code twice, and revokes the tokens."""
    example.handler = load_with(example.environment, _lock=lambda _self, _grant: None)
    first = example.connect(granted(example.qonto))

    example.connect(granted(example.qonto, code=first["data"]["code"]))

    assert example.qonto.exchanges == (2, 1)


@pytest.mark.parametrize("response", [None, PlainTextResponse("", 400), PlainTextResponse("", 500)])
def test_outcome_without_claim_changes_nothing(
    example: ExampleSubscriber, response: Response | None
) -> None:
    event = granted(example.qonto)
    example.qonto.instead = response
    example.qonto.meanwhile = lambda: example.change_grant(event, "owner", {"S": "another"})

    example.connect(event)

    assert example.outcome(event) == ("exchanging", "pending", {"code"})
    assert example.grant(event)["owner"] == "another"


def test_release_without_claim_changes_nothing(example: ExampleSubscriber) -> None:
    nowhere = {"TOKEN_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    event = granted(example.qonto)
    example.handle(event, "publish")
    example.confirm(event)

    with example.held("UpdateItem", lambda found: example.poll(load(found | nowhere))):
        example.change_grant(event, "owner", {"S": "another"})
    example.poll()

    assert example.outcome(event) == ("exchanging", "pending", {"code"})
    assert example.grant(event)["owner"] == "another"
    assert example.qonto.exchanges == (0, 0)
    assert example.waiting() == 1


def test_interrupted_exchange_is_lost_after_timeout(
    example: ExampleSubscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function was killed; until its time-out, nobody knows whether it is still running."""
    event = granted(example.qonto)
    example.handle(event, "publish")
    example.change_grant(event, "status", {"S": "exchanging"})
    example.change_grant(event, "owner", {"S": "another"})
    example.outlive_claim(event, seconds=-9)
    example.handle(event, "confirm")
    too_early = example.outcome(event), example.waiting()

    example.outlive_claim(event)
    example.poll()

    assert too_early == (("exchanging", "pending", {"code"}), 1)
    assert example.outcome(event) == ("lost", "lost", set())
    assert example.qonto.exchanges == (0, 0)
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_second_delivery_tells_app_again(example: ExampleSubscriber) -> None:
    """The function was stopped before it told the app."""
    event = example.connect(granted(example.qonto))
    before = example.grant(event)
    example.change_status(event, "pending")

    example.handle(event, "publish")

    assert example.qonto.exchanges == (1, 1)
    assert example.grant(event) == before
    assert example.status(event) == "connected"
