"""The events that were received, one item each: first its code, then its tokens.

At the second use of a code, Qonto revokes the tokens of the first. So two locks protect
each exchange, both acquired by conditional writes:

- on the code (the SHA-256 of its signature): the same code in another event, of another
  authorization too, is refused;
- on the event: only the owner of its claim exchanges the code, and only the owner ends the claim.

A refresh has a claim as well, because each one makes the access token before it useless. It may be
repeated: Qonto takes a refresh token again for 60 seconds after its first use. So a claim is free
when its owner can no longer run, and the next owner repeats the refresh.

A conditional write whose response was lost is repeated by the AWS client and then finds its own
work: the item with this owner. That is a success.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr, ConditionBase, Key
from pydantic import BaseModel, ConfigDict, Field

from subscriber import items
from subscriber.messages import Granted
from subscriber.tokens import LIFETIME, Tokens

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

DAY = 24 * 60 * 60  # seconds
LONGEST_RUN = 30  # seconds, the timeout of both functions: an older claim of a code has no owner
REFRESHING = 22  # seconds: an older claim of a connection has no request under way


class Status(StrEnum):
    """How far a grant has come."""

    HELD = "held"
    EXCHANGING = "exchanging"
    CONNECTED = "connected"  # the tokens are in the item
    SUPERSEDED = "superseded"  # a later code of the same authorization is connected
    FAILED = "failed"  # not exchanged, or refused by Qonto; the item has the reason
    LOST = "lost"  # the request was sent, and its result is unknown
    REPUDIATED = "repudiated"  # by the app: another browser than the one that asked came back
    DISCONNECTING = "disconnecting"  # by the app; the tokens are needed to tell Qonto
    DISCONNECTED = "disconnected"  # by the app
    ENDED = "ended"  # Qonto no longer refreshes it: the user must connect again


# The statuses of grants that were connected.
CONNECTIONS = {Status.CONNECTED, Status.DISCONNECTING, Status.DISCONNECTED, Status.ENDED}


class Grant(BaseModel):
    """An event of the table, without its tokens. Times are epoch seconds."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    authorization_id: str
    event_id: str
    event_time: int
    status: Status
    source: str = ""  # of the event; it names Qonto's environment and client
    client_id: str
    redirect_uri: str
    requested_scope: str
    granted_scope: str | None = None
    context: str | None = None
    code: str = Field(default="", repr=False)  # removed once the exchange has ended
    code_verifier: str | None = Field(default=None, repr=False)
    code_expires_at: int
    owner: str | None = None  # of the claim: a random name for each attempt
    claimed_at: int | None = None
    organization: str | None = None
    expires_at: int = 0  # the table's TTL attribute, absent where there are tokens

    @property
    def order(self) -> tuple[int, str]:
        """Its place among the events of one authorization."""
        return self.event_time, self.event_id

    @property
    def log_fields(self) -> dict[str, str]:
        """The log fields that name it; a whole `authorization_id` is not logged."""
        return {"reference": self.authorization_id[:8], "event_id": self.event_id}


class Connection(Grant):
    """A grant that was connected; it has tokens unless it has ended. Times are epoch seconds."""

    tokens: Tokens | None = None
    issued_at: int = 0  # before Qonto was asked for these tokens
    refreshes: int = 0  # since the connection was made
    refresh: Mapping[str, Any] | None = None  # unfinished: `owner` and `claimed_at`
    is_revoked: bool | None = None  # at Qonto, once it is disconnected

    @property
    def is_open(self) -> bool:
        """Whether the app may use the connection."""
        return self.status is Status.CONNECTED

    def is_claimed(self, now: int) -> bool:
        """Tell whether another function may be refreshing the tokens."""
        return self.refresh_claimed_at >= now - REFRESHING

    @property
    def refresh_claimed_at(self) -> int:
        """When a function began to refresh the tokens; 0 if they are not being refreshed."""
        return int((self.refresh or {}).get("claimed_at", 0))

    @property
    def access_token(self) -> str:
        """The access token, empty if the connection has ended."""
        return self.tokens.access_token if self.tokens else ""

    @property
    def refresh_token(self) -> str:
        """The refresh token, empty without `offline_access`."""
        return (self.tokens and self.tokens.refresh_token) or ""

    @property
    def scope(self) -> str:
        """The scopes that the user granted."""
        scope = self.tokens.scope if self.tokens else None
        return scope or self.granted_scope or self.requested_scope

    @property
    def lifetime(self) -> int:
        """How many seconds its access tokens live."""
        expires_in = self.tokens.expires_in if self.tokens else None
        return LIFETIME if expires_in is None else expires_in

    @property
    def good_until(self) -> int:
        """When the access token expires."""
        return self.issued_at + self.lifetime


class CodeUsedError(Exception):
    """Another event has had this code."""


class ClaimedError(Exception):
    """The grant is not held any more: it was claimed by another delivery, or has ended."""


