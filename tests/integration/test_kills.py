"""Kills of the built packages: nothing is lost, no success is false, and no id is the second."""

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
from tests.integration.outcomes import KILLED, RECEIVED, Call, Outcome
from tests.slow import SEED, slow

RANDOM_KILLS = 100

pytestmark = slow


@pytest.fixture(scope="module")
def harness(aws: LocalAws, microburst: str, packages: dict[str, Path]) -> Iterator[KillHarness]:
    """The built packages on a stack of this module's own."""
    with kill_harness(aws, microburst, aws.deploy(PARAMETERS), packages) as found:
        yield found


def assert_nothing_is_lost(outcome: Outcome) -> None:
    """Assert that the user's next click succeeds, and that all events have one id."""
    assert outcome.seen_then == RECEIVED
    assert outcome.ids == 1


def test_kill_in_any_call_loses_nothing(harness: KillHarness) -> None:
    outcomes = [killed(harness, *moment) for moment in KILLS]

    for outcome in outcomes:
        assert outcome.seen == KILLED
        assert_nothing_is_lost(outcome)
    assert kill_table(outcomes) == section("kills")


def test_timeout_in_any_call_loses_nothing(harness: KillHarness) -> None:
    outcomes = [timed_out(harness, call) for call in Call]

    for outcome in outcomes:
        assert outcome.seen == KILLED
        assert_nothing_is_lost(outcome)
    assert drip_table(outcomes) == section("time-outs")


def test_kill_at_any_time_loses_nothing(harness: KillHarness) -> None:
    moments = random.Random(SEED)  # noqa: S311 - repeatable

    for _ in range(RANDOM_KILLS):
        call = moments.choice(list(Call))
        outcome = killed_after(harness, call, moments.uniform(0, 0.08))

        assert_nothing_is_lost(outcome)
        if outcome.seen == RECEIVED:
            assert outcome.events == 1
