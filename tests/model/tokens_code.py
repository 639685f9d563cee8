"""The code of the function `tokens`, as generators of its calls.

Each generator follows the function of the same name in `subscriber/access_tokens.py`; `_request`
follows `disconnect`. A broken variant is *without* one part of it.
"""

from enum import StrEnum

from subscriber.grants import CONNECTIONS, Status
from tests.model.subscriber_code import Arrival, Call, Calls, Code, FailedError, Grant, Refresh

TOKEN, REFUSED, DISCONNECT = "token", "token instead of a refused one", "disconnect"
WITHDRAWAL = "withdrawal"  # the user ends the connection in Qonto
UNFINISHED = "unfinished"  # a message; its event is the number of periods until it arrives
NEAR = 1  # these tokens are near their end, or expired; all others are new


class Outcome(StrEnum):
    """How the code goes on; the second and the third are exceptions there."""

    USABLE = "usable"
    ENDED = "ended"
    UNAVAILABLE = "unavailable"


class TokensCode(Code):
    """The code of both functions."""

    def handle(self, arrival: Arrival) -> Calls[None]:
        """Handle a request, a message, or what the user does."""
        if arrival.kind in {TOKEN, REFUSED}:
            yield from self._token(arrival)
        elif arrival.kind == DISCONNECT:
            yield from self._request(arrival)
        elif arrival.kind == UNFINISHED:
            yield from self._finish(arrival)
        elif arrival.kind == WITHDRAWAL:
            yield Call("withdraw", arrival)
        else:
            yield from super().handle(arrival)

    def _token(self, asked: Arrival) -> Calls[str]:
        refused = (yield Call("access token", asked)) if asked.kind == REFUSED else 0
        connection = yield Call("connection", asked)
        if asked.kind == UNFINISHED and _is_usable(connection):
            return Outcome.USABLE
        if connection is None or connection.status is Status.ENDED:
            if connection and self._without != "repeated tell":
                yield Call("tell", connection.event, 0, Status.ENDED)
            return (yield from _respond(asked, connection))
        if connection.status is not Status.CONNECTED:
            event = connection.event
            del connection
            return (yield from self._disconnect(asked, event))
        outcome, connection = yield from self._usable(connection, refused)
        if outcome is Outcome.ENDED:
            connection = yield from self._end(connection)
        elif outcome is Outcome.UNAVAILABLE:
            lives = yield Call("lives?", connection.event)
            connection = yield Call("read", connection.event)
            lives = connection.refresh is None and (lives or connection.tokens != NEAR)
            if connection.status is not Status.CONNECTED or not lives:
                return outcome
            if connection.tokens == refused:
                return outcome
        return (yield from _respond(asked, connection))

    def _request(self, asked: Arrival) -> Calls[None]:
        connection = yield Call("connection", asked)
        if connection is None:
            yield from _respond(asked, None)
            return
        status, event = connection.status, connection.event
        del connection
        if status is not Status.DISCONNECTED and self._without != "reminder":
            yield Call("remind", asked)
        yield from self._disconnect(asked, event)

    def _finish(self, message: Arrival) -> Calls[None]:
        status = yield from self._token(message)
        if status == Status.DISCONNECTING and self._without != "redelivery":
            raise FailedError

    # ---------------------------------------------------------------- a refresh

    def _usable(self, connection: Grant, refused: int) -> Calls[tuple[Outcome, Grant]]:
        owner = 0
        while self._must_refresh(connection, refused):
            if not self._is_claimed(connection):
                yield from self._remind(connection.event, "")
                owner = owner or (yield Call("owner", connection.event))
                if (yield from self._claim_refresh(connection, owner)):
                    is_first = connection.refresh is None
                    connection = connection._replace(refresh=Refresh(owner))
                    del refused
                    return (yield from self._refresh(connection, owner, is_first=is_first))
            if (yield Call("waited?", connection.event)):
                return Outcome.UNAVAILABLE, connection
            connection = yield Call("read", connection.event)
        return Outcome.USABLE, connection

    def _is_claimed(self, connection: Grant) -> bool:
        if connection.refresh is None:
            return False
        return not connection.refresh.is_over or self._without == "take-over"

    def _claim_refresh(self, connection: Grant, owner: int) -> Calls[bool]:
        as_read = str(connection.refresh and connection.refresh.owner)
        about = connection.event, owner, as_read, connection.tokens
        if (yield Call("claim refresh", *about)):
            return True
        found = yield Call("read", connection.event)
        return found.refresh is not None and found.refresh.owner == owner

    def _must_refresh(self, connection: Grant, refused: int) -> bool:
        is_suspect = connection.tokens == refused
        if self._without != "suspicion":
            is_suspect = is_suspect or connection.refresh is not None
        return connection.tokens != 0 and (connection.tokens == NEAR or is_suspect)

    def _refresh(
        self, claimed: Grant, owner: int, *, is_first: bool
    ) -> Calls[tuple[Outcome, Grant]]:
        yield from self._remind(claimed.event, "reminder before claim")
        is_unused, attempts = is_first, 1 if self._without == "retry" else 2
        while attempts:
            response = yield Call("refresh", claimed.event, owner, tokens=claimed.tokens)
            attempts -= 1
            if response == "invalid_grant":
                return Outcome.ENDED, claimed
            if response in {"refused", "too late"}:
                if self._without == "invalid_grant alone":
                    return Outcome.ENDED, claimed
                break
            if response not in {"lost", "not sent"}:
                yield Call("renew", claimed.event, owner, tokens=response)
                if self._without == "renewed as stored":
                    return Outcome.USABLE, claimed._replace(tokens=response)
                renewed = yield Call("read", claimed.event)
                return Outcome.USABLE, renewed
            is_unused = is_unused and response == "not sent"
        yield from self._remind(claimed.event, "reminder before request")
        unused = "unused" if is_unused or self._without == "marker" else ""
        yield Call("release refresh", claimed.event, owner, unused)
        return Outcome.UNAVAILABLE, claimed

    def _remind(self, event: Arrival, place: str) -> Calls[None]:
        """Remind at one *place*: the first, or the one that is named like the broken variant."""
        is_late = self._without in {"reminder before claim", "reminder before request"}
        if self._without != "reminder" and place == (self._without if is_late else ""):
            yield Call("remind", event)

    def _end(self, connection: Grant) -> Calls[Grant]:
        owner = connection.refresh.owner if connection.refresh else 0
        yield Call("end", connection.event, owner, tokens=connection.tokens)
        found: Grant = yield Call("read", connection.event)
        if found.status is Status.ENDED:
            yield Call("tell", found.event, 0, Status.ENDED)
        return found

    # ---------------------------------------------------------- a disconnection

    def _disconnect(self, asked: Arrival, event: Arrival) -> Calls[str]:
        events: tuple[Arrival, ...] = ()
        if self._without == "mark first":
            events = _events((yield Call("query", asked)))
        if self._without == "mark before tell":
            yield Call("tell", event, 0, Status.DISCONNECTED)
        yield from self._mark(event)
        if self._without != "mark first":
            events = _events((yield Call("query", asked)))
        for other in events:
            yield from self._mark(other)
        yield Call("tell", event, 0, Status.DISCONNECTED)
        found = yield Call("connection", asked)
        event = found.event if found else event
        if self._without == "Qonto first":
            yield Call("set disconnected", event)
        is_begun = found is not None and found.status is Status.DISCONNECTING
        if is_begun and not (yield from self._revoke(found)):
            yield Call("respond", asked, 0, Status.DISCONNECTING)
            return Status.DISCONNECTING
        del found
        events = _events((yield Call("query", asked)))
        for other in events:
            yield Call("set disconnected", other)
        read = yield Call("read", event)
        return (yield from _respond(asked, read))

    def _mark(self, event: Arrival) -> Calls[None]:
        """Follow `Grants.disconnect`."""
        if self._without == "order of marks":
            yield Call("disconnect connected", event)
        yield Call("disconnect others", event)
        if self._without != "order of marks":
            yield Call("disconnect connected", event)

    def _revoke(self, connection: Grant) -> Calls[bool]:
        """Return whether Qonto responded that it takes no token any more."""
        refused, attempts = 0, 2
        while attempts:
            outcome, usable = yield from self._usable(connection, refused)
            if outcome is not Outcome.USABLE:
                return outcome is Outcome.ENDED
            refused, attempts = usable.tokens, attempts - 1
            if not refused:
                return True
            response = yield Call("revoke", usable.event, tokens=refused)
            if response != "unauthorized" or self._without == "second revocation":
                return response in {"revoked", "unauthorized"}
        return False


def _events(grants: tuple[Grant, ...]) -> tuple[Arrival, ...]:
    return tuple(grant.event for grant in grants)


def _respond(asked: Arrival, connection: Grant | None) -> Calls[str]:
    status = str(connection.status) if connection else "not-connected"
    if status not in CONNECTIONS:
        status = Outcome.UNAVAILABLE if status == Status.SUPERSEDED else "not-connected"
    tokens = connection.tokens if connection and status == Status.CONNECTED else 0
    yield Call("respond", asked, 0, status, tokens)
    return status


def _is_usable(connection: Grant | None) -> bool:
    """Tell whether nothing of *connection* is unfinished."""
    return (
        connection is not None
        and connection.status is Status.CONNECTED
        and connection.refresh is None
    )
