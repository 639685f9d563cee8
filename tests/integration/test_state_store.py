"""The state store against two emulators of DynamoDB: ministack, and moto's server.

Neither is DynamoDB, so no claim rests on one of them alone. moto shows semantics and no races: it
evaluates a condition and writes in two steps without a lock.

The state store gets the same result from both. They differ in what it does not read:
- An error's ``__type`` is the bare name in ministack. In moto it has the prefix of AWS,
  ``com.amazonaws.dynamodb.v20120810#``, which botocore removes.
- moto sends errors as ``application/json``, ministack as ``application/x-amz-json-1.0``.
- moto returns ``ConsumedCapacity`` for each update, although the request does not ask for it.
- moto closes the connection after each response.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from authorization import Item, PendingAuthorization, Receipt
from aws import CALL_CONFIG, guarded
from callback import authorization_response
from demo import template as infra
from demo.child import Child
from demo.local_aws import LocalAws, free_port
from http_api import InvalidQueryError
from outcomes import Outcome
from settings import Settings
from state_store import ResponseInFlightError, StateRefusedError, StateStore
from tests.integration.faults import Fault, FaultProxy
from tests.unit.flow import STARTED_AT as NOW
from tests.unit.flow import pending

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RESPONSE, OTHER_RESPONSE = "1" * 64, "2" * 64


@dataclass(frozen=True)
class Claimant:
    """A browser, by the hash of its cookie, and the owner of the state store that it reaches."""

    browser_hash: str = pending().browser_hash
    environment: str = pending().environment
    client_id: str = pending().client_id


OWN = Claimant()
# Claimants that differ from that of the authorizations, and what each is told of a state.
STRANGERS = {
    Claimant(browser_hash="c" * 64): Outcome.OTHER_BROWSER,
    Claimant(environment="production"): Outcome.UNKNOWN,
    Claimant(client_id="client-2"): Outcome.UNKNOWN,
}
NAMES = ["browser", "environment", "client"]


class Table:
    """The table of infra/template.yaml in one of the emulators, without TTL."""

    def __init__(self, aws: LocalAws) -> None:
        """Create the table in *aws*."""
        self._aws = aws
        self.name = f"states-{uuid4()}"
        properties = infra.load()["Resources"]["StateTable"]["Properties"]
        schema = ("AttributeDefinitions", "BillingMode", "KeySchema")
        self.client.create_table(TableName=self.name, **{each: properties[each] for each in schema})

    @cached_property
    def client(self) -> "DynamoDBClient":
        """The client as both functions build it."""
        return self.new_client(self._aws.endpoint_url)

    def new_client(self, endpoint_url: str) -> "DynamoDBClient":
        """Return a client of *endpoint_url*, as both functions build it."""
        session = self._aws.session
        return guarded(
            session.client("dynamodb", endpoint_url=endpoint_url, config=CALL_CONFIG),
        )

    def store(self, claimant: Claimant = OWN, client: "DynamoDBClient | None" = None) -> StateStore:
        """Return the state store that *claimant* reaches."""
        variables = {
            "QONTO_ENVIRONMENT": claimant.environment,
            "CLIENT_ID": claimant.client_id,
            "TABLE_NAME": self.name,
        }
        return StateStore(client or self.client, Settings.model_validate(variables))

    def item(self, key: str) -> Item | None:
        """Return the item with *key*; None if it is not there."""
        response = self.client.get_item(
            TableName=self.name, Key={"state": {"S": key}}, ConsistentRead=True
        )
        return dict(response["Item"]) if "Item" in response else None

    def issued(self, **changes: object) -> PendingAuthorization:
        """Issue an authorization with all its attributes, and return it."""
        every = {
            "context": "ctx.1",
            "return_to": "https://app.example.com/connected",
            "organization_id": "org-1",
            "registration_id": "reg-1",
            "code_verifier": token_urlsafe(32),
        }
        authorization = pending(state=token_urlsafe(32), **every | changes)
        self.store().issue(authorization)
        return authorization

    def claim(
        self,
        authorization: PendingAuthorization,
        response: str = RESPONSE,
        at: int = NOW,
        claimant: Claimant = OWN,
    ) -> PendingAuthorization | Receipt:
        """Claim the state of *authorization* for *response*."""
        store = self.store(claimant)
        return store.claim(authorization.state, claimant.browser_hash, response, at)

    def refused(
        self,
        authorization: PendingAuthorization,
        response: str = RESPONSE,
        at: int = NOW,
        claimant: Claimant = OWN,
    ) -> tuple[Outcome, PendingAuthorization | None]:
        """Claim the state of *authorization* in vain; return what the refusal says."""
        with pytest.raises(StateRefusedError) as refused:
            self.claim(authorization, response, at, claimant)
        return refused.value.outcome, refused.value.authorization

    def used(self) -> tuple[PendingAuthorization, Receipt]:
        """Return an authorization whose state was used, and its receipt."""
        authorization, store = self.issued(), self.store()
        self.claim(authorization)
        receipt = authorization.receipt(Outcome.GRANTED, NOW)
        store.leave_receipt(receipt)
        assert store.delete(authorization.state, RESPONSE)
        return authorization, receipt

    @contextmanager
    def losing(self, operation: str) -> Iterator["DynamoDBClient"]:
        """Yield a client that loses the response to its first *operation*."""
        url = self._aws.endpoint_url
        with FaultProxy(url, url) as proxy:  # this fault needs no microburst
            proxy.inject(operation, Fault.LOST, times=1)
            yield self.new_client(proxy.dynamodb.url)
            assert proxy.attempts(operation) == 1

    def update(self, key: str, condition: str, **values: str) -> dict[str, Any]:
        """Set ``seen``, return the old item, and let *condition* compare with numeric *values*.

        Raises:
            ConditionalCheckFailedException: the condition failed.

        """
        return dict[str, Any](
            self.client.update_item(
                TableName=self.name,
                Key={"state": {"S": key}},
                UpdateExpression="SET seen = :seen",
                ConditionExpression=condition,
                ExpressionAttributeValues={":seen": {"N": "1"}}
                | {f":{name}": {"N": value} for name, value in values.items()},
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )

    def failed_update(self, key: str, condition: str, **values: str) -> dict[str, Any]:
        """Return the error of an update whose *condition* fails."""
        with pytest.raises(self.client.exceptions.ConditionalCheckFailedException) as failed:
            self.update(key, condition, **values)
        return dict[str, Any](failed.value.response)


@contextmanager
def moto() -> Iterator[LocalAws]:
    """Run moto's server on a free port inside the block.

    It serves DynamoDB alone, because other services of moto can start containers for any client
    that reaches the port, and no page of another origin can read its responses.
    """
    port = free_port()
    application = "moto.moto_server.werkzeug_app:create_backend_app('dynamodb')"
    with Child(
        "moto",
        port,
        *("flask", "--app", application, "run", "--no-debugger", "--no-reload"),
        *("--host", "127.0.0.1", "--port", str(port)),
        environment={"PATH": os.environ["PATH"], "MOTO_DISABLE_GLOBAL_CORS": "1"},
        quiet=True,
        seconds_to_stop=0,
    ) as child:
        child.wait_until_ready()
        yield LocalAws(f"http://127.0.0.1:{port}", "local")


@pytest.fixture(scope="module", params=["ministack", "moto"])
def table(request: pytest.FixtureRequest, aws: LocalAws) -> Iterator[Table]:
    """The table, in each of the emulators."""
    if request.param == "ministack":
        yield Table(aws)
        return
    with moto() as other:
        yield Table(other)


@pytest.fixture
def calls(table: Table) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The calls of the client of *table* from now on: operation and parameters."""
    made: list[tuple[str, dict[str, Any]]] = []

    def record(model: Any, params: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        made.append((model.name, params))

    table.client.meta.events.register("before-parameter-build.dynamodb", record)
    yield made
    table.client.meta.events.unregister("before-parameter-build.dynamodb", record)


def claimed(item: Item, response: str, at: int) -> Item:
    """Return *item* as it is when *response* has claimed it."""
    return item | {"response_hash": {"S": response}, "claimed_at": {"N": str(at)}}


# The state


def test_issue_stores_the_whole_authorization(table: Table) -> None:
    authorization = table.issued()

    assert table.item(authorization.state) == authorization.item


def test_first_claim_returns_authorization_as_issued(table: Table) -> None:
    authorization = table.issued()

    assert table.claim(authorization) == authorization
    assert table.item(authorization.state) == claimed(authorization.item, RESPONSE, NOW)


def test_repeated_claim_returns_its_response_hash(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)

    repeated = table.claim(authorization, at=NOW + 1)

    earlier = {"response_hash": RESPONSE, "claimed_at": NOW}
    assert repeated == authorization.model_copy(update=earlier)


@pytest.mark.parametrize("seconds", [0, 1, 60])
def test_other_response_waits_for_60_seconds(table: Table, seconds: int) -> None:
    authorization = table.issued()
    table.claim(authorization)

    with pytest.raises(ResponseInFlightError) as refused:
        table.claim(authorization, OTHER_RESPONSE, NOW + seconds)

    assert refused.value.reference == authorization.reference
    assert table.item(authorization.state) == claimed(authorization.item, RESPONSE, NOW)


def test_other_response_claims_after_60_seconds(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)

    earlier = table.claim(authorization, OTHER_RESPONSE, NOW + 61)

    assert isinstance(earlier, PendingAuthorization)
    assert earlier.response_hash == RESPONSE
    item = table.item(authorization.state)
    assert item == claimed(authorization.item, OTHER_RESPONSE, NOW + 61)


def test_repeated_claim_restarts_the_wait(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)
    table.claim(authorization, at=NOW + 60)

    with pytest.raises(ResponseInFlightError):
        table.claim(authorization, OTHER_RESPONSE, NOW + 120)


def test_replaced_response_waits_in_its_turn(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)
    table.claim(authorization, OTHER_RESPONSE, NOW + 61)

    with pytest.raises(ResponseInFlightError):
        table.claim(authorization, RESPONSE, NOW + 62)


@pytest.mark.parametrize(("stranger", "outcome"), STRANGERS.items(), ids=NAMES)
def test_claim_by_stranger_changes_nothing(
    table: Table, stranger: Claimant, outcome: Outcome
) -> None:
    authorization = table.issued()

    assert table.refused(authorization, claimant=stranger) == (outcome, None)
    assert table.item(authorization.state) == authorization.item


@pytest.mark.parametrize(("stranger", "outcome"), STRANGERS.items(), ids=NAMES)
def test_stranger_cannot_repeat_an_expired_claim(
    table: Table, stranger: Claimant, outcome: Outcome
) -> None:
    authorization = table.issued(expires_at=NOW + 1)
    table.claim(authorization)

    refused = table.refused(authorization, at=NOW + 1, claimant=stranger)

    assert refused == (outcome, None)
    assert table.item(authorization.state) == claimed(authorization.item, RESPONSE, NOW)


def test_state_is_valid_in_its_last_second(table: Table) -> None:
    authorization = table.issued(expires_at=NOW + 3600)

    assert table.claim(authorization, at=NOW + 3599) == authorization


def test_state_expires_at_the_boundary_second(table: Table) -> None:
    authorization = table.issued(expires_at=NOW + 3600)

    assert table.refused(authorization, at=NOW + 3600) == (Outcome.EXPIRED, authorization)
    assert table.item(authorization.state) == authorization.item


def test_earlier_callback_does_not_set_the_claim_back(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization, at=NOW + 30)

    earlier = table.claim(authorization, at=NOW)

    assert isinstance(earlier, PendingAuthorization)
    assert earlier.response_hash == RESPONSE
    assert table.item(authorization.state) == claimed(authorization.item, RESPONSE, NOW + 30)


def test_expired_state_can_be_claimed_again(table: Table) -> None:
    authorization = table.issued(expires_at=NOW + 1)
    table.claim(authorization)

    again = table.claim(authorization, at=NOW + 599)

    assert isinstance(again, PendingAuthorization)
    assert again.response_hash == RESPONSE


def test_expired_claim_ends_after_ten_minutes(table: Table) -> None:
    authorization = table.issued(expires_at=NOW + 1)
    table.claim(authorization)

    outcome, _ = table.refused(authorization, at=NOW + 600)

    assert outcome is Outcome.EXPIRED
    assert table.item(authorization.state) == claimed(authorization.item, RESPONSE, NOW)


@pytest.mark.parametrize("seconds", [1, 61])
def test_expired_state_refuses_another_response(table: Table, seconds: int) -> None:
    authorization = table.issued(expires_at=NOW + 1)
    table.claim(authorization)

    outcome, _ = table.refused(authorization, OTHER_RESPONSE, NOW + seconds)

    assert outcome is Outcome.EXPIRED
    assert table.item(authorization.state) == claimed(authorization.item, RESPONSE, NOW)


def test_refusal_knows_authorization_by_one_call(
    table: Table, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    authorization = table.issued(expires_at=NOW)
    calls.clear()

    assert table.refused(authorization) == (Outcome.EXPIRED, authorization)
    [(operation, _)] = calls
    assert operation == "UpdateItem"


def test_unknown_state_is_not_created(table: Table) -> None:
    authorization = pending(state=token_urlsafe(32))

    assert table.refused(authorization) == (Outcome.UNKNOWN, None)
    assert table.item(authorization.state) is None


# The receipt


def test_receipt_holds_neither_code_nor_verifier(table: Table) -> None:
    authorization, receipt = table.used()

    item = table.item(receipt.state)

    gone = {"redirect_uri", "scope", "started_at", "code_verifier"}
    kept = {name: each for name, each in authorization.item.items() if name not in gone}
    assert item == kept | {
        "state": {"S": f"used.{authorization.state}"},
        "expires_at": {"N": str(NOW + 600)},
        "outcome": {"S": "GRANTED"},
    }


def test_second_receipt_keeps_the_first(table: Table) -> None:
    authorization, first = table.used()

    table.store().leave_receipt(authorization.receipt(Outcome.DENIED, NOW + 5))

    assert table.item(first.state) == first.item


@pytest.mark.parametrize("response", [RESPONSE, OTHER_RESPONSE])
def test_claim_of_used_state_returns_receipt(
    table: Table, calls: list[tuple[str, dict[str, Any]]], response: str
) -> None:
    authorization, receipt = table.used()
    calls.clear()

    found = table.claim(authorization, response, NOW + 599)

    [_, (operation, parameters)] = calls
    assert (operation, parameters["ConsistentRead"]) == ("GetItem", True)
    assert isinstance(found, Receipt)
    assert found == receipt
    assert table.item(authorization.state) is None


def test_receipt_expires_after_ten_minutes(table: Table) -> None:
    authorization, _ = table.used()

    assert table.refused(authorization, at=NOW + 600) == (Outcome.UNKNOWN, None)


@pytest.mark.parametrize("stranger", STRANGERS, ids=NAMES)
def test_receipt_is_not_shown_to_strangers(table: Table, stranger: Claimant) -> None:
    authorization, _ = table.used()

    assert table.refused(authorization, claimant=stranger) == (Outcome.UNKNOWN, None)


def test_key_of_receipt_is_no_state() -> None:
    key = Receipt.key(token_urlsafe(32))

    for state in (key, key[:43]):  # with the length of a state, too
        with pytest.raises(InvalidQueryError) as refused:
            authorization_response.parse(f"code=c&state={state}")

        assert refused.value.parameters == ("state",)


# The delete


def test_delete_removes_the_claimed_state(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)

    assert table.store().delete(authorization.state, RESPONSE)
    assert table.item(authorization.state) is None


def test_second_delete_returns_false(table: Table) -> None:
    authorization, _ = table.used()

    assert not table.store().delete(authorization.state, RESPONSE)


def test_delete_keeps_state_of_another_response(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)
    table.claim(authorization, OTHER_RESPONSE, NOW + 61)

    assert not table.store().delete(authorization.state, RESPONSE)
    item = table.item(authorization.state)
    assert item == claimed(authorization.item, OTHER_RESPONSE, NOW + 61)


def test_delete_keeps_a_state_without_claim(table: Table) -> None:
    authorization = table.issued()

    assert not table.store().delete(authorization.state, RESPONSE)
    assert table.item(authorization.state) == authorization.item


def test_delete_whose_response_was_lost_succeeds(table: Table) -> None:
    authorization = table.issued()
    table.claim(authorization)

    with table.losing("DeleteItem") as client:
        assert table.store(client=client).delete(authorization.state, RESPONSE)

    assert table.item(authorization.state) is None


# What the state store relies on, asked of each emulator directly


@pytest.fixture
def numbers(table: Table) -> dict[str, Any]:
    """An item with the number ``one``."""
    item = {"state": {"S": token_urlsafe(32)}, "one": {"N": "1"}}
    table.client.put_item(TableName=table.name, Item=item)
    return item


def test_update_returns_the_item_before_it(table: Table, numbers: dict[str, Any]) -> None:
    response = table.update(numbers["state"]["S"], "one = :one", one="1")

    assert response["Attributes"] == numbers
    assert response["ResponseMetadata"]["RetryAttempts"] == 0


def test_failed_update_returns_the_item(table: Table, numbers: dict[str, Any]) -> None:
    error = table.failed_update(numbers["state"]["S"], "one = :two", two="2")

    assert error["Error"]["Code"] == "ConditionalCheckFailedException"
    assert error["Item"] == numbers
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert error["ResponseMetadata"]["RetryAttempts"] == 0


def test_failed_update_of_no_item_returns_none(table: Table) -> None:
    key = token_urlsafe(32)

    error = table.failed_update(key, "one = :one", one="1")

    assert error["Error"]["Code"] == "ConditionalCheckFailedException"
    assert "Item" not in error
    assert table.item(key) is None


def test_failed_condition_of_retry_counts_attempts(table: Table, numbers: dict[str, Any]) -> None:
    with (
        table.losing("DeleteItem") as client,
        pytest.raises(client.exceptions.ConditionalCheckFailedException) as failed,
    ):
        client.delete_item(
            TableName=table.name,
            Key={"state": numbers["state"]},
            ConditionExpression="attribute_exists(one)",
        )

    assert failed.value.response["ResponseMetadata"]["RetryAttempts"] == 1


@pytest.mark.parametrize("comparison", ["=", "<", ">"])
def test_absent_attribute_satisfies_no_comparison(
    table: Table, numbers: dict[str, Any], comparison: str
) -> None:
    error = table.failed_update(numbers["state"]["S"], f"absent {comparison} :one", one="1")

    assert error["Item"] == numbers


def test_numbers_are_compared_by_value(table: Table, numbers: dict[str, Any]) -> None:
    assert table.update(numbers["state"]["S"], "one < :ten AND one > :minus", ten="10", minus="-2")


def test_and_binds_closer_than_or(table: Table, numbers: dict[str, Any]) -> None:
    """The documentation of DynamoDB has the same example: "Precedence in conditions".

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
    """
    key = numbers["state"]["S"]
    true, false = "one = :one", "one = :two"

    assert table.update(key, f"{true} OR {true} AND {false}", one="1", two="2")
    assert table.failed_update(key, f"({true} OR {true}) AND {false}", one="1", two="2")
