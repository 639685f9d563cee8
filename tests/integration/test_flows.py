"""Thousands of flows at once, each answered four times: one event each, and nobody else's."""

from collections import Counter, defaultdict
from typing import Any

import pytest

from demo.local_aws import LocalAws
from tests.integration import flows
from tests.integration.flows import Answered
from tests.integration.pair import PARAMETERS, Pair, Subscriber
from tests.slow import SEED, SLOW

FLOWS = 10_000 if SLOW else 200


@pytest.fixture(scope="module")
def run(aws: LocalAws) -> tuple[list[Answered], list[dict[str, Any]]]:
    """All answers of the run, and all events."""
    stack = aws.deploy(PARAMETERS)
    subscriber = Subscriber(aws, stack)
    answers = flows.run(Pair(aws, stack), FLOWS, SEED)
    return answers, subscriber.messages()


def test_of_each_flow_one_answer_counts_whatever_else_comes_and_in_whatever_order(
    run: tuple[list[Answered], list[dict[str, Any]]],
) -> None:
    answers, events = run

    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        assert answer.status == 303
        whose = "wrong" if answer.request.kind == "wrong-browser" else "right"
        outcomes[answer.request.flow.context][f"{whose}: {answer.outcome}"] += 1
    assert len(outcomes) == FLOWS
    for outcome in outcomes.values():
        refused = outcome.pop("wrong: other-browser", 0) + outcome.pop("wrong: used", 0)
        assert (refused, outcome) == (1, {"right: granted": 1, "right: used": 2})
    assert Counter(event["data"]["context"] for event in events) == dict.fromkeys(outcomes, 1)


def test_no_event_holds_what_a_wrong_browser_brought(
    run: tuple[list[Answered], list[dict[str, Any]]],
) -> None:
    answers, events = run

    right = {it.request.code for it in answers if it.request.kind == "first"}

    assert {event["data"]["code"] for event in events} == right
