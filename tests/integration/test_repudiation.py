"""After a repudiation, the example subscriber keeps no code and no tokens of its authorization."""

import json
import time
from collections import Counter
from itertools import permutations
from typing import Any

import pytest

from demo import event_source
from demo.gateway import LambdaContext
from tests.integration.subscription import (
    ExampleSubscriber,
    MockQonto,
    confirmation_of,
    granted,
    load,
    read_output,
    rfc3339,
)

HOUR = 3600


def granted_ago(qonto: MockQonto, seconds: float) -> dict[str, Any]:
    """Return an event of *seconds* ago."""
    return granted(qonto) | {"time": rfc3339(time.time() - seconds)}


@pytest.mark.parametrize(
    "order", [*permutations(["publish", "confirm", "repudiate"])], ids="-".join
)
def test_repudiation_in_any_order_is_final(
    example: ExampleSubscriber, qonto: MockQonto, order: tuple[str, ...]
) -> None:
    """After the first delivery of each message, and after a second one."""
    event = granted(qonto)
    exchanged = order[-1] == "repudiate"

    for _ in range(2):
        for step in order:
            getattr(example, step)(event)
            example.poll()

        assert qonto.exchanges == (exchanged, exchanged)
        assert example.grant(event)["status"] == "repudiated"
        assert {"code", "tokens"}.isdisjoint(example.grant(event))
        assert example.status(event) == "repudiated"
        assert example.waiting() == 0


def test_repudiation_may_have_more_members(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = example.connect(granted(qonto))

    example.send(json.dumps(confirmation_of(event) | {"repudiated": True, "reason": "…"}))
    example.poll()

    assert example.grant(event)["status"] == "repudiated"


def test_repudiation_during_exchange_drops_tokens(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    event = granted(qonto)
    other = load(example.environment)

    def repudiate() -> None:
        example.repudiate(event)
        example.poll(other)

    qonto.meanwhile = repudiate
    example.connect(event)

    assert qonto.exchanges == (1, 1)
    assert example.grant(event)["status"] == "repudiated"
    assert {"code", "tokens"}.isdisjoint(example.grant(event))
    assert example.status(event) == "repudiated"


def test_repudiation_outlasts_a_status_underway(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    """A second delivery has read that the grant is connected, and tells the app afterwards."""
    event = example.connect(granted(qonto))
    example.publish(event)

    with example.delayed_poll("Query"):
        example.repudiate(event)
        example.poll()

    assert example.status(event) == "repudiated"
    assert example.organization(event) is None


def test_repudiation_of_other_context_changes_nothing(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    event = example.connect(granted(qonto))

    example.repudiate(event, context="theirs")
    example.poll()

    assert "tokens" in example.grant(event)
    assert example.status(event) == "connected"


def test_late_repudiation_deletes_nothing(
    example: ExampleSubscriber, qonto: MockQonto, capsys: pytest.CaptureFixture[str]
) -> None:
    event = example.connect(granted_ago(qonto, HOUR + 60))
    example.cold_start()

    example.repudiate(event)
    example.poll()

    output = read_output(capsys)
    assert "tokens" in example.grant(event)
    assert example.status(event) == "connected"
    assert output.metrics == Counter(RepudiatedTooLate=1)
    assert [(line["level"], line["reference"]) for line in output.logs] == [
        ("ERROR", event["subject"][:8])
    ]
    assert example.waiting() == 0


def test_repudiation_sent_in_time_deletes_tokens(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    """The queue's time of sending counts, and not when the message is handled."""
    event = example.connect(granted_ago(qonto, 2 * HOUR))
    example.repudiate(event)
    messages = example.aws.sqs.receive_message(QueueUrl=example.queue_url)["Messages"]
    sent_at = int(time.time()) - HOUR - 60
    messages[0]["Attributes"] = {"SentTimestamp": str(sent_at * 1000)}

    example.handler(
        event_source.lambda_event(messages, example.queue_url), LambdaContext("subscriber")
    )

    assert "tokens" not in example.grant(event)
    assert example.status(event) == "repudiated"
