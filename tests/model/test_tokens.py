"""Refreshes and disconnections have no problem in any order; broken variants do."""

from dataclasses import replace

import pytest

from tests.model.subscriber import Arrival, Kind
from tests.model.tokens import PERIOD, Problem, TokensModel
from tests.support.slow import slow

LATER = Arrival(Kind.EVENT, "A", "X", "2", "2")  # a second code of the connected authorization
REPUDIATED, ASKS, ASKS_AGAIN, ENDS, WITHDRAWS = (
    Arrival(kind, "A", "X")
    for kind in (Kind.REPUDIATION, Kind.TOKEN, Kind.REFUSED, Kind.DISCONNECT, Kind.WITHDRAWAL)
)
NEW = 3600  # seconds that tokens live which are not near their end

SHORT, LONG = tuple(range(0, 3 * PERIOD, PERIOD)), tuple(range(0, 7 * PERIOD, PERIOD))
ONE = TokensModel((ASKS,), LONG, 1)
TWO = TokensModel((ASKS, ASKS), SHORT, 0)
THREE_REQUESTS = TokensModel((ASKS,), LONG, 3, only_requests=True)
AGAIN_TWICE = TokensModel((ASKS_AGAIN, ASKS_AGAIN), SHORT, 3, lives=NEW, only_requests=True)
REFUSAL = TokensModel((ASKS_AGAIN,), LONG, 1, lives=NEW)
END = TokensModel((ENDS,), LONG, 1, lives=NEW)
WITHDRAWN = TokensModel((ASKS, WITHDRAWS), LONG, 1)
REPUDIATED_AND_ASKED = TokensModel((ASKS,), LONG, 0, (REPUDIATED,))
REPUDIATED_AND_ENDED = TokensModel((ENDS,), LONG, 0, (REPUDIATED,))
SECOND_CODE = TokensModel((ENDS,), SHORT, 0, (LATER,))
REFUSAL_AND_END = TokensModel((ASKS_AGAIN, ENDS), SHORT, 0, lives=NEW)
ENDED_AND_WITHDRAWN = TokensModel((ENDS, WITHDRAWS), SHORT, 0)
MODELS = [ONE, THREE_REQUESTS, REPUDIATED_AND_ASKED, REPUDIATED_AND_ENDED, SECOND_CODE]
MODELS += [
    REFUSAL_AND_END,
    WITHDRAWN,
    TokensModel((ASKS, ASKS_AGAIN), SHORT, 0),
    TokensModel((ASKS,), LONG, 0, (LATER,)),
]
LARGE_MODELS = [
    TokensModel((ASKS,), LONG, 2),
    replace(TWO, faults=1),
    TokensModel((ASKS, ASKS_AGAIN), SHORT, 1),
    AGAIN_TWICE,
    TokensModel((ENDS,), LONG, 1),
    TokensModel((ENDS, ENDS), SHORT, 0),
    TokensModel((ENDS, WITHDRAWS), SHORT, 1),
    TokensModel((ASKS, ENDS), SHORT, 0),
    replace(REPUDIATED_AND_ENDED, faults=1),
    TokensModel((ENDS,), SHORT, 0, (LATER, REPUDIATED)),
]


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(model, marks=slow) for model in LARGE_MODELS)]
)
@pytest.mark.claim("S32", "S34")
def test_tokens_have_no_problem_in_any_order(model: TokensModel) -> None:
    found = model.explore(Problem)

    assert found.problem is None, found.path


