"""Refreshes and disconnections hold in every order; broken variants do not."""

from dataclasses import replace

import pytest

from tests.model.steps import Arrival, Kind
from tests.model.subscriber_code import NEAR
from tests.model.tokens_flow import Problem, TokensModel
from tests.support.slow import slow

LATER = Arrival(Kind.EVENT, "A", "X", "2", "2")  # a second code of the connected authorization
REPUDIATED, ASKS, ASKS_AGAIN, ENDS, WITHDRAWS = (
    Arrival(kind, "A", "X")
    for kind in (Kind.REPUDIATION, Kind.TOKEN, Kind.REFUSED, Kind.DISCONNECT, Kind.WITHDRAWAL)
)
NEW = NEAR + 1  # tokens that are not near their end

THREE_REQUESTS = TokensModel((), (ASKS,), 3, only_requests=True)
AGAIN_TWICE = TokensModel((), (ASKS_AGAIN, ASKS_AGAIN), 3, tokens=NEW, only_requests=True)

REPUDIATED_AND_ENDED = TokensModel((REPUDIATED,), (ENDS,), 0)
SECOND_CODE = TokensModel((LATER,), (ENDS,), 0)
REFUSAL_AND_END = TokensModel((), (ASKS_AGAIN, ENDS), 0, tokens=NEW)
MODELS = [THREE_REQUESTS, REPUDIATED_AND_ENDED, SECOND_CODE, REFUSAL_AND_END]
MODELS += [
    TokensModel((), (ASKS,), 2),
    TokensModel((), (ASKS, ASKS_AGAIN), 0),
    TokensModel((), (ASKS, WITHDRAWS), 1),
    TokensModel((), (ASKS, ENDS), 0),
    TokensModel((REPUDIATED,), (ASKS,), 0),
    TokensModel((LATER,), (ASKS,), 0),
]
LARGE_MODELS = [
    TokensModel((), (ASKS,), 3),
    TokensModel((), (ASKS, ASKS), 2),
    TokensModel((), (ASKS, ASKS_AGAIN), 2),
    AGAIN_TWICE,
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

    assert found.problem is None, found.path


ONE, TWO = TokensModel((), (ASKS,), 1), TokensModel((), (ASKS, ASKS), 1)
END = TokensModel((), (ENDS,), 1, tokens=NEW)
REFUSAL = TokensModel((), (ASKS_AGAIN,), 1, tokens=NEW)
REMIND = '            yield Call("remind", connection.event)\n'
REMIND_LATER = '    yield Call("remind", claimed.event)\n'
ATTEMPTS, RELEASE = "    is_unused, attempts", '    yield Call("release refresh"'
READ = '(yield Call("read", claimed.event))'
TOO_LATE = '"too late"}:\n            '
MARK = "    yield from _mark(event)\n"
TELL = '    yield Call("tell", event, 0, Status.DISCONNECTED)\n'
LIST, IS_BEGUN = '    events = _events((yield Call("query", asked)))\n', "    is_begun ="
OTHERS = '    yield Call("disconnect others", event)\n'
CONNECTED = '    yield Call("disconnect connected", event)\n'
SET = '    yield Call("set disconnected", event)\n'
# In each: the problem, the model, and edits of the code.
BROKEN: list[tuple[Problem, TokensModel, *tuple[tuple[str, str], ...]]] = [
    (Problem.PARALLEL, replace(TWO, faults=0, without="condition of claim refresh")),
    (Problem.PARALLEL, replace(TWO, without="condition of release refresh")),
    # With claims that live as long as the grace, they alone keep the tokens of a slow process.
    (Problem.REUSED, replace(TWO, grace=1, without="condition of claim refresh")),
    (Problem.OLD, replace(ONE, without="condition of renew")),
    (Problem.REUSED, replace(TWO, grace=1, without="condition of renew")),
    (Problem.DISCONNECTED, TokensModel((REPUDIATED,), (ASKS,), 0, without="condition of renew")),
    (Problem.UNTOLD, TokensModel((), (ASKS, ENDS, WITHDRAWS), 0, without="condition of end")),
    (Problem.REOPENED, replace(SECOND_CODE, without="condition of tell")),
    *(
        (Problem.DISCONNECTED, replace(REPUDIATED_AND_ENDED, without=f"condition of {call}"))
        for call in ("disconnect others", "disconnect connected", "set disconnected")
    ),
    # Each claim has the same owner.
    (Problem.PARALLEL, replace(TWO, faults=0, without="owner")),
    # There is no second message; the first one comes before the claim is over; claims are short.
    (Problem.ENDED, replace(ONE, faults=2, reminders=("1",))),
    (Problem.ENDED, replace(ONE, reminders=("0",))),
    (Problem.ENDED, replace(ONE, faults=2, grace=2)),
    (Problem.ENDED, ONE, (REMIND, "")),
    (Problem.ENDED, ONE, (REMIND, ""), (RELEASE, REMIND_LATER + RELEASE)),
    (Problem.ENDLESS, END, ('yield Call("remind", asked)', "pass")),
    (Problem.OLD, ONE, (READ, "claimed._replace(tokens=response)")),
    (Problem.STUCK, ONE, ("not connection.is_claimed", "connection.refresh is None")),
    (Problem.ENDED, THREE_REQUESTS, ("attempts = is_first, 2", "attempts = is_first, 1")),
    (
        *(Problem.ENDED, replace(REFUSAL, faults=2, only_requests=True)),
        ('"unused" if is_unused else ""', '"unused"'),
    ),
    (Problem.ENDED, REFUSAL, (" or connection.refresh is not None", "")),
    (Problem.ENDED, ONE, (TOO_LATE + "break", TOO_LATE + 'return "ended", claimed')),
    (Problem.UNTOLD, TokensModel((), (ASKS, WITHDRAWS), 1), ("if connection:", "if False:")),
    (Problem.DISCONNECTED, REFUSAL_AND_END, (MARK + LIST, TELL + MARK + LIST)),
    (Problem.DISCONNECTED, SECOND_CODE, (MARK + LIST, LIST + MARK)),
    (Problem.DISCONNECTED, SECOND_CODE, (OTHERS + CONNECTED, CONNECTED + OTHERS)),
    (Problem.DISCONNECTED, SECOND_CODE, ("any(other.status in DISCONNECTED", "any(False")),
    (Problem.DISCONNECTED, REFUSAL_AND_END, ('if response != "unauthorized"', "if True")),
    (Problem.UNREVOKED, END, (IS_BEGUN, SET + IS_BEGUN)),
    (
        *(Problem.ENDLESS, replace(END, faults=3, only_requests=True)),
        ("== Status.DISCONNECTING", "is None"),
    ),
]
SLOWLY_BROKEN = [
    (
        *(Problem.ENDED, TokensModel((), (ASKS, ASKS_AGAIN), 2)),
        *((REMIND, ""), (ATTEMPTS, REMIND_LATER + ATTEMPTS)),
    ),
    (Problem.ENDED, replace(AGAIN_TWICE, without="comparison of claim refresh")),
]


@pytest.mark.parametrize(
    "broken", [*BROKEN, *(pytest.param(broken, marks=slow) for broken in SLOWLY_BROKEN)]
)
@pytest.mark.claim("S32")
def test_broken_variant_has_its_problem(
    broken: tuple[Problem, TokensModel, *tuple[tuple[str, str], ...]],
) -> None:
    problem, model, *edits = broken

    assert replace(model, edits=dict(edits)).explore({problem}).problem is problem