class Grants:
    """Stores grants, and lets each code be exchanged once."""

    def __init__(self, table: "Table") -> None:
        """Use *table*."""
        self._table = table

    def hold(self, event: Granted) -> Grant:
        """Store the grant of *event* if it is new; return it as it stands in the table."""
        expires_at = int(event.data.code_expires_at.timestamp())
        grant = Grant(
            authorization_id=event.subject,
            event_id=event.id,
            event_time=int(event.time.timestamp()),
            status=Status.HELD,
            source=event.source,
            client_id=event.data.client_id,
            redirect_uri=event.data.redirect_uri,
            requested_scope=event.data.requested_scope,
            granted_scope=event.data.granted_scope,
            context=event.data.context,
            code=event.data.code,
            code_verifier=event.data.code_verifier,
            code_expires_at=expires_at,
            expires_at=expires_at + DAY,  # outlives every redelivery of a code that is still good
        )
        item = grant.model_dump(exclude_none=True)
        if items.put(self._table, item, Attr("event_id").not_exists()):
            return grant
        return self._read(grant)

    def _read(self, grant: Grant) -> Grant:
        return Grant.model_validate(items.get(self._table, _key(grant)))

    def of(self, authorization_id: str) -> list[Grant]:
        """Return all grants of an authorization in their order."""
        found = self._items(authorization_id)
        return sorted(map(Grant.model_validate, found), key=lambda grant: grant.order)

    def claim(self, grant: Grant, now: int) -> Grant:
        """Lock the code, then record the attempt under a new owner.

        Raises:
            CodeUsedError: another event has locked this code.
            ClaimedError: the grant is not held any more.

        """
        self._lock(grant)
        claim = {
            "status": Status.EXCHANGING,
            "owner": secrets.token_hex(16),
            "claimed_at": now,
        }
        held = Attr("status").eq(Status.HELD)
        if not self._update(grant, held, claim) and self._read(grant).owner != claim["owner"]:
            raise ClaimedError
        return grant.model_copy(update=claim)

    def _lock(self, grant: Grant) -> None:
        """Lock the code for good, because Qonto always recognises a used code.

        Ory Hydra, which Qonto runs, knows a code by its signature, the part after the dot. It
        revokes the tokens of a used one before it looks at the rest.
        """
        signature = grant.code.rpartition(".")[2]
        digest = hashlib.sha256(signature.encode()).hexdigest()
        event = f"{grant.authorization_id}/{grant.event_id}"
        lock = {"authorization_id": f"code.{digest}", "event_id": "lock", "locked_by": event}
        free = Attr("locked_by").not_exists() | Attr("locked_by").eq(event)
        if not items.put(self._table, lock, free):
            raise CodeUsedError

    def release(self, claimed: Grant) -> None:
        """Undo the claim of a request that was certainly not sent."""
        held = {"status": Status.HELD}
        self._update(claimed, _claim_of(claimed), held, ("owner", "claimed_at"))

    def connect(self, claimed: Grant, tokens: Tokens) -> bool:
        """Replace the code by the tokens; tell whether the table has them."""
        connected = {
            "status": Status.CONNECTED,
            "tokens": tokens.model_dump(exclude_none=True),
            "issued_at": claimed.claimed_at,
        }
        removed = ("code", "code_verifier", "expires_at")
        if self._update(claimed, _claim_of(claimed), connected, removed):
            return True
        return self._read(claimed).status is Status.CONNECTED

    def name(self, connected: Grant, organization: str) -> None:
        """Store the name of the organisation that the tokens open."""
        values = {"organization": organization}
        self._update(connected, Attr("status").eq(Status.CONNECTED), values)

    def refuse(self, held: Grant, reason: str) -> None:
        """Record that the code is not exchanged."""
        self._end(held, Attr("status").eq(Status.HELD), status=Status.FAILED, reason=reason)

    def fail(self, claimed: Grant, reason: str) -> None:
        """Record that Qonto refused the code, or that its tokens were refused."""
        self._end(claimed, _claim_of(claimed), status=Status.FAILED, reason=reason)

    def lose(self, claimed: Grant, reason: str) -> bool:
        """Record that Qonto may have used the code; tell whether this call recorded it."""
        return self._end(claimed, _claim_of(claimed), status=Status.LOST, reason=reason)

    def supersede(self, grant: Grant, now: int) -> None:
        """Remove the code or the tokens of *grant*, because a later grant is connected."""
        unclaimed = Attr("status").is_in([Status.HELD, Status.CONNECTED])
        self._end(grant, unclaimed, status=Status.SUPERSEDED, expires_at=now + DAY)

    def repudiate(self, grant: Grant, now: int) -> None:
        """Remove the code or the tokens of *grant*, whatever its status."""
        stored = Attr("event_id").exists()
        self._end(grant, stored, status=Status.REPUDIATED, expires_at=now + DAY)

    # ------------------------------------------------------------- connections

    def connection(self, authorization_id: str) -> Connection | None:
        """Return the connection of an authorization; None if its code was never exchanged."""
        found = self._items(authorization_id)
        connections = [
            Connection.model_validate(item) for item in found if item["status"] in CONNECTIONS
        ]
        # Of several codes, the one with tokens: a later one may not have been exchanged.
        return max(
            connections,
            key=lambda each: (each.tokens is not None, each.is_revoked is not None, each.order),
            default=None,
        )

    def claim_refresh(self, connection: Connection, now: int) -> Connection | None:
        """Record that a refresh begins, under a new owner; None if another one is running."""
        refresh = {"owner": secrets.token_hex(16), "claimed_at": now}
        is_free: ConditionBase = Attr("refresh").not_exists()
        if connection.refresh:  # unchanged, so that what it says of the token is still true
            is_free = _refresh_of(connection) & Attr("refresh.claimed_at").lt(now - REFRESHING)
        unchanged = Attr("tokens.refresh_token").eq(connection.refresh_token)
        if not self._update(connection, is_free & unchanged, {"refresh": refresh}):
            found = self.read(connection)
            if (found.refresh or {}).get("owner") != refresh["owner"]:
                return None
        return connection.model_copy(update={"refresh": refresh})

    def renew(self, claimed: Connection, tokens: Tokens, issued_at: int) -> Connection:
        """Replace the tokens that were refreshed by *tokens*; return the stored item."""
        values = {
            "tokens": tokens.model_dump(exclude_none=True),
            "issued_at": issued_at,
            "refreshes": claimed.refreshes + 1,
        }
        self._update(claimed, _refresh_of(claimed), values, ("refresh",))
        return self.read(claimed)

    def release_refresh(self, claimed: Connection, *, is_unused: bool) -> None:
        """End the claim; unless the refresh token *is_unused*, the next caller must refresh."""
        if is_unused:
            self._update(claimed, _refresh_of(claimed), {}, ("refresh",))
        else:
            unfinished = {"refresh": {"owner": "", "claimed_at": 0}}
            self._update(claimed, _refresh_of(claimed), unfinished)

    def end(self, connection: Connection) -> Connection:
        """Record that Qonto refused to refresh, unless the item changed; return the stored item."""
        unchanged: ConditionBase = Attr("tokens.access_token").eq(connection.access_token)
        if connection.refresh:
            unchanged &= _refresh_of(connection)
        connected = Attr("status").eq(Status.CONNECTED)
        self._end(connection, connected & unchanged, status=Status.ENDED)
        return self.read(connection)

    def disconnect(self, grant: Grant, now: int) -> None:
        """Record that the app ends the authorization: neither its code nor its tokens are used.

        Tokens are kept, because the revocation at Qonto needs one.
        """
        kept = [Status.CONNECTED, Status.DISCONNECTING, Status.DISCONNECTED, Status.REPUDIATED]
        others = ~Attr("status").is_in(kept)
        self._end(grant, others, status=Status.DISCONNECTED, expires_at=now + DAY)
        connected = Attr("status").eq(Status.CONNECTED)
        self._update(grant, connected, {"status": Status.DISCONNECTING})

    def set_disconnected(self, grant: Grant, now: int, *, is_revoked: bool) -> None:
        """Remove the tokens of *grant*; *is_revoked* tells whether Qonto has revoked them."""
        is_begun = Attr("status").eq(Status.DISCONNECTING)
        values = {"is_revoked": is_revoked, "expires_at": now + DAY}
        self._end(grant, is_begun, status=Status.DISCONNECTED, **values)

    def read(self, connection: Connection) -> Connection:
        """Read *connection* again."""
        return Connection.model_validate(items.get(self._table, _key(connection)))

    # --------------------------------------------------------------------------

    def _end(self, grant: Grant, condition: ConditionBase, **values: str | int) -> bool:
        """Set *values* and remove all secrets, if *condition* holds; tell whether it did."""
        removed = ("code", "code_verifier", "tokens", "refresh")
        return self._update(grant, condition, values, removed)

    def _items(self, authorization_id: str) -> list[dict[str, Any]]:
        found = self._table.query(
            KeyConditionExpression=Key("authorization_id").eq(authorization_id),
            ConsistentRead=True,  # so that a caller that writes first reads every earlier write
        )
        return found["Items"]

    def _update(
        self,
        grant: Grant,
        condition: ConditionBase,
        values: Mapping[str, Any],
        removed: Sequence[str] = (),
    ) -> bool:
        return items.update(self._table, _key(grant), condition, values, removed)


def _claim_of(claimed: Grant) -> ConditionBase:
    return Attr("status").eq(Status.EXCHANGING) & Attr("owner").eq(claimed.owner)


def _refresh_of(claimed: Connection) -> ConditionBase:
    return Attr("refresh.owner").eq((claimed.refresh or {})["owner"])


def _key(grant: Grant) -> dict[str, str]:
    return {"authorization_id": grant.authorization_id, "event_id": grant.event_id}
