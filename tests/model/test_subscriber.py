"""The example subscriber and app have no problem in any order; broken variants do."""

from typing import Any

import pytest

from tests.model import edited
from tests.model.example import CODE_LIFETIME, HOUR, Arrival, Kind
from tests.model.subscriber import Problem, SubscriberModel
from tests.support.slow import slow

# Two codes of the authorization A; and the first of them in another authorization, B, of another
# context or of the same one.
FIRST = Arrival(Kind.EVENT, "A", "X", "1", "1")
SECOND = Arrival(Kind.EVENT, "A", "X", "2", "2")
COPY = Arrival(Kind.EVENT, "B", "Y", "3", "1")
COPY_OF_X = Arrival(Kind.EVENT, "B", "X", "3", "1")
CONFIRMED = Arrival(Kind.CONFIRMATION, "A", "X")
COPY_CONFIRMED = Arrival(Kind.CONFIRMATION, "B", "Y")
REPUDIATED = Arrival(Kind.REPUDIATION, "A", "X")
REPUDIATED_LATE = Arrival(Kind.LATE, "A", "X", due=2 * HOUR)
# The browsers that come back; after a forwarded link, the attacker's is the right one.
BACK, SIGNED_OUT = Arrival(Kind.RIGHT, "A", "X"), Arrival(Kind.OTHER_SESSION, "A", "X")
VICTIM = Arrival(Kind.OTHER, "A", "X")
BACK_WITH_B, BACK_WITH_Y = Arrival(Kind.RIGHT, "B", "X"), Arrival(Kind.RIGHT, "A", "Y")

# Instants on both sides of the end of a run, of the code and of the hour.
RUN, END, DAY = (0, 31), (CODE_LIFETIME - 5, CODE_LIFETIME + 5), (0, 2 * HOUR)
ONE = SubscriberModel((), RUN, 1, (FIRST, CONFIRMED))
TWO_FAULTS = SubscriberModel((), RUN, 2, (FIRST, CONFIRMED))
TWO = SubscriberModel((), RUN, 0, (FIRST, SECOND, CONFIRMED))
COPIED = SubscriberModel((), RUN, 0, (FIRST, COPY, CONFIRMED, COPY_CONFIRMED))
REPUDIATES = SubscriberModel((), RUN, 0, (FIRST, CONFIRMED, REPUDIATED))
LATE = SubscriberModel((), DAY, 0, (FIRST, CONFIRMED, REPUDIATED_LATE))
SESSION = SubscriberModel((SIGNED_OUT, VICTIM), (0,), 0, (FIRST,))
APP = SubscriberModel((BACK, VICTIM), (0,), 0, (FIRST,))
BOTH_BACK = SubscriberModel((BACK, BACK_WITH_B), (0,), 0)
MODELS = [
    ONE,
    REPUDIATES,
    LATE,
    SubscriberModel((BACK, BACK, VICTIM), (0,), 0, (FIRST,)),
    SubscriberModel((SIGNED_OUT, VICTIM), (0,), 1, (FIRST,)),
]
LARGE_MODELS = [
    COPIED,
    TWO,
    SubscriberModel((BACK, BACK_WITH_B, VICTIM), (0,), 0, (FIRST, COPY_OF_X)),
    SubscriberModel((), END, 1, (FIRST, CONFIRMED)),
    SubscriberModel((BACK_WITH_Y, VICTIM), RUN, 1, (FIRST,)),
    SubscriberModel((), RUN, 1, (FIRST, CONFIRMED), parallel=3),
    SubscriberModel((), RUN, 0, (FIRST, SECOND, CONFIRMED, REPUDIATED)),
    SubscriberModel((), RUN, 1, (FIRST, CONFIRMED, REPUDIATED)),
    SubscriberModel((), DAY, 1, (FIRST, CONFIRMED, REPUDIATED_LATE)),
    SubscriberModel((BACK, VICTIM), (0,), 1, (FIRST,)),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S23", "S27")
def test_subscriber_has_no_problem_in_any_order(model: SubscriberModel) -> None:
    found = model.edited().explore(Problem)  # a copy, whose memory is freed

    assert found.problem is None, found.path


@edited.variants("subscriber")
@pytest.mark.claim("S23", "S27")
def test_broken_subscriber_has_its_problem(variant: dict[str, Any]) -> None:
    problem, edits = Problem[variant["problem"]], dict(variant["edits"])
    model = globals()[variant["model"]].edited(edits)

    assert model.explore({problem}).problem is problem


@edited.variants("app")
@pytest.mark.claim("S23", "S28")
def test_broken_app_has_its_problem(variant: dict[str, Any]) -> None:
    problem, edits = Problem[variant["problem"]], dict(variant["edits"])
    model = globals()[variant["model"]].edited(app=edits)

    assert model.explore({problem}).problem is problem
