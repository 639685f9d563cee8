"""Each fault, kill and timeout: nothing is lost, no success is false, and no id is the second."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random

import pytest

from demo.local_aws import LocalAws
from tests.integration.outcomes import CASES, PAIRS, Lane, assert_documented, ended, failed, run
from tests.support.connector import PARAMETERS, Connector, Subscriber
from tests.support.faults import FaultProxy
from tests.support.slow import SEED, SLOW, slow

SAMPLE = 36  # pairs of faults in a fast run; a slow run tests all of them

pytestmark = pytest.mark.claim("S20")


@pytest.fixture(scope="module")
def lanes(aws: LocalAws, microburst: str) -> Iterator[list[Lane]]:
    with ExitStack() as block:
        found = []
        for _ in range(12):
            proxy = block.enter_context(FaultProxy(aws.endpoint_url, microburst))
            stack = aws.deploy(PARAMETERS)
            connector = Connector(aws, stack, **proxy.endpoints)
            found.append(Lane(proxy, connector, Subscriber(aws, stack)))
        yield found


@pytest.mark.claim("S18")
def test_fault_at_any_call_loses_nothing(lanes: list[Lane]) -> None:
    assert_documented(lanes, failed, [case for case in CASES if not case.is_end])


def test_two_faults_lose_nothing(lanes: list[Lane]) -> None:
    chosen = PAIRS if SLOW else Random(SEED).sample(PAIRS, SAMPLE)  # noqa: S311 - repeatable

    run(lanes, lambda lane, pair: failed(lane, *pair), chosen)  # it asserts the rules


@slow
def test_kill_or_timeout_in_any_call_loses_nothing(
    lanes: list[Lane], packages: dict[str, Path]
) -> None:
    assert_documented(lanes, partial(ended, packages), [case for case in CASES if case.is_end])
