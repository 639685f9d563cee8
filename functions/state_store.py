"""The states that were issued and not yet consumed: one DynamoDB item each.

Consuming is one conditional delete, so that of any number of callbacks with one state one wins.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aws_calls import AWS_FAILURES, failure_name
from deployment import Deployment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Qonto's own login and consent may take 30 minutes.
STATE_LIFETIME = 60 * 60

type Reason = Literal["unknown", "other_browser", "expired", "unconfirmed"]


class PendingAuthorization(BaseModel):
    """What start knows of a flow and callback needs: the item, whose key is ``state``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    state: str = Field(repr=False)
    expires_at: int  # epoch seconds, the table's TTL attribute
    browser_hash: str = Field(repr=False)
    authorization_id: UUID
    environment: str
    client_id: str
    redirect_uri: str
    scope: str
    started_at: datetime
    organization_id: str | None = None
    registration_id: str | None = None
    context: str | None = None
    return_to: str | None = None
    code_verifier: str | None = Field(default=None, repr=False)

    @property
    def item(self) -> dict[str, Any]:
        """Its attributes, as DynamoDB types them."""
        attributes = self.model_dump(mode="json", exclude_none=True).items()
        return {name: {"N" if isinstance(it, int) else "S": str(it)} for name, it in attributes}


class StateStoreUnavailableError(Exception):
    """DynamoDB did not do what it was asked, or did not say so."""


class StateRefusedError(Exception):
    """The state was not consumed.

    Attributes:
        reason: why, for the log and the count.
        authorization: the item, if it is this browser's own; else None: others learn nothing.

    """

    def __init__(self, reason: Reason, authorization: PendingAuthorization | None = None) -> None:
        """Take the reason and, where it is the browser's own, the item."""
        super().__init__(reason)
        self.reason = reason
        self.authorization = authorization


class StateStore:
    """Issues, consumes and restores the states of one environment and one client."""

    def __init__(self, dynamodb: "DynamoDBClient", deployment: Deployment) -> None:
        """Take a client, and whose table and states these are."""
        self._dynamodb = dynamodb
        self._table_name = deployment.table_name
        self._owner = (deployment.qonto_environment, deployment.client_id)

    def issue(self, authorization: PendingAuthorization) -> None:
        """Write *authorization*.

        Without a condition: its key is random, and the client's own retry of a put that was taken
        must not fail on itself.

        Raises:
            StateStoreUnavailableError: it may or may not be there; nobody knows its state.

        """
        try:
            self._dynamodb.put_item(TableName=self._table_name, Item=authorization.item)
        except AWS_FAILURES as error:
            raise StateStoreUnavailableError(failure_name(error)) from error

    # An item that is already there was put by an attempt whose answer was lost: as good as done.
    restore = issue

    def consume(self, state: str, browser_hash: str, now: int) -> PendingAuthorization:
        """Delete the item of *state* and return it, if it is *browser_hash*'s and alive at *now*.

        Raises:
            StateRefusedError: it is not there, or not this browser's, or has expired.
            StateStoreUnavailableError: DynamoDB refused the call, or answered neither attempt.

        """
        try:
            answer = self._dynamodb.delete_item(
                TableName=self._table_name,
                Key={"state": {"S": state}},
                # The TTL removes an expired item up to two days late: the condition decides.
                ConditionExpression="browser_hash = :browser_hash AND expires_at > :now"
                " AND environment = :environment AND client_id = :client_id",
                ExpressionAttributeValues={
                    ":browser_hash": {"S": browser_hash},
                    ":now": {"N": str(now)},
                    ":environment": {"S": self._owner[0]},
                    ":client_id": {"S": self._owner[1]},
                },
                ReturnValues="ALL_OLD",
                # The reason without a second read.
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            raise self._refusal(dict(error.response), browser_hash) from error
        except AWS_FAILURES as error:
            raise StateStoreUnavailableError(failure_name(error)) from error
        return _authorization(answer.get("Attributes", {}))

    def _refusal(self, response: dict[str, Any], browser_hash: str) -> StateRefusedError:
        if "Item" not in response:
            # A first attempt that was taken, its answer lost, makes the second find nothing.
            retried = response["ResponseMetadata"]["RetryAttempts"] > 0
            return StateRefusedError("unconfirmed" if retried else "unknown")
        authorization = _authorization(response["Item"])
        if (authorization.environment, authorization.client_id) != self._owner:
            return StateRefusedError("unknown")
        if authorization.browser_hash != browser_hash:
            return StateRefusedError("other_browser")
        return StateRefusedError("expired", authorization)


def _authorization(item: dict[str, Any]) -> PendingAuthorization:
    try:
        return PendingAuthorization.model_validate(
            {name: value for name, typed in item.items() for value in typed.values()}
        )
    except ValidationError:  # an answer that was damaged on its way
        raise StateRefusedError("unconfirmed") from None
