"""Faults and kills of the example subscriber: it sends no code twice, and nothing is stuck."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from random import Random

import pytest

from demo.local_aws import LocalAws, Stack
from tests.integration.matrix import (
    APPLIED,
    EVERY,
    FIRST,
    KILL,
    LANES,
    assert_documented,
    cases,
    documented,
)
from tests.integration.subscriber_outcomes import (
    MATRICES,
    REMINDED,
    Connection,
    Function,
    Scenario,
    lanes,
)
from tests.support.faults import Fault
from tests.support.slow import SEED, SLOW, slow

# The cases of a short run, at some of the calls: a lost response or process.
SAMPLE = {(FIRST, Fault.LOST), (KILL, APPLIED)}


@pytest.mark.claim("S27", "S32", "S34")
def test_fault_at_any_call_breaks_no_rule(aws: LocalAws, stack: Stack, microburst: str) -> None:
    with lanes(aws, microburst, stack.topic_arn, LANES if SLOW else 3) as found:
        for name, matrix in MATRICES.items():
            page = documented(name, cases(matrix.calls))
            sample = [case for case in page if case.call.is_in_sample and case[1:] in SAMPLE]
            assert_documented(found, matrix.outcome, page if SLOW else sample, page)


CALLS = MATRICES["tokens"].calls
ROUNDS, CALLERS = 100, 3
HOUR = 3600
# Cases of both matrices' faults and kills, by the request or message in which they happen: at the
# calls of a refresh, and of the message that finishes one. The secret is not read each time.
ACCIDENTS = {
    at: [
        case
        for case in cases(call for call in CALLS if call.scenario is scenario)
        if case.call.operation != "GetSecretValue"
        # Two of these would outlast the grace.
        and (case.attempts != EVERY or case.fault not in {Fault.HANGING, Fault.SILENT})
    ]
    for at, scenario in {
        "token": next(call.scenario for call in CALLS if call.name.startswith("refresh:")),
        "message": next(call.scenario for call in CALLS if call.scenario.at == "message"),
    }.items()
}


@slow
@pytest.mark.claim("S32")
def test_connection_lives_through_hundred_refreshes(
    aws: LocalAws, stack: Stack, microburst: str
) -> None:
    """Each refresh has up to two accidents within the grace of its refresh token."""
    random = Random(SEED)  # noqa: S311 - repeatable
    with lanes(aws, microburst, stack.topic_arn, 1) as [lane], ExitStack() as block:
        connection = Connection(lane, Scenario())
        functions = [
            Function(lane.function.environment, lane.function.proxy) for _ in range(CALLERS)
        ]
        callers = [block.enter_context(closing(function)) for function in functions]

        def pass_time() -> bool:
            """Tell whether a refresh is unfinished, and let the next one be due."""
            is_unfinished = "unfinished" in connection.found()[1]
            connection.age(REMINDED if is_unfinished else HOUR)
            return is_unfinished

        for _ in range(ROUNDS):
            for _ in range(random.randrange(3)):
                at = random.choice(["token", "message"]) if pass_time() else "token"
                with lane.failing(random.choice(ACCIDENTS[at])):
                    assert connection.ask(at) != "ended"
            if pass_time() and random.random() < 0.5:
                connection.settle()
            for _ in range(3):  # "unavailable" is a response of a busy machine too
                with ThreadPoolExecutor(CALLERS) as threads:
                    responses = list(threads.map(lambda call: call(connection.subject), callers))
                if all("access_token" in response for response in responses):
                    break
            [access_token] = {str(response.get("access_token")) for response in responses}
            assert lane.qonto.takes(access_token)
            connection.settle()
            assert connection.found()[1:] == ("connected", True, "connected")
            assert lane.qonto.server.reuses == 0

        assert lane.qonto.server.refreshes >= ROUNDS
        assert connection.ask("disconnect") == "disconnected"
