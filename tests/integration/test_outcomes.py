"""Every fault at every AWS call: nothing is lost, and no success is false."""

import random
from collections.abc import Iterator
from statistics import mode

import pytest

from demo.local_aws import LocalAws
from tests.integration.faults import Fault
from tests.integration.faults_page import section
from tests.integration.outcomes import (
    FAULTS,
    QONTO,
    RECEIVED,
    TRY_AGAIN,
    Case,
    Outcome,
    Outcomes,
    outcomes,
    pairs,
    single_tables,
    singles,
)
from tests.slow import SEED, SLOW

# Pairs of faults in a fast run; a slow run tests all of them.
SAMPLE = 36


@pytest.fixture(scope="module")
def running(aws: LocalAws, microburst: str) -> Iterator[Outcomes]:
    """A runner of cases, with a stack of this module's own."""
    with outcomes(aws, microburst) as found:
        yield found


def assert_nothing_is_lost(case: Case, outcome: Outcome) -> None:
    """Assert the rules that hold for each fault."""
    assert outcome.seen in {QONTO, RECEIVED, TRY_AGAIN}, case
    assert outcome.seen_then == RECEIVED, case
    assert outcome.ids == 1, case
    if outcome.seen == RECEIVED:
        assert outcome.events >= 1, case


def outcomes_of(running: Outcomes, cases: list[Case]) -> list[Outcome]:
    """Run *cases*, check each outcome, and return them."""
    found = running.of(cases)
    for case, outcome in zip(cases, found, strict=True):
        assert_nothing_is_lost(case, outcome)
    return found


def test_fault_at_any_call_loses_nothing(running: Outcomes) -> None:
    cases = [case for *_, case in singles()]

    runs = [outcomes_of(running, cases)]
    if single_tables(runs[0]) != section("singles"):  # a busy machine causes more timeouts
        runs += [outcomes_of(running, cases) for _ in range(2)]

    usual = [mode(of_one_case) for of_one_case in zip(*runs, strict=True)]
    assert single_tables(usual) == section("singles")


def test_two_faults_lose_nothing(running: Outcomes) -> None:
    chosen = list(pairs())
    if not SLOW:
        chosen = random.Random(SEED).sample(chosen, SAMPLE)  # noqa: S311 - repeatable
    page = section("pairs")

    for _ in range(2):  # again for the pairs that differ: a busy machine causes timeouts
        found = outcomes_of(running, [case for *_, case in chosen])
        chosen = [
            pair
            for pair, outcome in zip(chosen, found, strict=True)
            if outcome.code != documented(page, *pair[:3])
        ]

    assert chosen == []


def documented(page: str, name: str, first: Fault, second: Fault) -> str:
    """Return the cell of *first* and *second* in the table *name*."""
    table = page.partition(f"### {name}\n\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()]
    return rows[2 + FAULTS.index(first)][1 + FAULTS.index(second)]
