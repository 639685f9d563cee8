"""Each fault of each call: nothing is lost, no success is false, and no id is the second."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from demo.local_aws import LocalAws
from tests.integration.outcomes import Lane, assert_documented
from tests.support.connector import PARAMETERS, Connector, Subscriber
from tests.support.faults import FaultProxy


@pytest.fixture(scope="module")
def lanes(aws: LocalAws) -> Iterator[list[Lane]]:
    with ExitStack() as block:
        found = []
        for _ in range(12):
            proxy = block.enter_context(FaultProxy(aws.endpoint_url))
            stack = aws.deploy(PARAMETERS)
            connector = Connector(aws, stack, **proxy.endpoints)
            found.append(Lane(proxy, connector, Subscriber(aws, stack)))
        yield found


@pytest.mark.claim("S18", "S20")
def test_fault_at_any_call_loses_nothing(lanes: list[Lane]) -> None:
    assert_documented(lanes)
