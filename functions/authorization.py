"""A pending authorization: what ``/start`` was asked, and the DynamoDB item that it becomes."""

from datetime import datetime
from typing import Annotated, Any, Self
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from settings import Environment

# In seconds. Qonto's own sign-in and consent may take 30 minutes.
STATE_LIFETIME = 60 * 60

type Item = dict[str, Any]  # an item as DynamoDB's API has it: {"state": {"S": "..."}, ...}
QontoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]


class StartQuery(BaseModel, defer_build=True):
    """The query parameters that ``/start`` accepts from an app."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    context: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]+$", max_length=256)] | None = None
    return_to: str | None = None
    organization_id: QontoId | None = None
    registration_id: QontoId | None = None


class PendingAuthorization(StartQuery):
    """An authorization that start began. The table holds it under its state, as one item."""

    state: str = Field(repr=False)
    expires_at: int  # epoch seconds, the TTL attribute of the table
    browser_hash: str = Field(repr=False)
    authorization_id: UUID
    environment: Environment
    client_id: str
    redirect_uri: str
    scope: str
    started_at: datetime
    code_verifier: str | None = Field(default=None, repr=False)

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
        given = self.model_dump(mode="json", exclude_none=True).items()
        return {name: {"N" if isinstance(value, int) else "S": str(value)} for name, value in given}

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Return the authorization of *item*.

        Raises:
            ValidationError: *item* is not one that start wrote.

        """
        values = {name: value for name, typed in item.items() for value in typed.values()}
        return cls.model_validate(values)
