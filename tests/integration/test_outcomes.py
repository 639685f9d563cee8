"""Every fault at every AWS call: no failure looks like success, and docs/faults.md says so."""

import random
from collections.abc import Iterator

import pytest

from demo.local_aws import LocalAws
from tests.integration.faults import Fault
from tests.integration.faults_page import section
from tests.integration.outcomes import (
    FAULTS,
    Call,
    Case,
    Outcome,
    Outcomes,
    outcomes,
    pairs,
    single_tables,
    singles,
)
from tests.slow import SEED, SLOW

# Enough to see a pair of attempts that has changed; the long form runs all of them.
SAMPLE = 36
SEEN = {"*Received*", "*Try again*", "*Start again*", "sent on to Qonto"}
SEEN_AGAIN = {"*Received*", "*Already used*", "sent on to Qonto"}
# Taken, and the client can't know: with DynamoDB's delete this is the loss that is accepted.
TAKEN = {
    Fault.FAILED_LATE,
    Fault.LOST,
    Fault.SILENT,
    Fault.CUT_OFF,
    Fault.SHORTENED,
    Fault.MALFORMED,
}


@pytest.fixture(scope="module")
def running(aws: LocalAws, microburst: str) -> Iterator[Outcomes]:
    """A stack of this module's own, behind proxies."""
    with outcomes(aws, microburst) as found:
        yield found


def assert_nothing_looks_like_success(case: Case, outcome: Outcome) -> None:
    """Assert what must hold whatever fails."""
    assert outcome.seen in SEEN, case
    assert outcome.seen_again in SEEN_AGAIN, case
    assert outcome.ids <= 1, case
    if outcome.seen == "*Received*":
        assert outcome.events >= 1, case
    if outcome.seen_again == "*Received*":
        assert outcome.events_in_all > outcome.events, case
    assert outcome.started_over == "*Received*", case


def assert_a_loss_is_a_named_one(case: Case, outcome: Outcome) -> None:
    """Assert that an answer of Qonto that reached nobody was lost as docs/faults.md says."""
    faults = dict(case.faults)
    if Call.ISSUE in faults or outcome.events_in_all:
        return
    unconfirmed = bool(TAKEN.intersection(faults.get(Call.CONSUME, ())))
    not_restored = Call.RESTORE in faults and outcome.seen == "*Start again*"
    assert unconfirmed or not_restored, case


def outcomes_of(running: Outcomes, cases: list[Case]) -> list[Outcome]:
    """Run *cases*, and assert of each what must hold whatever fails."""
    found = running.of(cases)
    for case, outcome in zip(cases, found, strict=True):
        assert_nothing_looks_like_success(case, outcome)
        assert_a_loss_is_a_named_one(case, outcome)
    return found


def test_whatever_fails_nothing_looks_like_success_and_the_page_says_what_comes_of_it(
    running: Outcomes,
) -> None:
    cases = [case for *_, case in singles()]

    found = single_tables(outcomes_of(running, cases))
    if found != section("singles"):  # a busy machine adds time-outs of its own
        found = single_tables(outcomes_of(running, cases))

    assert found == section("singles")


def test_two_faults_end_as_the_page_says(running: Outcomes) -> None:
    """The short form takes a sample of them."""
    chosen = list(pairs())
    if not SLOW:
        chosen = random.Random(SEED).sample(chosen, SAMPLE)  # noqa: S311 - repeatable
    page = section("pairs")

    for _ in range(2):  # once more what differs: a busy machine adds time-outs of its own
        found = outcomes_of(running, [case for *_, case in chosen])
        chosen = [
            connector
            for connector, outcome in zip(chosen, found, strict=True)
            if outcome.code != documented(page, *connector[:3])
        ]

    assert chosen == []


def documented(page: str, name: str, first: Fault, second: Fault) -> str:
    """Return the cell of *first* and *second* in the table *name*."""
    table = page.partition(f"### {name}\n\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()]
    return rows[2 + FAULTS.index(first)][1 + FAULTS.index(second)]
