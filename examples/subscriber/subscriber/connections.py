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
        """Store *repudiation* in the place of what is there: no later confirmation counts."""
        key = repudiation.model_dump(exclude={"repudiated"})
        self._table.put_item(Item={**key, "status": Status.REPUDIATED, "expires_at": now + DAY})

    def status(self, grant: Grant) -> str | None:
        """Return the status of the authorization of *grant*, None if it was not confirmed."""
        if grant.context is None:
            return None
        item = items.get(self._table, _key(grant))
        return str(item["status"]) if item else None

    def tell(self, grant: Grant, status: str) -> None:
        """Store *status*, unless the app repudiated, or a later grant is connected."""
        values = {"status": status, "event_time": grant.event_time}
        removed = []
        open_ = Attr("status").exists() & Attr("status").ne(Status.REPUDIATED)
        earlier: ConditionBase = Attr("status").ne(Status.CONNECTED)
        if status == Status.CONNECTED:
            earlier |= Attr("event_time").lte(grant.event_time)
            removed = ["expires_at"]
            if grant.organization:
                values["organization"] = grant.organization
            else:
                removed.append("organization")
        items.update(self._table, _key(grant), open_ & earlier, values, removed)


def _key(grant: Grant) -> dict[str, str]:
    return {"authorization_id": grant.authorization_id, "context": grant.context or ""}
