"""The real apps walk the paths of the model and end where it says; wrong ones do not."""

import re
from collections.abc import Callable
from itertools import chain
from random import Random
from typing import Any

import pytest

from state_store import StateStore
from tests.model.callback_flow import OTHER, OWN, Model
from tests.model.replay import random_walk, replay, walks
from tests.support.slow import SEED, SLOW, slow

ONE, TWO, STRANGER = (OWN, 1), (OWN, 2), (OTHER, 1)
# The apps take every move of these.
REPLAYED = [
    Model((ONE,), (0,), 3),
    Model((ONE, TWO), (0, 61), 1),
    Model((ONE, ONE), (0, 30), 0),
    Model((ONE, ONE), (0,), 1),
    Model((ONE, STRANGER), (0, 600), 1),
    Model((ONE, ONE), (3590, 3651, 4251), 1),
    Model((ONE, TWO), (3599, 3600), 0),
]
LARGE_REPLAYED = [
    Model((ONE, TWO), (0, 61), 2),
    Model((ONE, TWO), (3590, 3600, 3651, 4251), 1),
    Model((ONE, ONE), (0, 590, 600), 1),
    Model((ONE, TWO, STRANGER), (0, 61), 1),
]
# Of this one, they take random paths.
SAMPLED = Model(
    (ONE, ONE, TWO, TWO, STRANGER), (0, 30, 61, 97, 599, 661, 3590, 3600, 3651, 4251), 4
)


@pytest.mark.parametrize(
    "model", [*REPLAYED, *(pytest.param(model, marks=slow) for model in LARGE_REPLAYED)]
)
@pytest.mark.claim("S23")
def test_apps_take_every_move_of_model(model: Model) -> None:
    for path in walks(model):
        replay(path)


@pytest.mark.claim("S23")
def test_apps_take_random_paths_of_model() -> None:
    random = Random(SEED)  # noqa: S311 - it chooses tests

    for _ in range(2_000 if SLOW else 150):
        replay(random_walk(SAMPLED, random))


def edited(pattern: str, replacement: str) -> type[StateStore]:
    """Return a state store that sends other conditions."""

    class Edited(StateStore):
        def _call(self, operation: Callable[..., Any], **request: Any) -> dict[str, Any]:  # noqa: ANN401
            condition = request.get("ConditionExpression")
            if condition:
                request["ConditionExpression"] = re.sub(pattern, replacement, condition)
            return super()._call(operation, **request)

    return Edited


WRONG = {
    "any browser claims": edited("^browser_hash = :browser_hash", "True"),
    "any response claims": edited("claimed_at < :free", "True"),
    "no other response claims": edited("claimed_at < :free", "False"),
    "the same response does not claim again": edited(r" OR \(response_hash[^)]*<= :now\)", ""),
    "a claim goes back": edited(" AND claimed_at <= :now", ""),
    "a state is claimed after its hour": edited("expires_at > :now", "True"),
    "a claim can always be repeated": edited("claimed_at > :repeatable", "True"),
    "a claim cannot be repeated after the hour": edited("claimed_at > :repeatable", "False"),
    "any receipt replaces another": edited(r"attribute_not_exists\(browser_hash\)", "True"),
    "any response deletes": edited("^response_hash = :response_hash$", "True"),
}


@slow
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.claim("S23")
def test_replay_finds_wrong_condition(wrong: type[StateStore]) -> None:
    with pytest.raises(AssertionError):
        replay_all(wrong)


def replay_all(state_store: type[StateStore]) -> None:
    for path in chain.from_iterable(map(walks, REPLAYED)):
        replay(path, state_store)
