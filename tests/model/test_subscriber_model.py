"""The design of the example subscriber and app holds in every order; broken variants do not."""

from dataclasses import replace

import pytest

from tests.model.steps import Arrival, Kind
from tests.model.subscriber_flow import EXPIRED, HOUR_OVER, Model, Problem
from tests.support.slow import slow

# Two codes of the authorization A; and the first of them in another authorization, B, of another
# context or of the same one.
FIRST = Arrival(Kind.EVENT, "A", "X", "first", "1")
SECOND = Arrival(Kind.EVENT, "A", "X", "second", "2")
COPY = Arrival(Kind.EVENT, "B", "Y", "copy", "1")
COPY_OF_X = Arrival(Kind.EVENT, "B", "X", "copy", "1")
CONFIRMED = Arrival(Kind.CONFIRMATION, "A", "X")
COPY_CONFIRMED = Arrival(Kind.CONFIRMATION, "B", "Y")
REPUDIATED, REPUDIATED_LATE = Arrival(Kind.REPUDIATION, "A", "X"), Arrival(Kind.LATE, "A", "X")
# The browsers that come back; after a forwarded link, the attacker's is the right one.
BACK, SIGNED_OUT = Arrival(Kind.RIGHT, "A", "X"), Arrival(Kind.OTHER_SESSION, "A", "X")
VICTIM = Arrival(Kind.OTHER, "A", "X")
BACK_WITH_B, BACK_WITH_Y = Arrival(Kind.RIGHT, "B", "X"), Arrival(Kind.RIGHT, "A", "Y")

ONE = Model((FIRST, CONFIRMED), (), 1)
TWO = Model((FIRST, SECOND, CONFIRMED), (), 0)
COPIED = Model((FIRST, COPY, CONFIRMED, COPY_CONFIRMED), (), 0)
REPUDIATES = Model((FIRST, CONFIRMED, REPUDIATED), (), 0)
LATE = Model((FIRST, CONFIRMED, REPUDIATED_LATE), (), 0, HOUR_OVER)
MODELS = [ONE, TWO, COPIED, REPUDIATES, LATE]
MODELS += [
    Model((FIRST, CONFIRMED), (), 1, EXPIRED),
    Model((FIRST,), (BACK, BACK, VICTIM), 0),
    Model((FIRST,), (SIGNED_OUT, VICTIM), 1),
    Model((FIRST,), (BACK_WITH_Y, VICTIM), 1),
    Model((FIRST, COPY_OF_X), (BACK, BACK_WITH_B, VICTIM), 0),
]
LARGE_MODELS = [
    Model((FIRST, CONFIRMED), (), 2, parallel=3),
    Model((FIRST, SECOND, CONFIRMED), (), 1),
    Model((FIRST, SECOND, CONFIRMED, REPUDIATED), (), 0),
    Model((FIRST, COPY, CONFIRMED, COPY_CONFIRMED), (), 1),
    Model((FIRST, CONFIRMED, REPUDIATED), (), 2),
    Model((FIRST, CONFIRMED, REPUDIATED_LATE), (), 1, HOUR_OVER),
    Model((FIRST,), (BACK, VICTIM), 1),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S23", "S27")
def test_subscriber_has_no_problem_in_any_order(model: Model) -> None:
    found = model.explore(Problem)

    assert found.problem is None, found.path


BOTH_BACK = Model((), (BACK, BACK_WITH_B), 0, without="condition of use")
STORE_REPUDIATION = '    yield Call("repudiate connection", message)\n'
REPUDIATE = '    for grant in found:\n        yield Call("repudiate", grant.event)\n'
REPUDIATE_FIRST = REPUDIATE + STORE_REPUDIATION + "    return\n"
USE = '    if not (yield Call("use", browser)):\n'
READ = '    if asked.authorization not in {"", browser.authorization}:\n        return\n'
LOSE = 'not (yield Call("lose", grant.event, grant.owner))'
HAS_HELD = "any(grant.status is Status.HELD for grant in confirmed)"
# In each: the problem, the model, and edits of the code.
BROKEN: dict[str, tuple[Problem, Model, *tuple[tuple[str, str], ...]]] = {
    "owner of release": (Problem.TWICE, replace(ONE, faults=2, without="owner of release")),
    "owner of lose": (Problem.CHANGED, replace(ONE, without="owner of lose")),
    "connect": (Problem.CHANGED, replace(ONE, without="condition of connect")),
    "tell": (Problem.NO_TOKENS, replace(REPUDIATES, without="condition of tell")),
    "lock": (Problem.TWICE, COPIED, ('not (yield Call("lock", event))', "False")),
    "own work": (Problem.UNSENT, ONE, ('(yield Call("read", event)).owner != owner', "True")),
    "look again": (Problem.UNSENT, replace(ONE, faults=2), (LOSE, f"False and {LOSE}")),
    "take-over": (Problem.STUCK, ONE, ("not is_over or", "True or")),
    "repeated tell": (Problem.UNTOLD, ONE, ("bool(confirmed)", HAS_HELD)),
    "supersede": (Problem.TWO_GRANTS, TWO, ("grant.event < connected[-1].event", "False")),
    "confirmation": (Problem.UNCONFIRMED, Model((FIRST,), (), 0), ("case str()", "case _")),
    "stored repudiation": (Problem.REPUDIATED, REPUDIATES, (STORE_REPUDIATION, "")),
    "its order": (Problem.REPUDIATED, REPUDIATES, (STORE_REPUDIATION, REPUDIATE_FIRST)),
    "hour": (Problem.LATE, LATE, ("found and message.kind is Kind.LATE", "False")),
    "session": (
        *(Problem.UNCONFIRMED, Model((FIRST,), (SIGNED_OUT, VICTIM), 0)),
        ("browser.kind is not Kind.RIGHT", "False"),
    ),
    "the app's repudiation": (
        *(Problem.REPUDIATED, Model((FIRST,), (BACK, VICTIM), 0)),
        ("browser.kind is Kind.OTHER", "False"),
    ),
    "one statement": (Problem.CONTEXT_TWICE, BOTH_BACK, (USE, READ + USE)),
}


@pytest.mark.parametrize("without", BROKEN)
@pytest.mark.claim("S23", "S27")
def test_subscriber_without_one_part_has_problem(without: str) -> None:
    problem, model, *edits = BROKEN[without]

    assert replace(model, edits=dict(edits)).explore({problem}).problem is problem
