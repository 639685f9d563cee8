"""Access tokens of connections: refreshed before they expire, one at a time for a connection.

Qonto rotates refresh tokens: each response has a new one, and the old one is accepted for 60
seconds after its first use. A later use revokes all tokens of the connection. So:

- Only the owner of the connection's claim refreshes; others wait for what it stores.
- A refresh whose response was lost, or whose function was stopped, is repeated within the 60
  seconds: at once, by the next caller, or by messages that wait in the queue meanwhile.
- A refresh token is sent until its successor is stored. If the 60 seconds have passed without a
  response, only Qonto knows whether it was used. If so, the connection is lost in any case.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from subscriber import token_endpoint
from subscriber.client_secret import ClientSecret, Credentials, SecretError
from subscriber.connections import Connections
from subscriber.grants import Connection, Grants, Status
from subscriber.settings import Settings
from subscriber.token_endpoint import NotSentError, RefusedError, ResponseLostError
from subscriber.tokens import Tokens

REFRESH_BEFORE = 600  # seconds before a token expires; at most half of its lifetime
LEAST = 60  # seconds that a token must still live to be returned after its refresh failed
# seconds after its claim, so that a request of 9 seconds ends before the claim does
SEND_WITHIN = 12
WAIT = 10  # seconds to wait for another caller's refresh
PAUSE = 0.2  # seconds between two reads
# Hydra's names for a refresh token that is unknown, revoked, expired or used too often.
ENDS = {"invalid_grant", "token_inactive"}


class UnavailableError(Exception):
    """Qonto did not respond, or another caller's refresh takes long; the text is for the log."""


class ForeignConnectionError(Exception):
    """The stack's environment or client has changed since the connection was made."""

    def __init__(self) -> None:
        """Describe the mismatch."""
        super().__init__("The connection is of another environment or client than this stack.")


class EndedError(Exception):
    """Qonto does not accept the tokens of the connection any more.

    Attributes:
        connection: the connection before it ended.

    """

    def __init__(self, connection: Connection, reason: str) -> None:
        """Take the *connection* and the *reason*, for the log."""
        super().__init__(reason)
        self.connection = connection