ANY = 'Attr("event_id").exists()'
CLAIM = 'self._update(connection, is_free & unchanged, {"refresh": refresh})'
RELEASE = "self._update(claimed, _refresh_of(claimed), unfinished)"
RENEW = 'self._update(claimed, _refresh_of(claimed), values, ("refresh",))'
END_GRANT = "self._end(connection, connected & unchanged, status=Status.ENDED)"
OTHERS = """self._end(grant, others, status=Status.DISCONNECTED, expires_at=now + DAY)
        connected = Attr("status").eq(Status.CONNECTED)
"""
CONNECTED = 'self._update(grant, connected, {"status": Status.DISCONNECTING})'
SET = "self._end(grant, is_begun, status=Status.DISCONNECTED, **values)"
OWNER = 'refresh = {"owner": secrets.token_hex(16)'
REMINDERS = "REMINDERS = REFRESHING + 2, 2 * (REFRESHING + 2)"
REMIND = "self.remind(connection.authorization_id)"
RELEASE_LATER = "self.grants.release_refresh(claimed, is_unused=is_unused)"
REMIND_LATER = f"self.remind(claimed.authorization_id)\n        {RELEASE_LATER}"
TOO_LATE = "issued_at > claimed.refresh_claimed_at + SEND_WITHIN:\n                "
TOLD = "self._tell(connection, Status.ENDED)\n            return"
MARK = "        self.grants.disconnect(connection, self.now())\n        # Read"
LIST = "self.grants.of(connection.authorization_id)"
MARK_OTHERS = "{}:\n            self.grants.disconnect("
IS_REVOKED = "        is_revoked = found"
# In each: the problem, the model, and texts of the code that are replaced.
BROKEN: list[tuple[Problem, TokensModel, *tuple[tuple[str, str], ...]]] = [
    # Without a condition.
    (Problem.PARALLEL, TWO, (CLAIM, CLAIM.replace("is_free & unchanged", ANY))),
    (Problem.OLD, ONE, (RENEW, RENEW.replace("_refresh_of(claimed)", ANY))),
    (Problem.DISCONNECTED, REPUDIATED_AND_ASKED, (RENEW, RENEW.replace("_refresh_of(claimed)", ANY))),
    (Problem.UNTOLD, ENDED_AND_WITHDRAWN, (END_GRANT, END_GRANT.replace("connected & unchanged", ANY))),
    (Problem.REOPENED, SECOND_CODE, (" & is_open & is_earlier", "")),
    (Problem.DISCONNECTED, REPUDIATED_AND_ENDED, (OTHERS, OTHERS.replace("others", ANY))),
    (Problem.DISCONNECTED, REPUDIATED_AND_ENDED, (CONNECTED, CONNECTED.replace("connected", ANY))),
    (Problem.DISCONNECTED, REPUDIATED_AND_ENDED, (SET, SET.replace("is_begun", ANY))),
    # Each claim has the same owner; messages are missing, too early or too late.
    (Problem.PARALLEL, TWO, (OWNER, 'refresh = {"owner": "same"')),
    (Problem.ENDED, ONE, (REMINDERS, "REMINDERS = (0,)")),
    (Problem.ENDED, ONE, (REMIND, "pass")),
    (Problem.ENDED, ONE, (REMIND, "pass"), (RELEASE_LATER, REMIND_LATER)),
    (Problem.ENDLESS, END, ("self.remind(authorization_id)", "pass")),
    (Problem.OLD, ONE, (f"{RENEW}\n        return self.read(claimed)", "return claimed")),
    (Problem.STUCK, ONE, ("not connection.is_claimed(self.now())", "connection.refresh is None")),
    (Problem.ENDED, THREE_REQUESTS, ("range(2):\n            issued_at", "range(1):\n            issued_at")),
    (
        *(Problem.ENDED, replace(REFUSAL, faults=2, only_requests=True)),
        ("is_unused=is_unused", "is_unused=True"),
    ),
    (Problem.ENDED, REFUSAL, (" or connection.refresh is not None", "")),
    (Problem.ENDED, ONE, (TOO_LATE + "break", TOO_LATE + 'raise EndedError(claimed, "late")')),
    (Problem.UNTOLD, WITHDRAWN, (TOLD, "return")),
    (
        *(Problem.DISCONNECTED, REFUSAL_AND_END),
        (MARK, f"        self._tell(connection, Status.DISCONNECTED)\n{MARK}"),
    ),
    (
        *(Problem.DISCONNECTED, SECOND_CODE),
        *((MARK, f"        earlier = {LIST}\n{MARK}"),),
        (MARK_OTHERS.format(LIST), MARK_OTHERS.format("earlier")),
    ),
    (Problem.DISCONNECTED, SECOND_CODE, ("any(other.status in DISCONNECTED for other in found)", "False")),
    (Problem.DISCONNECTED, REFUSAL_AND_END, ("refused = token", "return True")),
    (
        *(Problem.UNREVOKED, END),
        (IS_REVOKED, f"        self.grants.set_disconnected(found, 0, is_revoked=True)\n{IS_REVOKED}"),
    ),
    (
        *(Problem.ENDLESS, replace(END, faults=3, only_requests=True)),
        ('["status"] == Status.DISCONNECTING:\n            raise', " is None:\n            raise"),
    ),
]
SLOWLY_BROKEN = [
    (Problem.PARALLEL, replace(TWO, faults=1), (RELEASE, RELEASE.replace("_refresh_of(claimed)", ANY))),
    (Problem.ENDED, replace(ONE, faults=2), (REMINDERS, "REMINDERS = (REFRESHING + 2,)")),
    (
        *(Problem.ENDED, AGAIN_TWICE),
        ("is_free = _refresh_of(connection) & Attr", "is_free = Attr"),
    ),
]


@pytest.mark.parametrize(
    "broken", [*BROKEN, *(pytest.param(broken, marks=slow) for broken in SLOWLY_BROKEN)]
)
@pytest.mark.claim("S32", "S34")
def test_broken_variant_has_its_problem(
    broken: tuple[Problem, TokensModel, *tuple[tuple[str, str], ...]],
) -> None:
    problem, model, *edits = broken

    assert model.edited(dict(edits)).explore({problem}).problem is problem
