"""The design of start and callback holds in every order of moves; broken variants do not."""

from dataclasses import replace
from typing import Any

import pytest

from tests.model import edited
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
@pytest.mark.claim("S3", "S8", "S20", "S23", "T5", "T12")
def test_apps_have_no_problem_in_any_order(model: ConnectorModel) -> None:
    found = replace(model).explore(Problem)  # whose memory is freed

    assert found.problem is None, found.path


@edited.variants("connector")
@pytest.mark.claim("S23")
def test_broken_variant_has_its_problem(variant: dict[str, Any]) -> None:
    problem = Problem[variant["problem"]]
    is_late = problem in {Problem.REFUSED, Problem.EXPIRED}
    instants = (0, 3590, 3600, 4251) if is_late else (0, 30, 66)
    callbacks = (ONE, STRANGER) if problem is Problem.OTHER_BROWSER else (ONE, TWO, TWO)
    model = ConnectorModel(callbacks, instants, 1, edits=dict(variant["edits"]))

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
