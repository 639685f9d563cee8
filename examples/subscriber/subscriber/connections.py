"""What the app may read: the status of each authorization that it confirmed, and no secret.

The key is both halves of a confirmation. An ``authorization_id`` alone reads nothing.
"""

from typing import TYPE_CHECKING

from boto3.dynamodb.conditions import Attr, ConditionBase

from subscriber import items
from subscriber.grants import DAY, Grant, Status
from subscriber.messages import Confirmation, Repudiation

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


class Connections:
    """Stores which authorizations the app confirmed or repudiated, and their status."""

    def __init__(self, table: "Table") -> None:
        """Use *table*."""
        self._table = table

    def confirm(self, confirmation: Confirmation, now: int) -> None:
        """Store *confirmation*, unless there is a status already."""
        item = {**confirmation.model_dump(), "status": "pending", "expires_at": now + DAY}
        items.put(self._table, item, Attr("context").not_exists())

    def repudiate(self, repudiation: Repudiation, now: int) -> None:
        """Store *repudiation* in place of the item: no later confirmation counts."""
        key = repudiation.model_dump(exclude={"repudiated"})
        self._table.put_item(Item={**key, "status": Status.REPUDIATED, "expires_at": now + DAY})

    def status(self, grant: Grant) -> str | None:
        """Return the status of the authorization of *grant*, None if it was not confirmed."""
        if grant.context is None:
            return None
        item = items.get(self._table, _key(grant))
        return str(item["status"]) if item else None

    def tell(self, grant: Grant, status: str) -> None:
        """Store *status*, unless the stored status is a later one.

        Nothing replaces a repudiation or a disconnection. Only its end replaces a connection, and
        only a connection of a later grant replaces that end.
        """
        values = {"status": status, "event_time": grant.event_time}
        removed = []
        is_open = ~Attr("status").is_in([Status.REPUDIATED, Status.DISCONNECTED])
        is_earlier: ConditionBase = ~Attr("status").is_in([Status.CONNECTED, Status.ENDED])
        time = Attr("event_time")
        if status == Status.CONNECTED:
            is_same = Attr("status").eq(Status.CONNECTED) & time.eq(grant.event_time)
            is_earlier |= time.lt(grant.event_time) | is_same
            removed = ["expires_at"]
            if grant.organization:
                values["organization"] = grant.organization
            else:
                removed.append("organization")
        elif status == Status.ENDED:
            is_earlier |= time.lte(grant.event_time)
            removed = ["expires_at"]
        elif status == Status.DISCONNECTED:
            is_earlier = is_open
        condition = Attr("status").exists() & is_open & is_earlier
        items.update(self._table, _key(grant), condition, values, removed)


def _key(grant: Grant) -> dict[str, str]:
    return {"authorization_id": grant.authorization_id, "context": grant.context or ""}
