"""Each fault, kill and timeout: nothing is lost, no success is false, and no id is the second."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from demo.local_aws import LocalAws
from tests.integration import outcomes
from tests.integration.matrix import assert_documented, documented, run, section
from tests.integration.outcomes import KILLS, PAIRS, SINGLES, TIMEOUTS, Lane
from tests.slow import SEED, SLOW, slow

SAMPLE = 36  # pairs of faults in a fast run; a slow run tests all of them

pytestmark = pytest.mark.claim("S20")


@pytest.fixture(scope="module")
def lanes(aws: LocalAws, microburst: str) -> Iterator[list[Lane]]:
    """Proxies, each before a stack of its own."""
    with outcomes.lanes(aws, microburst) as found:
        yield found


@pytest.mark.claim("S18")
def test_fault_at_any_call_loses_nothing(lanes: list[Lane]) -> None:
    assert_documented(lanes, outcomes.failing, SINGLES, documented("singles", SINGLES))


def test_two_faults_lose_nothing(lanes: list[Lane]) -> None:
    chosen = PAIRS if SLOW else Random(SEED).sample(PAIRS, SAMPLE)  # noqa: S311 - repeatable

    assert_documented(lanes, outcomes.pair_code, chosen, outcomes.documented_pairs())


@slow
def test_kill_in_any_call_loses_nothing(lanes: list[Lane], packages: dict[str, Path]) -> None:
    found = run(lanes[:4], partial(outcomes.ended, packages), KILLS)

    assert outcomes.list_table("Killed in", found) == section("kills")


@slow
def test_timeout_in_any_call_loses_nothing(lanes: list[Lane], packages: dict[str, Path]) -> None:
    found = run(lanes[:4], partial(outcomes.ended, packages), TIMEOUTS)

    assert outcomes.list_table("The response that drips", found) == section("time-outs")
