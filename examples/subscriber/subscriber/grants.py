"""The events that were received, one item each: its code first, its tokens in the end.

An item's ``state`` is the lock. A second exchange of a code would revoke the tokens of the first,
so only whoever has moved the item from *held* to *exchanging* exchanges its code.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, Key
from pydantic import BaseModel, ConfigDict, Field

from subscriber.messages import Granted

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

DAY = 24 * 60 * 60


class State(StrEnum):
    """How far a grant has come."""

    HELD = "held"
    EXCHANGING = "exchanging"
    CONNECTED = "connected"  # the tokens are in the item
    FAILED = "failed"  # Qonto refused; the item has the reason
    LOST = "lost"  # the request left, and no answer to it was kept


class Grant(BaseModel):
    """What a person granted: an item of the table, without its tokens."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    authorization_id: str
    event_id: str
    state: State
    client_id: str
    redirect_uri: str
    context: str | None = None
    code: str = Field(default="", repr=False)  # gone from the item once the exchange has ended
    code_verifier: str | None = Field(default=None, repr=False)
    code_expires_at: int  # epoch seconds
    attempted_at: int | None = None  # likewise
    expires_at: int = 0  # likewise; the table's TTL attribute, absent where there are tokens


class ClaimedError(Exception):
    """Somebody else has just begun to exchange this code."""


class Grants:
    """Holds grants, and lets each be exchanged once."""

    def __init__(self, table: "Table") -> None:
        """Take the table."""
        self._table = table
        self._condition_failed = table.meta.client.exceptions.ConditionalCheckFailedException

    def hold(self, event: Granted) -> Grant:
        """Keep the grant of *event* if it is new; return it as it is in the table."""
        expires_at = int(event.data.code_expires_at.timestamp())
        grant = Grant(
            authorization_id=event.subject,
            event_id=event.id,
            state=State.HELD,
            client_id=event.data.client_id,
            redirect_uri=event.data.redirect_uri,
            context=event.data.context,
            code=event.data.code,
            code_verifier=event.data.code_verifier,
            code_expires_at=expires_at,
            expires_at=expires_at + DAY,  # outlives every redelivery of a code that still is good
        )
        try:
            self._table.put_item(
                Item=grant.model_dump(exclude_none=True),
                ConditionExpression=Attr("event_id").not_exists(),
            )
        except self._condition_failed:
            return Grant.model_validate(
                self._table.get_item(Key=_key(grant), ConsistentRead=True)["Item"]
            )
        return grant

    def of(self, authorization_id: str) -> list[Grant]:
        """Return all grants of an authorization; another answer of Qonto's has one of its own."""
        found = self._table.query(
            KeyConditionExpression=Key("authorization_id").eq(authorization_id),
            ConsistentRead=True,  # who writes first and reads then misses nothing
        )
        return [Grant.model_validate(item) for item in found["Items"]]

    def claim(self, grant: Grant, now: int) -> None:
        """Put on record that the exchange begins.

        Raises:
            ClaimedError: it has begun already.

        """
        try:
            self._update(
                grant,
                "SET #state = :exchanging, attempted_at = :now",
                {":exchanging": State.EXCHANGING, ":now": now},
                Attr("state").eq(State.HELD),
            )
        except self._condition_failed as error:
            raise ClaimedError from error

    def release(self, grant: Grant) -> None:
        """Take the claim back: for a request that certainly never left, and for no other."""
        self._update(
            grant,
            "SET #state = :held REMOVE attempted_at",
            {":held": State.HELD},
            Attr("state").eq(State.EXCHANGING),
        )

    def connect(self, grant: Grant, tokens: dict[str, Any]) -> None:
        """Keep the tokens in the place of the code, for good."""
        self._update(
            grant,
            "SET #state = :connected, tokens = :tokens REMOVE code, code_verifier, expires_at",
            {":connected": State.CONNECTED, ":tokens": tokens},
        )

    def fail(self, grant: Grant, reason: str) -> None:
        """Put on record that Qonto refused."""
        self._update(
            grant,
            "SET #state = :failed, reason = :reason REMOVE code, code_verifier",
            {":failed": State.FAILED, ":reason": reason},
        )

    def lose(self, grant: Grant, reason: str) -> None:
        """Put on record that nobody knows what Qonto answered."""
        self._update(
            grant,
            "SET #state = :lost, reason = :reason REMOVE code, code_verifier",
            {":lost": State.LOST, ":reason": reason},
            Attr("state").eq(State.EXCHANGING),  # never over tokens
        )

    def _update(
        self,
        grant: Grant,
        expression: str,
        values: dict[str, Any],
        condition: Any = Attr("event_id").exists(),  # noqa: ANN401, B008 - boto3's conditions
    ) -> None:
        self._table.update_item(
            Key=_key(grant),
            UpdateExpression=expression,
            ExpressionAttributeNames={"#state": "state"},  # a reserved word
            ExpressionAttributeValues=values,
            ConditionExpression=condition,
        )


def _key(grant: Grant) -> dict[str, Any]:
    return {"authorization_id": grant.authorization_id, "event_id": grant.event_id}
