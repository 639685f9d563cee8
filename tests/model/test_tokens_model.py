"""Refreshes and disconnections hold in every order; broken variants do not."""

from dataclasses import replace

import pytest

from tests.model.exploration import lines
from tests.model.steps import Arrival, Kind, edited
from tests.model.subscriber_code import NEAR, handle
from tests.model.tokens_flow import Problem, TokensModel
from tests.support.slow import slow

LATER = Arrival(Kind.EVENT, "A", "X", "2", "2")  # a second code of the connected authorization
REPUDIATED, ASKS, ASKS_AGAIN, ENDS, WITHDRAWS = (
    Arrival(kind, "A", "X")
    for kind in (Kind.REPUDIATION, Kind.TOKEN, Kind.REFUSED, Kind.DISCONNECT, Kind.WITHDRAWAL)
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
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S32")
def test_tokens_have_no_problem_in_any_order(model: TokensModel) -> None:
    found = model.explore(Problem)

    assert found.problem is None, lines(found.path)


ONE, TWO, END = ((), (ASKS,)), ((), (ASKS, ASKS)), ((), (ENDS,))
REPUDIATED_AND_ENDED = TokensModel((REPUDIATED,), (ENDS,), 0)
SECOND_CODE = TokensModel((LATER,), (ENDS,), 0)
REFUSAL = TokensModel((), (ASKS_AGAIN,), 1, tokens=NEW)
REFUSAL_AND_END = TokensModel((), (ASKS_AGAIN, ENDS), 0, tokens=NEW)
THREE_REQUESTS = TokensModel(*ONE, 3, only_requests=True, few=3)
REMIND = '            yield Call("remind", connection.event)\n'
REMIND_LATER = '    yield Call("remind", claimed.event)\n'
ATTEMPTS, RELEASE = "    is_unused, attempts", '    yield Call("release refresh"'
MARK, TELL = (
    "    yield from _mark(event)\n",
    '    yield Call("tell", event, 0, Status.DISCONNECTED)\n',
)
LIST, IS_BEGUN = '    events = _events((yield Call("query", asked)))\n', "    is_begun ="
OTHERS = '    yield Call("disconnect others", event)\n'
CONNECTED = '    yield Call("disconnect connected", event)\n'
# In each: the problem, the model, what the model is without, and edits of the code.
BROKEN = [
    (Problem.PARALLEL, TokensModel(*TWO, 0), "condition of claim refresh"),
    (Problem.PARALLEL, TokensModel(*TWO, 1), "condition of release refresh"),
    # With claims that live as long as the grace, they alone keep the tokens of a slow process.
    (Problem.REUSED, TokensModel(*TWO, 1, grace=1), "condition of claim refresh"),
    (Problem.OLD, TokensModel(*ONE, 1), "condition of renew"),
    (Problem.REUSED, TokensModel(*TWO, 1, grace=1), "condition of renew"),
    (Problem.DISCONNECTED, TokensModel((REPUDIATED,), (ASKS,), 0), "condition of renew"),
    (Problem.UNTOLD, TokensModel((), (ASKS, ENDS, WITHDRAWS), 0), "condition of end"),
    (Problem.REOPENED, SECOND_CODE, "condition of tell"),
    (Problem.DISCONNECTED, REPUDIATED_AND_ENDED, "condition of disconnect others"),
    (Problem.DISCONNECTED, REPUDIATED_AND_ENDED, "condition of disconnect connected"),
    (Problem.DISCONNECTED, REPUDIATED_AND_ENDED, "condition of set disconnected"),
    # Each claim has the same owner.
    (Problem.PARALLEL, TokensModel(*TWO, 0), "owner"),
    # There is no second message; the first one comes before the claim is over; claims are short.
    (Problem.ENDED, TokensModel(*ONE, 2, reminders=("1",)), ""),
    (Problem.ENDED, TokensModel(*ONE, 1, reminders=("0",)), ""),
    (Problem.ENDED, TokensModel(*ONE, 2, grace=2), ""),
    (Problem.ENDED, TokensModel(*ONE, 1), "", (REMIND, "")),
    (Problem.ENDED, TokensModel(*ONE, 1), "", (REMIND, ""), (RELEASE, REMIND_LATER + RELEASE)),
    (
        Problem.ENDLESS,
        TokensModel(*END, 1, tokens=NEW),
        "",
        ('yield Call("remind", asked)', "pass"),
    ),
    (Problem.OLD, TokensModel(*ONE, 1), "", ("E, renewed", "E, claimed._replace(tokens=response)")),
    (Problem.STUCK, TokensModel(*ONE, 1), "", (" and not connection.refresh.is_over", "")),
    (Problem.ENDED, THREE_REQUESTS, "", ("attempts = is_first, 2", "attempts = is_first, 1")),
    (
        *(Problem.ENDED, replace(REFUSAL, faults=2, only_requests=True), ""),
        ('"unused" if is_unused else ""', '"unused"'),
    ),
    (Problem.ENDED, REFUSAL, "", (" or connection.refresh is not None", "")),
    (
        *(Problem.ENDED, TokensModel(*ONE, 1), ""),
        (
            '"too late"}:\n            break',
            '"too late"}:\n            return Outcome.ENDED, claimed',
        ),
    ),
    (Problem.UNTOLD, TokensModel((), (ASKS, WITHDRAWS), 1), "", ("if connection:", "if False:")),
    (Problem.DISCONNECTED, REFUSAL_AND_END, "", (MARK + LIST, TELL + MARK + LIST)),
    (Problem.DISCONNECTED, SECOND_CODE, "", (MARK + LIST, LIST + MARK)),
    (Problem.DISCONNECTED, SECOND_CODE, "", (OTHERS + CONNECTED, CONNECTED + OTHERS)),
    (Problem.DISCONNECTED, SECOND_CODE, "", ("any(other.status in DISCONNECTED", "any(False")),
    (Problem.DISCONNECTED, REFUSAL_AND_END, "", ('if response != "unauthorized"', "if True")),
    (
        *(Problem.UNREVOKED, TokensModel(*END, 1, tokens=NEW), ""),
        (IS_BEGUN, f'    yield Call("set disconnected", event)\n{IS_BEGUN}'),
    ),
    (
        *(Problem.ENDLESS, TokensModel(*END, 3, tokens=NEW, only_requests=True), ""),
        ("== Status.DISCONNECTING", "is None"),
    ),
]
SLOWLY_BROKEN = [
    (
        *(Problem.ENDED, TokensModel((), (ASKS, ASKS_AGAIN), 2), ""),
        *((REMIND, ""), (ATTEMPTS, REMIND_LATER + ATTEMPTS)),
    ),
    (
        Problem.ENDED,
        TokensModel((), (ASKS_AGAIN, ASKS_AGAIN), 3, tokens=NEW, only_requests=True, few=3),
        "comparison of claim refresh",
    ),
]


@pytest.mark.parametrize(
    "broken", [*BROKEN, *(pytest.param(broken, marks=slow) for broken in SLOWLY_BROKEN)]
)
@pytest.mark.claim("S32")
def test_broken_variant_has_its_problem(
    broken: tuple[Problem, TokensModel, str, *tuple[tuple[str, str], ...]],
) -> None:
    problem, model, without, *edits = broken

    found = replace(model, without=without, handle=edited(handle, *edits)).explore({problem})

    assert found.problem is problem
