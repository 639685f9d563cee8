"""The state store against two emulators of DynamoDB, ministack and moto.

Neither is DynamoDB, so no claim rests on one of them alone. moto shows semantics and no races: it
evaluates a condition and writes in two steps without a lock.
"""

import os
from collections.abc import Iterator
from secrets import token_urlsafe
from typing import Any
from uuid import uuid4

import pytest

from authorization import Item, PendingAuthorization, Receipt
from aws import CALL_CONFIG, guarded
from demo import template as infra
from demo.child import Child
from demo.local_aws import LocalAws, free_port
from outcomes import Outcome
from settings import Settings
from state_store import ResponseInFlightError, StateRefusedError, StateStore
from tests.support.faults import Fault, FaultProxy
from tests.support.flow import STARTED_AT as NOW
from tests.support.flow import pending

BROWSER = pending().browser_hash
ONE, OTHER = "1" * 64, "2" * 64  # the hashes of two authorization responses
CLAIMED, IN_FLIGHT = "claimed", "another response in flight"
OPTIONAL = {"context": "c", "return_to": "r", "organization_id": "o", "registration_id": "r"}

type Claims = list[tuple[str, int]]  # the response of each, and its seconds after the start


def _is_consistent(params: dict[str, Any], **_: object) -> None:
    assert params["ConsistentRead"]


class Table:
    """The table of infra/template.yaml in one of the emulators, without TTL."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self.name = aws, f"states-{uuid4()}"
        properties = infra.load()["Resources"]["StateTable"]["Properties"]
        schema = {it: properties[it] for it in ("AttributeDefinitions", "BillingMode", "KeySchema")}
        self.aws.dynamodb.create_table(TableName=self.name, **schema)

    def store(self, endpoint_url: str = "", **settings: str) -> StateStore:
        """Return the state store of the authorizations' own settings, or of other *settings*."""
        url = endpoint_url or self.aws.endpoint_url
        client = self.aws.session.client("dynamodb", endpoint_url=url, config=CALL_CONFIG)
        client.meta.events.register("before-parameter-build.dynamodb.GetItem", _is_consistent)
        own = {"QONTO_ENVIRONMENT": "sandbox", "CLIENT_ID": "client-1", "TABLE_NAME": self.name}
        return StateStore(guarded(client), Settings.model_validate(own | settings))

    def item(self, state: str) -> Item | None:
        """Return the item of *state*; None if it is missing."""
        key = {"state": {"S": state}}
        return self.aws.dynamodb.get_item(TableName=self.name, Key=key).get("Item")

    def claimed(self, *claims: tuple[str, int]) -> PendingAuthorization:
        """Issue an authorization with all attributes, and return it as the last claim leaves it."""
        authorization = pending(state=token_urlsafe(32), code_verifier="v" * 43, **OPTIONAL)
        self.store().issue(authorization)
        for response, seconds in claims:
            self.store().claim(authorization.state, BROWSER, response, NOW + seconds)
            claim = {"response_hash": response, "claimed_at": NOW + seconds}
            authorization = authorization.model_copy(update=claim)
        assert self.item(authorization.state) == authorization.item
        return authorization


@pytest.fixture(scope="module")
def moto() -> Iterator[LocalAws]:
    """Moto's server with DynamoDB alone. Other services of moto can start containers."""
    port = free_port()
    application = "moto.moto_server.werkzeug_app:create_backend_app('dynamodb')"
    flask = ("flask", "--app", application, "run", "--host", "127.0.0.1", "--port", str(port))
    environment = {"PATH": os.environ["PATH"], "MOTO_DISABLE_GLOBAL_CORS": "1"}
    with Child("moto", port, *flask, environment=environment) as child:
        child.wait_until_ready()
        yield LocalAws(f"http://127.0.0.1:{port}", "local")


@pytest.fixture(scope="module", params=["aws", "moto"])
def table(request: pytest.FixtureRequest) -> Table:
    """The table, in each of the emulators."""
    return Table(request.getfixturevalue(request.param))


def claim(store: StateStore, state: str, browser: str, response: str, at: int) -> tuple[Any, Any]:
    """Claim *state*; return the result, and the authorization or reference that comes with it."""
    try:
        return CLAIMED, store.claim(state, browser, response, at)
    except StateRefusedError as refusal:
        return refusal.outcome, refusal.authorization
    except ResponseInFlightError as refusal:
        return IN_FLIGHT, refusal.reference


