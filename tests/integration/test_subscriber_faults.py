"""Faults and kills of the example subscriber: it sends no code twice, and nothing is stuck."""

from collections.abc import Iterator

import pytest

from demo.local_aws import LocalAws, Stack
from tests.integration.matrix import (
    APPLIED,
    FIRST,
    KILL,
    LANES,
    assert_documented,
    cases,
    documented,
)
from tests.integration.subscriber_outcomes import MATRICES, Lane
from tests.integration.subscriber_outcomes import lanes as new_lanes
from tests.support.faults import Fault
from tests.support.slow import SLOW

# The cases of a short run, at some of the calls: a lost response or process.
SAMPLE = {(FIRST, Fault.LOST), (KILL, APPLIED)}


@pytest.fixture(scope="module")
def lanes(aws: LocalAws, stack: Stack, microburst: str) -> Iterator[list[Lane]]:
    """Processes of both functions."""
    number = LANES if SLOW else 3
    with new_lanes(aws, microburst, stack.topic_arn, number) as found:
        yield found


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.claim("S27", "S32", "S34")
def test_fault_at_any_call_breaks_no_rule(lanes: list[Lane], name: str) -> None:
    matrix = MATRICES[name]
    page = documented(name, cases(matrix.calls))
    chosen = [case for case in page if SLOW or (case.call.is_in_sample and case[1:] in SAMPLE)]

    assert_documented(lanes, matrix.outcome, chosen, page)
