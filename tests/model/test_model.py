"""The design of start and callback holds in every order of moves; broken variants do not."""

from typing import Any

import pytest

from tests.model.callback_flow import CONDITIONS, OTHER, OWN, Excuse, Model, Problem
from tests.support.slow import slow

# Callbacks: a response, another one of the same browser, and one of another browser.
ONE, TWO, STRANGER = (OWN, 1), (OWN, 2), (OTHER, 1)

# Instants lie on both sides of the end of a run (36 s), of the wait (60 s), of the receipt (600 s)
# and of the state (3,600 s).
MODELS = [
    Model((ONE, ONE, TWO), (0, 66), 2),
    Model((ONE, TWO), (0, 3590, 3600, 3651, 4251), 2),
]
LARGE_MODELS = [
    Model((ONE, TWO, STRANGER), (0, 61), 2),
    Model((ONE, ONE, TWO), (0, 590, 600, 661), 1),
    Model((ONE, TWO), (0, 61, 97), 3),
    Model((ONE, ONE, ONE), (0, 30), 2),
    Model((ONE, ONE, TWO), (0, 30, 66), 2),
    Model((ONE, ONE, TWO), (0, 66), 3),
    Model((ONE, ONE, TWO, TWO), (0, 66), 2),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S23")
def test_design_has_no_problem_in_any_order(model: Model) -> None:
    found = model.explore(*Problem)

    assert found.problem is None, found.path


# Broken variants, each with its problem.
ORDERS = {
    "claim publish delete receipt": Problem.LOST,
    "claim receipt delete publish": Problem.FALSE_SUCCESS,
    "claim receipt publish delete": Problem.FALSE_SUCCESS,
    "claim delete publish": Problem.LOST,
    "remove publish": Problem.LOST,
}
WITHOUT_CONDITION = {
    "browser": Problem.OTHER_BROWSER,
    "order": Problem.TWO_IN_FLIGHT,
    "receipt": Problem.CHANGED,
    "delete": Problem.DELETED,
}
WITHOUT_EXCUSE = {
    Excuse.LATE_START: Problem.PUBLISHED_AGAIN,
    Excuse.UNFINISHED: Problem.TWO_IDS,
    Excuse.OUTLIVED: Problem.TWO_IN_FLIGHT,
}
READ_FIRST = ("read", "claim", "publish", "receipt", "delete")
BROKEN: list[tuple[Problem, dict[str, Any]]] = [
    *((problem, {"calls": tuple(order.split())}) for order, problem in ORDERS.items()),
    *((problem, {"conditions": CONDITIONS - {it}}) for it, problem in WITHOUT_CONDITION.items()),
    *((problem, {"excuses": frozenset(Excuse) - {it}}) for it, problem in WITHOUT_EXCUSE.items()),
    (Problem.TWO_IN_FLIGHT, {"wait": 20}),
    (Problem.TWO_IDS, {"calls": READ_FIRST, "conditions": CONDITIONS - {"claim"}}),
]


@pytest.mark.parametrize(("problem", "change"), BROKEN)
@pytest.mark.claim("S23")
def test_broken_variant_has_its_problem(problem: Problem, change: dict[str, Any]) -> None:
    callbacks = (ONE, STRANGER) if problem is Problem.OTHER_BROWSER else (ONE, TWO, TWO)

    assert Model(callbacks, (0, 30, 66), 1, **change).explore(problem).problem is problem
