"""Kills of the built packages: no false success, no second id, and the user can start again."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.local_aws import LocalAws
from tests.integration.connector import PARAMETERS
from tests.integration.faults_page import section
from tests.integration.kills import (
    KILLS,
    KillHarness,
    drip_table,
    kill_harness,
    kill_table,
    killed,
    killed_after,
    timed_out,
)
from tests.integration.outcomes import Call, Outcome
from tests.slow import SEED, SLOW, slow

RANDOM_KILLS = 100
# Shorter than the template's timeout, because the outcome is the same.
SHORT_TIMEOUT = 2.0  # seconds


@pytest.fixture(scope="module")
def harness(aws: LocalAws, microburst: str, packages: dict[str, Path]) -> Iterator[KillHarness]:
    """The built packages on a stack of this module's own."""
    with kill_harness(aws, microburst, aws.deploy(PARAMETERS), packages) as found:
        yield found


def assert_no_false_success(outcome: Outcome) -> None:
    """Assert the rules that hold for each kill."""
    assert outcome.seen == "API Gateway's own 500"
    assert outcome.ids <= 1
    assert (outcome.seen_again == "*Received*") == (outcome.events_in_all > outcome.events)
    assert outcome.started_over == "*Received*"


def test_kill_in_any_call_shows_no_success(harness: KillHarness) -> None:
    outcomes = [killed(harness, call, moment) for call, moment in KILLS]

    for outcome in outcomes:
        assert_no_false_success(outcome)
    assert kill_table(outcomes) == section("kills")


def test_dripping_response_ends_like_a_kill(harness: KillHarness) -> None:
    timeout = None if SLOW else SHORT_TIMEOUT

    outcomes = [timed_out(harness, call, timeout) for call in Call]

    for outcome in outcomes:
        assert_no_false_success(outcome)
    assert drip_table(outcomes) == section("time-outs")


@slow
def test_kill_at_any_time_shows_no_false_success(harness: KillHarness) -> None:
    moments = random.Random(SEED)  # noqa: S311 - repeatable

    for _ in range(RANDOM_KILLS):
        call = moments.choice(list(Call))
        outcome = killed_after(harness, call, moments.uniform(0, 0.08))

        assert outcome.ids <= 1
        assert outcome.started_over == "*Received*"
        if outcome.seen == "*Received*":
            assert outcome.events == 1