@dataclass(frozen=True)
class AccessTokens:
    """Hands out access tokens, and ends connections.

    Attributes:
        settings: the stack's.
        grants: the tokens.
        connections: what the app reads.
        client_secret: Qonto's.
        remind: sends the stack messages with an `authorization_id`. They arrive when the claim that
            follows is over, and lead to `finish`.
        count: counts a metric.
        report: reports an unusable client secret.
        logger: gets no token and no whole `authorization_id`.
        now: returns the time in epoch seconds.

    """

    settings: Settings
    grants: Grants
    connections: Connections
    client_secret: ClientSecret
    remind: Callable[[str], None]
    count: Callable[[str], None]
    report: Callable[[SecretError], None]
    logger: Logger
    now: Callable[[], int]

    def token(self, authorization_id: str, refused: str = "") -> dict[str, Any]:
        """Return an access token of the connection, or the reason why there is not one.

        Args:
            authorization_id: names the connection.
            refused: an access token to which Qonto's API responded with 401.

        Raises:
            ForeignConnectionError: the connection is not of this environment and client.
            BotoCoreError, ClientError: AWS failed; ask again.

        """
        return self._token(self._connection(authorization_id), refused)

    def disconnect(self, authorization_id: str) -> dict[str, Any]:
        """End the connection at Qonto, then here; from the start, no token is handed out.

        Raises:
            ForeignConnectionError: the connection is not of this environment and client.
            BotoCoreError, ClientError: AWS failed. A message continues a disconnection that has
            begun.

        """
        connection = self._connection(authorization_id)
        if connection is None:
            return _response(None)
        if connection.status is not Status.DISCONNECTED:
            self.remind(authorization_id)
        return self._disconnected(connection)

    def finish(self, authorization_id: str) -> None:
        """Finish a refresh or a disconnection whose function may have been stopped.

        Raises:
            ForeignConnectionError: the connection is not of this environment and client.
            UnavailableError: Qonto does not respond to a disconnection.
            BotoCoreError, ClientError: AWS failed; call it again.

        """
        connection = self._connection(authorization_id)
        if connection and connection.is_open and connection.refresh is None:
            return  # a refresh that began here might not be finished in time
        if self._token(connection)["status"] == Status.DISCONNECTING:
            raise UnavailableError("disconnecting")

    def _connection(self, authorization_id: str) -> Connection | None:
        """Return the connection if this stack's Qonto issued its tokens."""
        connection = self.grants.connection(authorization_id)
        if connection and connection.source != self.settings.source:
            raise ForeignConnectionError
        return connection

    def _token(self, connection: Connection | None, refused: str = "") -> dict[str, Any]:
        if connection is None:
            return _response(None)
        if connection.status is Status.ENDED:
            # a function may have been stopped before it did this
            self._tell(connection, Status.ENDED)
            return _response(connection)
        if not connection.is_open:
            return self._disconnected(connection)
        try:
            return _response(self._usable(connection, refused))
        except EndedError as error:
            return _response(self._end(error))
        except UnavailableError:
            connection = self.grants.read(connection)
        lives = connection.refresh is None and connection.good_until > self.now() + LEAST
        if connection.is_open and lives and connection.access_token != refused:
            return _response(connection)
        return {"status": "unavailable"}

    # ---------------------------------------------------------------- a refresh

    def _usable(self, connection: Connection, refused: str = "") -> Connection:
        """Return *connection* with an access token that Qonto should accept.

        Raises:
            EndedError: the connection has ended.
            UnavailableError: try again later.

        """
        deadline = self.now() + WAIT
        while self._must_refresh(connection, refused):
            if not connection.refresh_token:
                if connection.good_until > self.now() and connection.access_token != refused:
                    break
                raise EndedError(connection, "no refresh token")
            if not connection.is_claimed(self.now()):
                credentials = self._credentials()
                # Before the claim, so that there is a reminder even if this function is stopped
                # right after it.
                self.remind(connection.authorization_id)
                if claimed := self.grants.claim_refresh(connection, self.now()):
                    return self._refresh(claimed, credentials, is_first=connection.refresh is None)
            if self.now() >= deadline:
                raise UnavailableError("claimed")
            time.sleep(PAUSE)
            connection = self.grants.read(connection)
        return connection

    def _must_refresh(self, connection: Connection, refused: str) -> bool:
        """Tell whether the access token is near its end, refused, or perhaps replaced at Qonto."""
        margin = min(REFRESH_BEFORE, connection.lifetime // 2)
        is_near_its_end = connection.good_until <= self.now() + margin
        is_suspect = connection.access_token == refused or connection.refresh is not None
        return connection.tokens is not None and (is_near_its_end or is_suspect)

    def _refresh(
        self, claimed: Connection, credentials: Credentials, *, is_first: bool
    ) -> Connection:
        """Refresh the tokens of *claimed*, a second time if there is no response; end the claim.

        *is_first* tells that nobody has sent this refresh token before.
        """
        is_unused, reason = is_first, "late"
        for _ in range(2):
            issued_at = self.now()
            if issued_at > claimed.refresh_claimed_at + SEND_WITHIN:
                break
            try:
                tokens = token_endpoint.refresh(self.settings.token_endpoint, claimed, credentials)
            except NotSentError as error:
                reason = str(error)
            except ResponseLostError as error:
                is_unused, reason = False, str(error)
            except RefusedError as error:
                if str(error) in ENDS:
                    raise EndedError(claimed, str(error)) from error
                reason = str(error)
                break
            else:
                return self._renew(claimed, tokens, issued_at, credentials)
        self.grants.release_refresh(claimed, is_unused=is_unused)
        self.count("RefreshFailed")
        self.logger.warning("Refresh failed", extra=claimed.log_fields | {"reason": reason})
        raise UnavailableError(reason)

    def _renew(
        self, claimed: Connection, tokens: Tokens, issued_at: int, credentials: Credentials
    ) -> Connection:
        """Store *tokens*; members that Qonto omitted stay as they were (RFC 6749, section 6)."""
        before = claimed.tokens.model_dump() if claimed.tokens else {}
        merged = Tokens.model_validate(before | tokens.model_dump(exclude_none=True))
        renewed = self.grants.renew(claimed, merged, issued_at)
        self.logger.info("Tokens refreshed", extra=claimed.log_fields)
        if renewed.organization is None:
            api_url = self.settings.api_url
            if name := token_endpoint.organization(api_url, merged, credentials):
                self.grants.name(renewed, name)
                return renewed.model_copy(update={"organization": name})
        return renewed

    def _end(self, error: EndedError) -> Connection:
        """Record that the user must connect again, unless the app ends the connection anyway."""
        connection = self.grants.end(error.connection)
        if connection.status is Status.ENDED:
            self.count("ConnectionEnded")
            self.logger.warning(
                "Connection ended", extra=connection.log_fields | {"reason": str(error)}
            )
            self._tell(connection, Status.ENDED)
        return connection

    # ---------------------------------------------------------- a disconnection

    def _disconnected(self, connection: Connection) -> dict[str, Any]:
        """Begin the disconnection, or go on with it; each of its steps may be repeated."""
        try:
            return self._disconnect(connection)
        except UnavailableError as error:
            self.logger.warning(
                "Disconnection unfinished", extra=connection.log_fields | {"reason": str(error)}
            )
            return {"status": Status.DISCONNECTING}

    def _disconnect(self, connection: Connection) -> dict[str, Any]:
        self.grants.disconnect(connection, self.now())
        # Read last: a code that arrives later is not exchanged, and every earlier one is in the
        # list.
        for grant in self.grants.of(connection.authorization_id):
            self.grants.disconnect(grant, self.now())
        self._tell(connection, Status.DISCONNECTED)
        found = self.grants.connection(connection.authorization_id) or connection
        is_revoked = found.status is not Status.DISCONNECTING or self._revoke(found)
        for grant in self.grants.of(connection.authorization_id):
            self.grants.set_disconnected(grant, self.now(), is_revoked=is_revoked)
        if connection.status is not Status.DISCONNECTED:
            self.logger.info("Connection disconnected", extra=connection.log_fields)
        return _response(self.grants.read(found))

    def _revoke(self, connection: Connection) -> bool:
        """Tell Qonto; return whether it no longer accepts a token of the connection.

        Raises:
            UnavailableError: Qonto did not respond.

        """
        refused = ""
        for _ in range(2):
            try:
                token = self._usable(connection, refused).access_token
                if token:  # not repudiated meanwhile
                    token_endpoint.revoke(self.settings.api_url, token, self._credentials())
            except EndedError:
                return True
            except (NotSentError, ResponseLostError) as error:
                raise UnavailableError(str(error)) from error
            except RefusedError as error:
                if error.status == HTTPStatus.FORBIDDEN:  # without organization.read
                    return False
                if error.status != HTTPStatus.UNAUTHORIZED:
                    raise UnavailableError(str(error)) from error
                refused = token
            else:
                return True
        raise UnavailableError("unauthorized")

    def _credentials(self) -> Credentials:
        try:
            return self.client_secret.credentials()
        except SecretError as error:
            self.report(error)
            raise UnavailableError("secret") from error
        except GetParameterError as error:
            self.count("RefreshFailed")
            self.logger.warning("Client secret not read", exc_info=True)
            raise UnavailableError("secret") from error

    def _tell(self, connection: Connection, status: Status) -> None:
        if connection.context is not None:
            self.connections.tell(connection, status)


def _response(connection: Connection | None) -> dict[str, Any]:
    if connection is None:
        return {"status": "not-connected"}
    match connection.status:
        case Status.CONNECTED:
            response = {
                "access_token": connection.access_token,
                "expires_at": connection.good_until,
                "scope": connection.scope,
                "organization": connection.organization,
            }
        case Status.DISCONNECTED:
            response = {"revoked": connection.is_revoked is not False}
        case Status.DISCONNECTING | Status.ENDED:
            response = {}
        case Status.SUPERSEDED:  # just now, by a later code
            return {"status": "unavailable"}
        case _:
            return {"status": "not-connected"}
    return {"status": connection.status} | {
        name: value for name, value in response.items() if value is not None
    }
