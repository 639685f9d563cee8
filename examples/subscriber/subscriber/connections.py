"""What the app may read: how the connection of each confirmed pair stands, and no secret.

The key is the whole pair. Who knows an ``authorization_id`` alone learns nothing with it.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from boto3.dynamodb.conditions import Attr

from subscriber.grants import DAY, Grant, State
from subscriber.messages import Confirmation

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


class Connections:
    """Remembers the confirmed pairs, and says how they stand."""

    def __init__(self, table: "Table") -> None:
        """Take the table."""
        self._table = table
        self._condition_failed = table.meta.client.exceptions.ConditionalCheckFailedException

    def confirm(self, pair: Confirmation, now: int) -> None:
        """Remember *pair*; what has come of it already stays."""
        with suppress(self._condition_failed):
            self._table.put_item(
                Item={**pair.model_dump(), "status": "pending", "expires_at": now + DAY},
                ConditionExpression=Attr("context").not_exists(),
            )

    def is_confirmed(self, grant: Grant) -> bool:
        """Tell whether the app has confirmed the pair of *grant*."""
        if grant.context is None:
            return False
        pair = {"authorization_id": grant.authorization_id, "context": grant.context}
        return "Item" in self._table.get_item(Key=pair, ConsistentRead=True)

    def tell(self, grant: Grant, status: str, organization: str | None) -> None:
        """Let the app know how the pair of *grant* stands; *connected* is the last word."""
        connected = status == State.CONNECTED
        with suppress(self._condition_failed):
            self._table.update_item(
                Key={"authorization_id": grant.authorization_id, "context": grant.context},
                UpdateExpression="SET #status = :status, organization = :organization"
                + (" REMOVE expires_at" if connected else ""),
                ExpressionAttributeNames={"#status": "status"},  # a reserved word
                ExpressionAttributeValues={":status": status, ":organization": organization},
                ConditionExpression=Attr("status").ne(State.CONNECTED),
            )
