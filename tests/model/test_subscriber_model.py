"""The design of the example subscriber and app holds in every order; broken variants do not."""

import pytest

from tests.model.exploration import lines
from tests.model.subscriber_code import (
    CONFIRMATION,
    EVENT,
    LATE,
    OTHER,
    OTHER_SESSION,
    REPUDIATION,
    RIGHT,
    Arrival,
)
from tests.model.subscriber_flow import EXPIRED, HOUR_OVER, Model, Problem, Rules
from tests.slow import slow

# Two codes of the authorization A; and the first of them in another authorization, B, of another
# context or of the same one.
FIRST, SECOND = Arrival(EVENT, "A", "X", "first", "1"), Arrival(EVENT, "A", "X", "second", "2")
COPY, COPY_OF_X = Arrival(EVENT, "B", "Y", "copy", "1"), Arrival(EVENT, "B", "X", "copy", "1")
CONFIRMED, COPY_CONFIRMED = Arrival(CONFIRMATION, "A", "X"), Arrival(CONFIRMATION, "B", "Y")
REPUDIATED, REPUDIATED_LATE = Arrival(REPUDIATION, "A", "X"), Arrival(LATE, "A", "X")
# The browsers that come back; after a forwarded link, the attacker's is the right one.
BACK, SIGNED_OUT = Arrival(RIGHT, "A", "X"), Arrival(OTHER_SESSION, "A", "X")
VICTIM = Arrival(OTHER, "A", "X")
BACK_WITH_B, BACK_WITH_Y = Arrival(RIGHT, "B", "X"), Arrival(RIGHT, "A", "Y")

MODELS = [
    Model((FIRST, CONFIRMED), (), 1),
    Model((FIRST, CONFIRMED), (), 1, EXPIRED),
    Model((FIRST, SECOND, CONFIRMED), (), 0),
    Model((FIRST, COPY, CONFIRMED, COPY_CONFIRMED), (), 0),
    Model((FIRST, CONFIRMED, REPUDIATED), (), 0),
    Model((FIRST, CONFIRMED, REPUDIATED_LATE), (), 0, HOUR_OVER),
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
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)], ids=str
)
@pytest.mark.claim("S23", "S27")
def test_subscriber_has_no_problem_in_any_order(model: Model) -> None:
    found = model.explore()

    assert found.problem is None, lines(found.path)


ONE = (FIRST, CONFIRMED), ()
REPUDIATES = (FIRST, CONFIRMED, REPUDIATED), ()
FORWARDED = (FIRST,), (BACK, VICTIM)
BROKEN = {
    "lock": ((FIRST, COPY, CONFIRMED, COPY_CONFIRMED), (), 0, Problem.TWICE),
    "owner of release": (*ONE, 2, Problem.TWICE),
    "owner of lose": (*ONE, 1, Problem.CHANGED),
    "condition of connect": (*ONE, 1, Problem.CHANGED),
    "condition of tell": (*REPUDIATES, 0, Problem.NO_TOKENS),
    "own work": (*ONE, 1, Problem.UNSENT),
    "look again": (*ONE, 2, Problem.UNSENT),
    "take-over": (*ONE, 1, Problem.STUCK),
    "repeated tell": (*ONE, 1, Problem.UNTOLD),
    "supersede": ((FIRST, SECOND, CONFIRMED), (), 0, Problem.TWO_GRANTS),
    "confirmation": ((FIRST,), (), 0, Problem.UNCONFIRMED),
    "stored repudiation": (*REPUDIATES, 0, Problem.REPUDIATED),
    "repudiation first": (*REPUDIATES, 0, Problem.REPUDIATED),
    "hour": ((FIRST, CONFIRMED, REPUDIATED_LATE), (), 0, Problem.LATE),
    "session": ((FIRST,), (SIGNED_OUT, VICTIM), 0, Problem.UNCONFIRMED),
    "app repudiates": (*FORWARDED, 0, Problem.REPUDIATED),
    "one statement": ((), (BACK, BACK_WITH_B), 0, Problem.CONTEXT_TWICE),
}


@pytest.mark.parametrize("without", BROKEN)
@pytest.mark.claim("S23", "S27")
def test_subscriber_without_one_part_has_problem(without: str) -> None:
    messages, browsers, faults, problem = BROKEN[without]
    last = HOUR_OVER if problem is Problem.LATE else 0

    found = Model(messages, browsers, faults, last, rules=Rules(without)).explore({problem})

    assert found.problem is problem
