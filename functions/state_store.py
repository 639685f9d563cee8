"""The states of the connector, each an item in DynamoDB, and the receipts of those that were used.

Start issues a state. Callback claims it for one response, and after the event is published leaves a
receipt and deletes it. Each of these writes has a condition, and each can be repeated: a call whose
response was lost, and a browser that repeats its callback, find what they wrote before.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from authorization import RECEIPT_LIFETIME, Authorization, PendingAuthorization, Receipt, to_item
from aws import AwsCallError
from outcomes import Outcome
from settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# In seconds. For this long, a state that one response has claimed cannot be claimed for another. A
# callback always ends sooner, so two responses of one state are never published at the same time.
CLAIM_LIFETIME = 60


class StateStoreError(AwsCallError):
    """A call of DynamoDB failed. The call may or may not have been applied."""


class StateRefusedError(Exception):
    """The state cannot be claimed.

    Attributes:
        outcome: the reason.
        authorization: the item, if the state belongs to this browser; else None, so that others
            learn nothing about it.

    """

    def __init__(self, outcome: Outcome, authorization: PendingAuthorization | None = None) -> None:
        """Keep the reason and, only for the state's own browser, the item."""
        self.outcome = outcome
        self.authorization = authorization


class ResponseInFlightError(Exception):
    """Another response of the same browser claimed the state less than a minute ago.

    Attributes:
        reference: names the authorization.

    """

    def __init__(self, reference: str) -> None:
        """Keep the *reference* of the authorization."""
        self.reference = reference


class StateStore:
    """Issues, claims and deletes the states of one environment and one client of Qonto."""

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
        self._call(self._dynamodb.put_item, Item=authorization.item)

    def claim(
        self, state: str, browser_hash: str, response_hash: str, now: int
    ) -> PendingAuthorization | Receipt:
        """Claim *state* for one response, and return the authorization as it was before.

        The same response can claim the state again. Another one can when `CLAIM_LIFETIME` is over.

        Args:
            state: the state, in the form that start issues.
            browser_hash: the SHA-256 of the browser cookie, in hexadecimal.
            response_hash: the SHA-256 of the response's identity, in hexadecimal.
            now: the time of the request, in epoch seconds.

        Returns:
            the authorization; or its `Receipt`, if this browser has used the state.

        Raises:
            StateRefusedError: the state is unknown, used, expired or another browser's.
            ResponseInFlightError: another response claimed the state.
            StateStoreError: the state may or may not be claimed.

        """
        owner = {":environment": self._owner[0], ":client_id": self._owner[1]}
        times = {":now": now, ":free": now - CLAIM_LIFETIME, ":repeatable": now - RECEIPT_LIFETIME}
        hashes = {":browser_hash": browser_hash, ":response_hash": response_hash}
        try:
            response = self._call(
                self._dynamodb.update_item,
                Key=to_item({"state": state}),
                UpdateExpression="SET response_hash = :response_hash, claimed_at = :now",
                # The TTL removes an expired item up to two days late, so the condition decides.
                ConditionExpression="browser_hash = :browser_hash"
                " AND environment = :environment AND client_id = :client_id"
                " AND (attribute_not_exists(response_hash) OR claimed_at < :free"
                " OR (response_hash = :response_hash AND claimed_at <= :now))"
                " AND (expires_at > :now"
                " OR (response_hash = :response_hash AND claimed_at > :repeatable))",
                ExpressionAttributeValues=to_item({**owner, **hashes, **times}),
                ReturnValues="ALL_OLD",
                # With the old values, the reason is known without a second call.
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            item = dict[str, Any](error.response).get("Item")
        else:
            return PendingAuthorization.from_item(response["Attributes"])
        if item is None:
            return self._receipt(state, browser_hash, now)
        authorization = PendingAuthorization.from_item(item)
        if not self._owns(authorization):
            raise StateRefusedError(Outcome.UNKNOWN)
        if authorization.browser_hash != browser_hash:
            raise StateRefusedError(Outcome.OTHER_BROWSER)
        is_same = authorization.response_hash == response_hash
        if is_same and authorization.claimed_at and authorization.claimed_at > now:
            return authorization  # a later callback claimed the state, and its wait must not shrink
        if authorization.expires_at <= now:
            raise StateRefusedError(Outcome.EXPIRED, authorization)
        raise ResponseInFlightError(authorization.reference)

    def _receipt(self, state: str, browser_hash: str, now: int) -> Receipt:
        key = to_item({"state": Receipt.key(state)})
        response = self._call(self._dynamodb.get_item, Key=key, ConsistentRead=True)
        if "Item" in response:
            receipt = Receipt.from_item(response["Item"])
            is_alive = receipt.expires_at > now
            if is_alive and self._owns(receipt) and receipt.browser_hash == browser_hash:
                return receipt
        raise StateRefusedError(Outcome.UNKNOWN)

    def leave_receipt(self, receipt: Receipt) -> None:
        """Put *receipt*, unless a callback with the same state was first.

        Raises:
            StateStoreError: the receipt may or may not be there.

        """
        with suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._call(
                self._dynamodb.put_item,
                Item=receipt.item,
                ConditionExpression="attribute_not_exists(browser_hash)",
            )

    def delete(self, state: str, response_hash: str) -> bool:
        """Delete *state*, if it is still claimed for the response of *response_hash*.

        Returns:
            False if another callback was first; True if this one, or as far as can be known.

        Raises:
            StateStoreError: the state may or may not be deleted.

        """
        try:
            self._call(
                self._dynamodb.delete_item,
                Key=to_item({"state": state}),
                ConditionExpression="response_hash = :response_hash",
                ExpressionAttributeValues=to_item({":response_hash": response_hash}),
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            # If the response to a first attempt was lost, botocore's retry finds no item.
            return bool(error.response["ResponseMetadata"]["RetryAttempts"])
        return True

    def _owns(self, stored: Authorization) -> bool:
        return (stored.environment, stored.client_id) == self._owner

    def _call(self, operation: Callable[..., Any], **request: object) -> dict[str, Any]:
        try:
            response: dict[str, Any] = operation(TableName=self._table_name, **request)
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            raise
        # AWS may return anything, and botocore's parsers may raise anything
        except Exception as error:
            raise StateStoreError(error) from error
        return response
