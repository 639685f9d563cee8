"""An authorization: the query that ``/start`` accepts, and the DynamoDB items of its flow."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from outcomes import Outcome
from settings import QontoEnvironment

# In seconds. Qonto's own sign-in and consent may take 30 minutes.
STATE_LIFETIME = 60 * 60
# In seconds. The code itself lives for ten minutes.
RECEIPT_LIFETIME = 10 * 60

# Attributes as DynamoDB's API has them: {"state": {"S": "..."}, "expires_at": {"N": "..."}, ...}
type Item = dict[str, Any]
QontoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]


class StartQuery(BaseModel, defer_build=True):
    """The query parameters that ``/start`` accepts from an app."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    context: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]+$", max_length=256)] | None = None
    return_to: str | None = None
    organization_id: QontoId | None = None
    registration_id: QontoId | None = None


class Authorization(StartQuery):
    """The fields that the items of one authorization share."""

    state: str = Field(repr=False)  # the key of the table
    expires_at: int  # epoch seconds, the TTL attribute of the table
    browser_hash: str = Field(repr=False)
    authorization_id: UUID
    environment: QontoEnvironment
    client_id: str

    @property
    def reference(self) -> str:
        """The first 8 characters of ``authorization_id``, which a user may quote."""
        return str(self.authorization_id)[:8]

    @property
    def start_query(self) -> str:
        """The query with which ``/start`` begins an authorization like this one again."""
        return urlencode(self.model_dump(include=set(StartQuery.model_fields), exclude_none=True))

    @property
    def item(self) -> Item:
        """The item of this authorization, without the attributes that it does not have."""
        return to_item(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Return the authorization of *item*.

        Raises:
            ValidationError: *item* is not one that the connector wrote.

        """
        values = {name: value for name, typed in item.items() for value in typed.values()}
        return cls.model_validate(values)


class PendingAuthorization(Authorization):
    """An authorization whose response is not yet published, stored under its state."""

    redirect_uri: str
    scope: str
    started_at: datetime
    code_verifier: str | None = Field(default=None, repr=False)
    # The response that claimed the state: the SHA-256 of its identity, and when it arrived.
    response_hash: str | None = None
    claimed_at: int | None = None  # epoch seconds

    def receipt(self, outcome: Outcome, now: int) -> "Receipt":
        """Return the receipt of this authorization, which ended with *outcome* at *now*."""
        kept = self.model_dump(include=set(Authorization.model_fields))
        own = {"state": Receipt.key(self.state), "expires_at": now + RECEIPT_LIFETIME}
        return Receipt(**kept | own, outcome=outcome.name)


class Receipt(Authorization):
    """The record that gives a repeated callback the same response after its state was deleted."""

    outcome: str  # the name of the `Outcome`

    @staticmethod
    def key(state: str) -> str:
        """Return the key of the receipt of *state*. A state cannot equal it: it has a dot."""
        return f"used.{state}"


def to_item(values: Mapping[str, object]) -> Item:
    """Return *values*, strings and integers, as attributes of DynamoDB."""
    return {key: {"N" if isinstance(each, int) else "S": str(each)} for key, each in values.items()}
