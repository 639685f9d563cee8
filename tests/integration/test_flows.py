"""Thousands of flows at once, each answered four times: one event each, and nobody else's."""

from collections import Counter, defaultdict
from typing import Any

import pytest

from demo.local_aws import LocalAws
from tests.integration import flows
from tests.integration.connector import PARAMETERS, Connector, Subscriber
from tests.integration.flows import Answered
from tests.slow import SEED, SLOW

FLOWS = 10_000 if SLOW else 200


@pytest.fixture(scope="module")
def run(aws: LocalAws) -> tuple[list[Answered], list[dict[str, Any]]]:
    """All answers of the run, and all events."""
    stack = aws.deploy(PARAMETERS)
    subscriber = Subscriber(aws, stack)
    responses = flows.run(Connector(aws, stack), FLOWS, SEED)
    return responses, subscriber.messages()


def test_of_each_flow_one_answer_counts_whatever_else_comes_and_in_whatever_order(
    run: tuple[list[Answered], list[dict[str, Any]]],
) -> None:
    responses, events = run

    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for response in responses:
        assert response.status == 303
        whose = "wrong" if response.request.kind == "wrong-browser" else "right"
        outcomes[response.request.flow.context][f"{whose}: {response.outcome}"] += 1
    assert len(outcomes) == FLOWS
    for outcome in outcomes.values():
        refused = outcome.pop("wrong: other-browser", 0) + outcome.pop("wrong: used", 0)
        assert (refused, outcome) == (1, {"right: granted": 1, "right: used": 2})
    assert Counter(event["data"]["context"] for event in events) == dict.fromkeys(outcomes, 1)


def test_no_event_holds_what_a_wrong_browser_brought(
    run: tuple[list[Answered], list[dict[str, Any]]],
) -> None:
    responses, events = run

    right = {it.request.code for it in responses if it.request.kind == "first"}

    assert {event["data"]["code"] for event in events} == right
