"""Refreshes and disconnections hold in every order; broken variants do not."""

from typing import Any

import pytest

from tests.model.exploration import lines
from tests.model.subscriber_code import EVENT, REPUDIATION, Arrival
from tests.model.subscriber_flow import Rules
from tests.model.tokens_code import DISCONNECT, NEAR, REFUSED, TOKEN, WITHDRAWAL
from tests.model.tokens_flow import Problem, TokensModel
from tests.slow import slow

LATER = Arrival(EVENT, "A", "X", "2", "2")  # a second code of the connected authorization
REPUDIATED, ASKS, ASKS_AGAIN, ENDS, WITHDRAWS = (
    Arrival(kind, "A", "X") for kind in (REPUDIATION, TOKEN, REFUSED, DISCONNECT, WITHDRAWAL)
)
NEW = NEAR + 1  # tokens that are not near their end

MODELS = [
    TokensModel((), (ASKS,), 2),
    TokensModel((), (ASKS,), 3, only_requests=True, few=3),
    TokensModel((), (ASKS, ASKS_AGAIN), 0),
    TokensModel((), (ASKS, WITHDRAWS), 1),
    TokensModel((), (ASKS, ENDS), 0),
    TokensModel((), (ASKS_AGAIN, ENDS), 0, tokens=NEW),
    TokensModel((REPUDIATED,), (ASKS,), 0),
    TokensModel((REPUDIATED,), (ENDS,), 0),
    TokensModel((LATER,), (ASKS,), 0),
    TokensModel((LATER,), (ENDS,), 0),
]
LARGE_MODELS = [
    TokensModel((), (ASKS,), 3),
    TokensModel((), (ASKS, ASKS), 2),
    TokensModel((), (ASKS, ASKS_AGAIN), 2),
    TokensModel((), (ASKS_AGAIN, ASKS_AGAIN), 3, tokens=NEW, only_requests=True, few=3),
    TokensModel((), (ENDS,), 2),
    TokensModel((), (ENDS, ENDS), 0),
    TokensModel((), (ENDS, WITHDRAWS), 1),
    TokensModel((), (ASKS, ENDS), 1),
    TokensModel((), (ASKS_AGAIN, ENDS), 1, tokens=NEW),
    TokensModel((), (ASKS, ENDS, WITHDRAWS), 0),
    TokensModel((REPUDIATED,), (ASKS, ENDS), 0),
    TokensModel((REPUDIATED,), (ENDS,), 1),
    TokensModel((LATER,), (ASKS, ENDS), 0),
    TokensModel((LATER,), (ENDS,), 1, tokens=NEW),
    TokensModel((LATER, REPUDIATED), (ENDS,), 0),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)], ids=str
)
@pytest.mark.claim("S32")
def test_tokens_have_no_problem_in_any_order(model: TokensModel) -> None:
    found = model.explore()

    assert found.problem is None, lines(found.path)


ONE, TWO, END = ((), (ASKS,)), ((), (ASKS, ASKS)), ((), (ENDS,))
CROSSED, CODE = ((REPUDIATED,), (ENDS,)), ((LATER,), (ENDS,))
REFUSAL = (), (ASKS_AGAIN,)
RENEWED, RENEWED_TWICE = ((), (ASKS, ASKS_AGAIN)), ((), (ASKS_AGAIN, ASKS_AGAIN))
BROKEN = [
    ("condition of claim refresh", TWO, 0, Problem.PARALLEL, {}),
    ("owner", TWO, 0, Problem.PARALLEL, {}),
    ("condition of release refresh", TWO, 1, Problem.PARALLEL, {}),
    # With claims that live as long as the grace, they alone keep the tokens of a slow process.
    ("condition of claim refresh", TWO, 1, Problem.REUSED, {"grace": 1}),
    ("condition of renew", ONE, 1, Problem.OLD, {}),
    ("condition of renew", TWO, 1, Problem.REUSED, {"grace": 1}),
    ("condition of renew", ((REPUDIATED,), (ASKS,)), 0, Problem.DISCONNECTED, {}),
    ("reminder", ONE, 1, Problem.ENDED, {}),
    ("reminder before request", ONE, 1, Problem.ENDED, {}),
    ("second reminder", ONE, 2, Problem.ENDED, {"reminders": ("1",)}),
    ("reminder after the claim", ONE, 1, Problem.ENDED, {"reminders": ("0",)}),
    ("short claims", ONE, 2, Problem.ENDED, {"grace": 2}),
    pytest.param("reminder before claim", RENEWED, 2, Problem.ENDED, {}, marks=slow),
    pytest.param(
        *("comparison of claim refresh", RENEWED_TWICE, 3, Problem.ENDED),
        {"tokens": NEW, "only_requests": True, "few": 3},
        marks=slow,
    ),
    ("renewed as stored", ONE, 1, Problem.OLD, {}),
    ("mark before tell", ((), (ASKS_AGAIN, ENDS)), 0, Problem.DISCONNECTED, {"tokens": NEW}),
    ("take-over", ONE, 1, Problem.STUCK, {}),
    ("retry", ONE, 3, Problem.ENDED, {"only_requests": True, "few": 3}),
    ("marker", REFUSAL, 2, Problem.ENDED, {"tokens": NEW, "only_requests": True}),
    ("suspicion", REFUSAL, 1, Problem.ENDED, {"tokens": NEW}),
    ("invalid_grant alone", ONE, 1, Problem.ENDED, {}),
    ("repeated tell", ((), (ASKS, WITHDRAWS)), 1, Problem.UNTOLD, {}),
    ("condition of end", ((), (ASKS, ENDS, WITHDRAWS)), 0, Problem.UNTOLD, {}),
    ("condition of tell", CODE, 0, Problem.REOPENED, {}),
    ("mark first", CODE, 0, Problem.DISCONNECTED, {}),
    ("order of marks", CODE, 0, Problem.DISCONNECTED, {}),
    ("disconnection replaces", CODE, 0, Problem.DISCONNECTED, {}),
    ("condition of disconnect others", CROSSED, 0, Problem.DISCONNECTED, {}),
    ("condition of disconnect connected", CROSSED, 0, Problem.DISCONNECTED, {}),
    ("condition of set disconnected", CROSSED, 0, Problem.DISCONNECTED, {}),
    ("second revocation", ((), (ASKS_AGAIN, ENDS)), 0, Problem.DISCONNECTED, {"tokens": NEW}),
    ("Qonto first", END, 1, Problem.UNREVOKED, {"tokens": NEW}),
    ("reminder", END, 1, Problem.ENDLESS, {"tokens": NEW}),
    ("redelivery", END, 3, Problem.ENDLESS, {"tokens": NEW, "only_requests": True}),
]


@pytest.mark.parametrize(("without", "arrivals", "faults", "problem", "options"), BROKEN)
@pytest.mark.claim("S32")
def test_tokens_without_one_part_have_problem(
    without: str,
    arrivals: tuple[tuple[Arrival, ...], tuple[Arrival, ...]],
    faults: int,
    problem: Problem,
    options: dict[str, Any],
) -> None:
    found = TokensModel(*arrivals, faults, rules=Rules(without), **options).explore({problem})

    assert found.problem is problem
