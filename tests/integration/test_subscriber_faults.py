"""Faults and kills of the example subscriber: it sends no code twice, and nothing is stuck."""

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
from tests.integration.subscriber_outcomes import MATRICES, lanes
from tests.support.faults import Fault
from tests.support.slow import SLOW

# The cases of a short run, at some of the calls: a lost response or process.
SAMPLE = {(FIRST, Fault.LOST), (KILL, APPLIED)}


@pytest.mark.claim("S27", "S32", "S34")
def test_fault_at_any_call_breaks_no_rule(aws: LocalAws, stack: Stack, microburst: str) -> None:
    with lanes(aws, microburst, stack.topic_arn, LANES if SLOW else 3) as found:
        for name, matrix in MATRICES.items():
            page = documented(name, cases(matrix.calls))
            sample = [case for case in page if case.call.is_in_sample and case[1:] in SAMPLE]
            assert_documented(found, matrix.outcome, page if SLOW else sample, page)
