"""Refreshes and disconnections have no problem in any order; broken variants do."""

from dataclasses import replace
from typing import Any

import pytest

from tests.model import edited
from tests.model.example import Arrival, Kind
from tests.model.tokens import PERIOD, Problem, TokensModel
from tests.support.slow import slow

LATER = Arrival(Kind.EVENT, "A", "X", "2", "2")  # a second code of the connected authorization
REPUDIATED, ASKS, ASKS_AGAIN, ENDS, WITHDRAWS = (
    Arrival(kind, "A", "X")
    for kind in (Kind.REPUDIATION, Kind.TOKEN, Kind.REFUSED, Kind.DISCONNECT, Kind.WITHDRAWAL)
)
NEW = 3600  # seconds that tokens live which are not near their end

SHORT, LONG = tuple(range(0, 3 * PERIOD, PERIOD)), tuple(range(0, 7 * PERIOD, PERIOD))
ONE, TWO_FAULTS = (TokensModel((ASKS,), LONG, faults) for faults in (1, 2))
TWO, TWO_AND_FAULT = (TokensModel((ASKS, ASKS), SHORT, faults) for faults in (0, 1))
THREE_REQUESTS = TokensModel((ASKS,), LONG, 3, only_requests=True)
AGAIN_TWICE = TokensModel(
    (ASKS_AGAIN, ASKS_AGAIN), (*SHORT, 3 * PERIOD), 3, lives=NEW, only_requests=True
)
REFUSAL = TokensModel((ASKS_AGAIN,), LONG, 1, lives=NEW)
REFUSAL_AND_TWO_REQUESTS = replace(REFUSAL, faults=2, only_requests=True)
END = TokensModel((ENDS,), LONG, 1, lives=NEW)
END_AND_THREE_REQUESTS = replace(END, faults=3, only_requests=True)
WITHDRAWN = TokensModel((ASKS, WITHDRAWS), LONG, 1)
REPUDIATED_AND_ASKED = TokensModel((ASKS,), LONG, 0, (REPUDIATED,))
REPUDIATED_AND_ENDED = TokensModel((ENDS,), LONG, 0, (REPUDIATED,))
SECOND_CODE = TokensModel((ENDS,), SHORT, 0, (LATER,))
REFUSAL_AND_END = TokensModel((ASKS_AGAIN, ENDS), SHORT, 0, lives=NEW)
ENDED_AND_WITHDRAWN = TokensModel((ASKS, ENDS, WITHDRAWS), (0,), 0)
MODELS = [ONE, THREE_REQUESTS, REPUDIATED_AND_ASKED, REPUDIATED_AND_ENDED]
MODELS += [TokensModel((ASKS, ASKS_AGAIN), SHORT, 0)]
LARGE_MODELS = [
    SECOND_CODE,
    REFUSAL_AND_END,
    WITHDRAWN,
    TokensModel((ASKS,), LONG, 0, (LATER,)),
    TWO_FAULTS,
    TWO_AND_FAULT,
    TokensModel((ASKS, ASKS_AGAIN), SHORT, 1),
    AGAIN_TWICE,
    END,
    TokensModel((ENDS, ENDS), SHORT, 0),
    TokensModel((ENDS, WITHDRAWS), SHORT, 0),
    TokensModel((ASKS, ENDS), SHORT, 0),
    TokensModel((ENDS,), SHORT, 0, (LATER, REPUDIATED)),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S32", "S34")
def test_tokens_have_no_problem_in_any_order(model: TokensModel) -> None:
    found = model.edited().explore(Problem)  # a copy, whose memory is freed

    assert found.problem is None, found.path


@edited.variants("tokens")
@pytest.mark.claim("S32", "S34")
def test_broken_variant_has_its_problem(variant: dict[str, Any]) -> None:
    problem, edits = Problem[variant["problem"]], dict(variant["edits"])
    model = globals()[variant["model"]].edited(edits)

    assert model.explore({problem}).problem is problem
