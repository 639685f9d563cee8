"""The design of start and callback holds in every order of moves; broken variants do not."""

from dataclasses import replace

import pytest

from tests.model.callback_flow import OTHER, OWN, Excuse, Model, Problem, Rules
from tests.model.exploration import lines
from tests.support.slow import slow

# Callbacks: a response, another one of the same browser, and one of another browser.
ONE, TWO, STRANGER = (OWN, 1), (OWN, 2), (OTHER, 1)
ALL = Rules().conditions

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
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)], ids=str
)
@pytest.mark.claim("S23")
def test_design_has_no_problem_in_any_order(model: Model) -> None:
    found = model.explore()

    assert found.problem is None, lines(found.path)


@pytest.mark.parametrize("excuse", Excuse)
def test_each_excuse_is_needed(excuse: Excuse) -> None:
    rules = Rules(excuses=frozenset(Excuse) - {excuse})

    found = replace(MODELS[0], rules=rules).explore()

    assert found.problem in {Problem.TWO_IDS, Problem.TWO_IN_FLIGHT}


BROKEN = {
    "delete before receipt": (
        Rules(calls=("claim", "publish", "delete", "receipt")),
        Problem.LOST,
    ),
    "receipt and delete before publish": (
        Rules(calls=("claim", "receipt", "delete", "publish")),
        Problem.FALSE_SUCCESS,
    ),
    "receipt before publish": (
        Rules(calls=("claim", "receipt", "publish", "delete")),
        Problem.FALSE_SUCCESS,
    ),
    "delete before publish": (Rules(calls=("claim", "delete", "publish")), Problem.LOST),
    "delete instead of claim": (Rules(calls=("remove", "publish")), Problem.LOST),
    "read, then write": (
        Rules(("read", "claim", "publish", "receipt", "delete"), conditions=ALL - {"claim"}),
        Problem.TWO_IDS,
    ),
    "a wait that is too short": (Rules(wait=20), Problem.TWO_IN_FLIGHT),
    "any browser claims": (Rules(conditions=ALL - {"browser"}), Problem.OTHER_BROWSER),
    "a claim goes back": (Rules(conditions=ALL - {"order"}), Problem.TWO_IN_FLIGHT),
    "any receipt replaces another": (Rules(conditions=ALL - {"receipt"}), Problem.CHANGED),
    "any response deletes": (Rules(conditions=ALL - {"delete"}), Problem.DELETED),
    "no excuse for a late start": (
        Rules(excuses=frozenset(Excuse) - {Excuse.LATE_START}),
        Problem.PUBLISHED_AGAIN,
    ),
}


@pytest.mark.parametrize(("rules", "problem"), BROKEN.values(), ids=BROKEN)
@pytest.mark.claim("S23")
def test_broken_variant_has_its_problem(rules: Rules, problem: Problem) -> None:
    callbacks = (ONE, STRANGER) if problem is Problem.OTHER_BROWSER else (ONE, TWO, TWO)

    found = Model(callbacks, (0, 30, 66), 1, rules).explore({problem})

    assert found.problem is problem
