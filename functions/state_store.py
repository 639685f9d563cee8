"""The states that start issued and callback has not consumed, each an item in DynamoDB.

To consume a state is one conditional delete: of any number of callbacks with one state, one
succeeds.
"""

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from authorization import Item, PendingAuthorization
from aws import AwsCallError
from outcomes import Outcome
from settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import DeleteItemInputTypeDef


class StateStoreError(AwsCallError):
    """A call of DynamoDB failed. The call may or may not have been applied."""


class StateRefusedError(Exception):
    """The state was not consumed.

    Attributes:
        outcome: the reason.
        authorization: the item, if the state belongs to this browser; else None, so that others
            learn nothing about it.

    """

    def __init__(self, outcome: Outcome, authorization: PendingAuthorization | None = None) -> None:
        """Keep the reason and, only for the state's own browser, the item."""
        self.outcome = outcome
        self.authorization = authorization


class StateStore:
    """Issues, consumes and restores the states of one environment and one client of Qonto."""

    def __init__(self, dynamodb: "DynamoDBClient", settings: Settings) -> None:
        """Use *dynamodb* with the table, environment and client of *settings*."""
        self._dynamodb = dynamodb
        self._table_name = settings.table_name
        self._owner = (settings.qonto_environment, settings.client_id)

    def issue(self, authorization: PendingAuthorization) -> None:
        """Put the item of *authorization*.

        The put has no condition. The key is random, and if the response to a first attempt is lost,
        botocore's retry must not fail on the item that this attempt wrote.

        Raises:
            StateStoreError: the item may or may not be there.

        """
        item = authorization.item
        try:
            self._dynamodb.put_item(TableName=self._table_name, Item=item)
        except Exception as error:  # AWS may send anything, and botocore's parsers raise anything
            raise StateStoreError(error) from error

    # An item that is already there is the same one: a first attempt wrote it.
    restore = issue

    def consume(self, state: str, browser_hash: str, now: int) -> PendingAuthorization:
        """Delete the item of *state* and return its authorization.

        Args:
            state: the state, in the form that start issues.
            browser_hash: the SHA-256 of the browser cookie, in hexadecimal.
            now: the time of the request, in epoch seconds.

        Raises:
            StateRefusedError: the item is missing, expired or another browser's.
            StateStoreError: the item may or may not be there.

        """
        request: DeleteItemInputTypeDef = {
            "TableName": self._table_name,
            "Key": {"state": {"S": state}},
            # The TTL removes an expired item up to two days late, so the condition decides.
            "ConditionExpression": "browser_hash = :browser_hash AND expires_at > :now"
            " AND environment = :environment AND client_id = :client_id",
            "ExpressionAttributeValues": {
                ":browser_hash": {"S": browser_hash},
                ":now": {"N": str(now)},
                ":environment": {"S": self._owner[0]},
                ":client_id": {"S": self._owner[1]},
            },
            "ReturnValues": "ALL_OLD",
            # With the old values, the reason is known without a second call.
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            response = self._dynamodb.delete_item(**request)
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            raise self._refusal(dict(error.response), browser_hash) from error
        except Exception as error:  # AWS may send anything, and botocore's parsers raise anything
            raise StateStoreError(error) from error
        return _authorization(response.get("Attributes", {}))

    def _refusal(self, error_response: dict[str, Any], browser_hash: str) -> StateRefusedError:
        if "Item" not in error_response:
            # If the response to a first attempt was lost, botocore's retry finds no item.
            retried = error_response["ResponseMetadata"]["RetryAttempts"] > 0
            return StateRefusedError(Outcome.UNCONFIRMED if retried else Outcome.UNKNOWN)
        authorization = _authorization(error_response["Item"])
        if (authorization.environment, authorization.client_id) != self._owner:
            return StateRefusedError(Outcome.UNKNOWN)
        if authorization.browser_hash != browser_hash:
            return StateRefusedError(Outcome.OTHER_BROWSER)
        return StateRefusedError(Outcome.EXPIRED, authorization)


def _authorization(item: Item) -> PendingAuthorization:
    try:
        return PendingAuthorization.from_item(item)
    except ValidationError:  # the AWS response was damaged on its way
        raise StateRefusedError(Outcome.UNCONFIRMED) from None
