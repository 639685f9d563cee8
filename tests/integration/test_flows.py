"""Thousands of concurrent flows, with four callbacks each: every flow has one outcome."""

from collections import Counter, defaultdict
from typing import Any

import pytest

from demo.local_aws import LocalAws
from tests.integration import flows
from tests.integration.connector import PARAMETERS, Connector, Subscriber
from tests.integration.flows import CallbackResponse
from tests.slow import SEED, slow

FLOWS = 10_000

pytestmark = slow


@pytest.fixture(scope="module")
def run(aws: LocalAws) -> tuple[list[CallbackResponse], list[dict[str, Any]]]:
    """Return all responses and all events of the run."""
    stack = aws.deploy(PARAMETERS)
    subscriber = Subscriber(aws, stack)
    responses = flows.run(Connector(aws, stack), FLOWS, SEED)
    return responses, subscriber.messages()


def test_each_flow_has_one_outcome_and_event_id(
    run: tuple[list[CallbackResponse], list[dict[str, Any]]],
) -> None:
    responses, events = run

    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for response in responses:
        assert response.status == 303
        browser = "wrong" if response.request.kind == "wrong-browser" else "right"
        outcomes[response.request.flow.context][f"{browser}: {response.outcome}"] += 1
    assert len(outcomes) == FLOWS
    for outcome in outcomes.values():
        refused = outcome.pop("wrong: other-browser", 0) + outcome.pop("wrong: used", 0)
        assert (refused, outcome) == (1, {"right: granted": 3})
    ids = {(event["data"]["context"], event["id"]) for event in events}
    assert Counter(context for context, _ in ids) == dict.fromkeys(outcomes, 1)


def test_no_event_holds_a_wrong_browsers_code(
    run: tuple[list[CallbackResponse], list[dict[str, Any]]],
) -> None:
    responses, events = run

    right = {response.request.code for response in responses if response.request.kind == "first"}

    assert {event["data"]["code"] for event in events} == right
