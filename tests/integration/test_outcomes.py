"""Each fault, kill and timeout: nothing is lost, no success is false, and no id is the second."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from demo.local_aws import LocalAws
from tests.integration import outcomes
from tests.integration.matrix import assert_documented, documented, run
from tests.integration.outcomes import CASES, PAIRS, Lane
from tests.support.slow import SEED, SLOW, slow

SAMPLE = 36  # pairs of faults in a fast run; a slow run tests all of them

pytestmark = pytest.mark.claim("S20")


@pytest.fixture(scope="module")
def lanes(aws: LocalAws, microburst: str) -> Iterator[list[Lane]]:
    """Proxies, each before a stack of its own."""
    with outcomes.lanes(aws, microburst) as found:
        yield found


@pytest.mark.claim("S18")
def test_fault_at_any_call_loses_nothing(lanes: list[Lane]) -> None:
    chosen = [case for case in CASES if not outcomes.is_end(case)]

    assert_documented(lanes, outcomes.failed, chosen, documented("connector", CASES))


def test_two_faults_lose_nothing(lanes: list[Lane]) -> None:
    chosen = PAIRS if SLOW else Random(SEED).sample(PAIRS, SAMPLE)  # noqa: S311 - repeatable

    run(lanes, lambda lane, pair: outcomes.failed(lane, *pair), chosen)  # it asserts the rules


@slow
def test_kill_or_timeout_in_any_call_loses_nothing(
    lanes: list[Lane], packages: dict[str, Path]
) -> None:
    chosen = list(filter(outcomes.is_end, CASES))

    ended = partial(outcomes.ended, packages)
    assert_documented(lanes, ended, chosen, documented("connector", CASES))
