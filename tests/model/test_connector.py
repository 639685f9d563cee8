"""The design of start and callback holds in every order of moves; broken variants do not."""

import pytest

from tests.model.connector import OTHER, OWN, ConnectorModel, Excuse, Problem
from tests.support.slow import slow

# Callbacks: a response, another one of the same browser, and one of another browser.
ONE, TWO, STRANGER = (OWN, 1), (OWN, 2), (OTHER, 1)

# Instants lie on both sides of the end of a run (36 s), of the wait (60 s), of the receipt (600 s)
# and of the state (3,600 s).
MODELS = [
    ConnectorModel((ONE,), (0,), 3),
    ConnectorModel((ONE, ONE, TWO), (0, 66), 1),
    ConnectorModel((ONE, STRANGER), (0, 600), 1),
    ConnectorModel((ONE, TWO), (0, 3590, 3600, 3651, 4251), 1),
]
LARGE_MODELS = [
    ConnectorModel((ONE, TWO), (0, 3590, 3600, 3651, 4251), 2),
    ConnectorModel((ONE, TWO, STRANGER), (0, 61), 2),
    ConnectorModel((ONE, ONE, TWO), (0, 590, 600, 661), 1),
    ConnectorModel((ONE, TWO), (0, 61, 97), 3),
    ConnectorModel((ONE, ONE, ONE), (0, 30), 2),
    ConnectorModel((ONE, ONE, TWO), (0, 30, 66), 2),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S23")
def test_apps_have_no_problem_in_any_order(model: ConnectorModel) -> None:
    found = model.explore(Problem)

    assert found.problem is None, found.path


PUBLISH = "self._publisher.publish(event)"
RECEIPT = "self._states.leave_receipt(own.receipt(outcome, now))"
DELETE = "is_first = self._states.delete(response.state, response.hash)"
INDENT = "\n            "
# Each replaces one text of the code, and has its problem.
BROKEN = [
    # The order of the calls.
    (Problem.LOST, RECEIPT + INDENT + DELETE, DELETE + INDENT + RECEIPT),
    (Problem.LOST, RECEIPT, "pass"),
    (Problem.FALSE_SUCCESS, PUBLISH, f"self._finish(claimed, response, now){INDENT}{PUBLISH}"),
    (
        *(Problem.FALSE_SUCCESS, PUBLISH),
        f"self._states.leave_receipt(claimed.receipt(response.outcome, now)){INDENT}{PUBLISH}",
    ),
    (
        *(Problem.DELETED, PUBLISH),
        f"self._states.delete(response.state, response.hash){INDENT}{PUBLISH}",
    ),
    # The conditions.
    (Problem.OTHER_BROWSER, '"browser_hash = :browser_hash"', '"attribute_exists(browser_hash)"'),
    (Problem.OTHER_BROWSER, "and receipt.browser_hash == browser_hash", ""),
    (Problem.TWO_IN_FLIGHT, "claimed_at < :free", "attribute_exists(claimed_at)"),
    (Problem.TWO_IN_FLIGHT, "CLAIM_LIFETIME = 60", "CLAIM_LIFETIME = 20"),
    (Problem.TWO_IN_FLIGHT, " AND claimed_at <= :now", ""),
    (Problem.LOST, "claimed_at < :free", "attribute_not_exists(claimed_at)"),
    (Problem.REFUSED, " OR (response_hash = :response_hash AND claimed_at <= :now))", ")"),
    (Problem.REFUSED, "claimed_at > :repeatable", "attribute_not_exists(claimed_at)"),
    (Problem.EXPIRED, "claimed_at > :repeatable", "attribute_exists(claimed_at)"),
    (Problem.EXPIRED, "(expires_at > :now", "(attribute_exists(expires_at)"),
    (Problem.CHANGED, "attribute_not_exists(browser_hash)", "attribute_not_exists(nothing)"),
    (Problem.DELETED, '="response_hash = :response_hash"', '="attribute_exists(response_hash)"'),
]


@pytest.mark.parametrize(("problem", "old", "new"), BROKEN)
@pytest.mark.claim("S23")
def test_broken_variant_has_its_problem(problem: Problem, old: str, new: str) -> None:
    is_late = problem in {Problem.REFUSED, Problem.EXPIRED}
    instants = (0, 3590, 3600, 4251) if is_late else (0, 30, 66)
    callbacks = (ONE, STRANGER) if problem is Problem.OTHER_BROWSER else (ONE, TWO, TWO)
    model = ConnectorModel(callbacks, instants, 1, edits={old: new})

    assert model.explore({problem}).problem is problem


@pytest.mark.parametrize(
    ("excuse", "problem"),
    [
        (Excuse.LATE_START, Problem.PUBLISHED_AGAIN),
        (Excuse.UNFINISHED, Problem.TWO_IDS),
        (Excuse.OUTLIVED, Problem.TWO_IN_FLIGHT),
    ],
)
@pytest.mark.claim("S23")
def test_excuse_is_needed(excuse: Excuse, problem: Problem) -> None:
    excuses = frozenset(Excuse) - {excuse}
    model = ConnectorModel((ONE, TWO, TWO), (0, 30, 66), 1, excuses=excuses)

    assert model.explore({problem}).problem is problem
