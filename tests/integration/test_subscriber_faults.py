"""Faults and kills of the example subscriber: it sends no code twice, and nothing is stuck."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from demo.gateway import LambdaContext
from demo.local_aws import LocalAws, Stack
from tests.integration import subscriber_outcomes, tokens_outcomes
from tests.integration.faults import Fault, FaultProxy
from tests.integration.matrix import (
    APPLIED,
    FIRST,
    KILL,
    LANES,
    assert_documented,
    cases,
    documented,
)
from tests.integration.subscriber_outcomes import Lane, lambda_event
from tests.integration.subscription import confirmation_of, granted, load
from tests.slow import SLOW

# The cases of a short run, at some of the calls: a lost response or process.
SAMPLE = {(FIRST, Fault.LOST), (KILL, APPLIED)}


@pytest.fixture(scope="module")
def lanes(aws: LocalAws, stack: Stack, microburst: str) -> Iterator[list[Lane]]:
    """Processes of both functions."""
    number = LANES if SLOW else 3
    with subscriber_outcomes.lanes(aws, microburst, stack.topic_arn, number) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        pytest.param("subscriber", subscriber_outcomes, marks=pytest.mark.claim("S27")),
        pytest.param("tokens", tokens_outcomes, marks=pytest.mark.claim("S32", "S34")),
    ],
)
def test_fault_at_any_call_breaks_no_rule(lanes: list[Lane], name: str, matrix: ModuleType) -> None:
    page = documented(name, cases(matrix.CALLS))
    chosen = [case for case in page if SLOW or (case.call.is_in_sample and case[1:] in SAMPLE)]

    assert_documented(lanes, matrix.outcome, chosen, page)


@pytest.mark.claim("S27")
def test_late_release_undoes_no_later_claim(lanes: list[Lane]) -> None:
    """A retry of the call that undoes a claim arrives while another delivery sends the code."""
    example, _, qonto, _ = lanes[0]
    event = granted(qonto)
    confirmation = lambda_event(json.dumps(confirmation_of(event)))
    context = LambdaContext("subscriber")
    other = load(example.environment)
    other(lambda_event(json.dumps(event)), context)
    with FaultProxy(example.aws.endpoint_url, "") as proxy, ThreadPoolExecutor(1) as thread:
        proxy.inject("UpdateItem", Fault.LOST, after=1, times=1)
        proxy.inject("UpdateItem", Fault.DELAYED, times=1)
        releasing = load(example.environment | proxy.endpoints)
        qonto.proxy.refuse()
        released = thread.submit(releasing, confirmation, context)
        proxy.wait_for("UpdateItem")
        proxy.wait_for("UpdateItem")

        def retry_release() -> None:
            proxy.released.set()
            released.result()

        qonto.proxy.accept()
        qonto.meanwhile = retry_release
        other(confirmation, context)
        other(confirmation, context)

    qonto.reset()
    assert qonto.proxy.received[event["data"]["code"]] == 1
