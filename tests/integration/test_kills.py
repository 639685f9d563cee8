"""The built packages, killed: no false success, nothing twice, and one can start again at once."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.local_aws import LocalAws
from tests.integration.connector import PARAMETERS
from tests.integration.faults_page import section
from tests.integration.kills import (
    KILLS,
    Grave,
    drip_table,
    grave,
    kill_table,
    killed,
    killed_after,
    timed_out,
)
from tests.integration.outcomes import Call, Outcome
from tests.slow import SEED, SLOW, slow

AT_ANY_TIME = 100
# Shorter than the template's, for what is seen is the same.
SHORT_TIMEOUT = 2.0  # seconds


@pytest.fixture(scope="module")
def victims(aws: LocalAws, microburst: str, packages: dict[str, Path]) -> Iterator[Grave]:
    """A stack of this module's own and the packages that run on it."""
    with grave(aws, microburst, aws.deploy(PARAMETERS), packages) as found:
        yield found


def assert_nothing_looks_like_success(outcome: Outcome) -> None:
    """Assert what must hold whenever a process dies."""
    assert outcome.seen == "API Gateway's own 500"
    assert outcome.ids <= 1
    assert (outcome.seen_again == "*Received*") == (outcome.events_in_all > outcome.events)
    assert outcome.started_over == "*Received*"


def test_a_process_killed_in_any_call_leaves_no_false_success_and_one_can_start_again(
    victims: Grave,
) -> None:
    outcomes = [killed(victims, call, moment) for call, moment in KILLS]

    for outcome in outcomes:
        assert_nothing_looks_like_success(outcome)
    assert kill_table(outcomes) == section("kills")


def test_an_answer_that_drips_ends_at_lambdas_time_out_and_as_a_kill_does(victims: Grave) -> None:
    timeout = None if SLOW else SHORT_TIMEOUT

    outcomes = [timed_out(victims, call, timeout) for call in Call]

    for outcome in outcomes:
        assert_nothing_looks_like_success(outcome)
    assert drip_table(outcomes) == section("time-outs")


@slow
def test_a_process_killed_at_any_time_leaves_no_false_success(victims: Grave) -> None:
    moments = random.Random(SEED)  # noqa: S311 - repeatable

    for _ in range(AT_ANY_TIME):
        call = moments.choice(list(Call))
        outcome = killed_after(victims, call, moments.uniform(0, 0.08))

        assert outcome.ids <= 1
        assert outcome.started_over == "*Received*"
        if outcome.seen == "*Received*":
            assert outcome.events == 1
