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


EXCUSES = frozenset(Excuse)
# In each: the problem, and what differs from the design.
BROKEN: dict[str, tuple[Problem, dict[str, Any]]] = {
    "delete before receipt": (Problem.LOST, {"calls": ("claim", "publish", "delete", "receipt")}),
    "receipt and delete before publish": (
        Problem.FALSE_SUCCESS,
        {"calls": ("claim", "receipt", "delete", "publish")},
    ),
    "receipt before publish": (
        Problem.FALSE_SUCCESS,
        {"calls": ("claim", "receipt", "publish", "delete")},
    ),
    "delete before publish": (Problem.LOST, {"calls": ("claim", "delete", "publish")}),
    "delete instead of claim": (Problem.LOST, {"calls": ("remove", "publish")}),
    "read, then write": (
        Problem.TWO_IDS,
        {
            "calls": ("read", "claim", "publish", "receipt", "delete"),
            "conditions": CONDITIONS - {"claim"},
        },
    ),
    "a wait that is too short": (Problem.TWO_IN_FLIGHT, {"wait": 20}),
    "any browser claims": (Problem.OTHER_BROWSER, {"conditions": CONDITIONS - {"browser"}}),
    "a claim goes back": (Problem.TWO_IN_FLIGHT, {"conditions": CONDITIONS - {"order"}}),
    "any receipt replaces another": (Problem.CHANGED, {"conditions": CONDITIONS - {"receipt"}}),
    "any response deletes": (Problem.DELETED, {"conditions": CONDITIONS - {"delete"}}),
    "no excuse for a late start": (
        Problem.PUBLISHED_AGAIN,
        {"excuses": EXCUSES - {Excuse.LATE_START}},
    ),
    "no excuse for an end": (Problem.TWO_IDS, {"excuses": EXCUSES - {Excuse.UNFINISHED}}),
    "no excuse for a long run": (Problem.TWO_IN_FLIGHT, {"excuses": EXCUSES - {Excuse.OUTLIVED}}),
}


@pytest.mark.parametrize(("problem", "change"), BROKEN.values(), ids=BROKEN)
@pytest.mark.claim("S23")
def test_broken_variant_has_its_problem(problem: Problem, change: dict[str, Any]) -> None:
    callbacks = (ONE, STRANGER) if problem is Problem.OTHER_BROWSER else (ONE, TWO, TWO)

    found = Model(callbacks, (0, 30, 66), 1, **change).explore(problem)

    assert found.problem is problem