@pytest.mark.parametrize(
    ("earlier", "response", "seconds", "result"),
    [
        # The state lives for 3600 seconds.
        ([], ONE, 3599, CLAIMED),
        ([], ONE, 3600, Outcome.EXPIRED),
        # The same response can be repeated, after the hour for ten minutes from its claim.
        ([(ONE, 0)], ONE, 1, CLAIMED),
        ([(ONE, 3599)], ONE, 4198, CLAIMED),
        ([(ONE, 3599)], ONE, 4199, Outcome.EXPIRED),
        # A callback that arrived earlier does not shorten the wait of another response.
        ([(ONE, 30)], ONE, 0, CLAIMED),
        # Another response waits until the last claim is more than 60 seconds old.
        ([(ONE, 0)], OTHER, 60, IN_FLIGHT),
        ([(ONE, 0)], OTHER, 61, CLAIMED),
        ([(ONE, 0), (ONE, 60)], OTHER, 120, IN_FLIGHT),
        ([(ONE, 0), (OTHER, 61)], ONE, 62, IN_FLIGHT),
        ([(ONE, 3530)], OTHER, 3600, Outcome.EXPIRED),
    ],
)
@pytest.mark.claim("S4", "S20", "T4")
def test_claim_depends_on_time_and_earlier_claims(
    table: Table, earlier: Claims, response: str, seconds: int, result: object
) -> None:
    before = table.claimed(*earlier)

    ended = claim(table.store(), before.state, BROWSER, response, NOW + seconds)

    assert ended == (result, before.reference if result == IN_FLIGHT else before)
    new = {"response_hash": response, "claimed_at": max(NOW + seconds, before.claimed_at or 0)}
    after = before.model_copy(update=new) if result == CLAIMED else before
    assert table.item(before.state) == after.item


def used_state(table: Table) -> tuple[PendingAuthorization, Receipt]:
    """Return an authorization whose state was used, and its receipt."""
    authorization = table.claimed((ONE, 0))
    receipt = authorization.receipt(Outcome.GRANTED, NOW)
    table.store().leave_receipt(receipt)
    assert table.store().delete(authorization.state, ONE)
    return authorization, receipt


@pytest.mark.parametrize(
    ("browser", "settings", "outcome"),
    [
        ("c" * 64, {}, Outcome.OTHER_BROWSER),
        (BROWSER, {"QONTO_ENVIRONMENT": "production"}, Outcome.UNKNOWN),
        (BROWSER, {"CLIENT_ID": "client-2"}, Outcome.UNKNOWN),
    ],
)
@pytest.mark.claim("S2", "S5", "S35", "T11", "T15")
def test_claim_by_stranger_or_of_unknown_state_changes_nothing(
    table: Table, browser: str, settings: dict[str, str], outcome: Outcome
) -> None:
    store, unknown = table.store(**settings), token_urlsafe(32)
    used, receipt = used_state(table)
    unclaimed, claimed = (table.claimed(*claims) for claims in ([], [(ONE, 3599)]))
    states = [unknown, used.state, receipt.state, unclaimed.state, claimed.state]
    before = [table.item(state) for state in states]

    for state in (unknown, used.state):
        assert claim(store, state, browser, ONE, NOW) == (Outcome.UNKNOWN, None)
    for state in (unclaimed.state, claimed.state):
        for seconds in (0, 3600):
            assert claim(store, state, browser, ONE, NOW + seconds) == (outcome, None)

    assert [table.item(state) for state in states] == before


def test_first_receipt_is_returned_for_ten_minutes(table: Table) -> None:
    authorization, receipt = used_state(table)
    store, state = table.store(), authorization.state

    store.leave_receipt(authorization.receipt(Outcome.DENIED, NOW + 5))

    for response in (ONE, OTHER):
        assert claim(store, state, BROWSER, response, NOW + 599) == (CLAIMED, receipt)
    assert claim(store, state, BROWSER, ONE, NOW + 600) == (Outcome.UNKNOWN, None)
    assert table.item(state) is None
    gone = {"redirect_uri", "scope", "started_at", "code_verifier", "response_hash", "claimed_at"}
    kept = {name: each for name, each in authorization.item.items() if name not in gone}
    kept |= {"state": {"S": f"used.{state}"}, "expires_at": {"N": str(NOW + 600)}}
    assert table.item(receipt.state) == kept | {"outcome": {"S": "GRANTED"}}


def test_delete_whose_response_was_lost_succeeds(table: Table) -> None:
    state = table.claimed((ONE, 0)).state
    assert not table.store().delete(state, OTHER)

    with FaultProxy(table.aws.endpoint_url) as proxy:
        proxy.inject("DeleteItem", Fault.LOST, times=1)
        assert table.store(proxy.url).delete(state, ONE)

        assert proxy.attempts["DeleteItem"] == 2
    assert table.item(state) is None
    assert not table.store().delete(state, ONE)  # another callback was first
