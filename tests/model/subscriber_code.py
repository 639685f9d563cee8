"""The code of the example subscriber, its function `tokens` and the app, as generators of calls.

Each generator follows the function of the same name in `examples/`; `_request` follows
`AccessTokens.disconnect`, and `_mark` follows `Grants.disconnect`.
"""

from subscriber.grants import CONNECTIONS, Status
from tests.model.steps import Arrival, Call, Calls, FailedError, Grant, Kind, Refresh

DISCONNECTED = {Status.DISCONNECTING, Status.DISCONNECTED}
AFTER_EXCHANGE = {"tokens": "connect", "refused": "fail", "lost": "lose", "not sent": "release"}
NEAR = 1  # these tokens are near their end, or expired; all others are new


def handle(arrival: Arrival) -> Calls[None]:
    """Handle *arrival*."""
    match arrival.kind:
        case Kind.EVENT | Kind.CONFIRMATION:
            yield from _event(arrival)
        case Kind.REPUDIATION | Kind.LATE:
            yield from _repudiate(arrival)
        case Kind.TOKEN | Kind.REFUSED | Kind.UNFINISHED:
            status = yield from _token(arrival)
            if arrival.kind is Kind.UNFINISHED and status == Status.DISCONNECTING:
                raise FailedError
        case Kind.DISCONNECT:
            yield from _request(arrival)
        case Kind.WITHDRAWAL:
            yield Call("withdraw", arrival)
        case _:
            yield from _connected(arrival)


# ------------------------------------------------------------------ subscriber


def _event(message: Arrival) -> Calls[None]:
    if (yield from _settle(message)):
        latest = yield from _conclude(message)
        if latest.status is Status.HELD:
            if (yield Call("expired?", latest.event)):
                yield Call("tell", latest.event, 0, "expired")
        elif latest.status in {Status.CONNECTED, Status.FAILED, Status.LOST}:
            yield Call("tell", latest.event, 0, latest.status)


def _settle(message: Arrival) -> Calls[bool]:
    confirmed = yield from _confirmed(message)
    for grant in reversed(confirmed):
        if grant.status is Status.EXCHANGING:
            is_over = yield Call("over?", grant.event, grant.owner)
            if not is_over or not (yield Call("lose", grant.event, grant.owner)):
                raise FailedError
        elif grant.status is Status.HELD and not (yield from _is_replaced(grant)):
            yield from _exchange(grant.event)
    return bool(confirmed)


def _confirmed(message: Arrival) -> Calls[tuple[Grant, ...]]:
    received: tuple[Grant, ...] = (Grant(message, Status.HELD),)
    if message.kind is Kind.CONFIRMATION:
        yield Call("confirm", message)
        received = yield from _grants_of(message)
    elif not (yield Call("hold", message)):
        received = ((yield Call("read", message)),)
    confirmed: tuple[Grant, ...] = ()
    for grant in received:
        match (yield Call("status", grant.event)):
            case Status.REPUDIATED:
                yield Call("repudiate", grant.event)
            case str():
                confirmed += (grant,)
    return confirmed


def _grants_of(message: Arrival) -> Calls[tuple[Grant, ...]]:
    found = yield Call("query", message)
    return tuple(grant for grant in found if grant.event.context == message.context)


def _is_replaced(grant: Grant) -> Calls[bool]:
    found = yield Call("query", grant.event)
    later = (other for other in found if other.event > grant.event)
    is_later = any(other.status is Status.CONNECTED for other in later)
    return is_later or any(other.status in DISCONNECTED for other in found)


def _exchange(event: Arrival) -> Calls[None]:
    if (yield Call("expired?", event)):
        return
    if not (yield Call("lock", event)):
        yield Call("refuse", event)
        return
    owner = yield Call("owner", event)
    if not (yield Call("claim", event, owner)) and (yield Call("read", event)).owner != owner:
        raise FailedError
    response = yield Call("exchange", event, owner)
    yield Call(AFTER_EXCHANGE[response], event, owner)
    if response == "not sent":
        raise FailedError


def _conclude(message: Arrival) -> Calls[Grant]:
    found = yield Call("query", message)
    connected = tuple(grant for grant in found if grant.status is Status.CONNECTED)
    for grant in found:
        is_earlier = connected and grant.event < connected[-1].event
        if is_earlier and grant.status in {Status.HELD, Status.CONNECTED}:
            yield Call("supersede", grant.event)
    latest: Grant = (connected or found)[-1]
    return latest


def _repudiate(message: Arrival) -> Calls[None]:
    found = yield from _grants_of(message)
    if found and message.kind is Kind.LATE:
        return
    yield Call("repudiate connection", message)
    found = yield from _grants_of(message)
    for grant in found:
        yield Call("repudiate", grant.event)


# ------------------------------------------------------------------------- app


def _connected(browser: Arrival) -> Calls[None]:
    """Handle a return to the app; its pages are not in the model."""
    asked = yield Call("asked", browser)
    if asked is None:  # after an hour
        return
    if browser.kind is not Kind.RIGHT:
        if browser.kind is Kind.OTHER:
            yield Call("repudiate context", browser)
            yield Call("send", browser, 0, Kind.REPUDIATION)
        return
    if not (yield Call("use", browser)):
        return
    if not asked.confirmed:
        yield Call("send", browser, 0, Kind.CONFIRMATION)
        yield Call("set confirmed", browser)


# ---------------------------------------------------------------------- tokens


def _token(asked: Arrival) -> Calls[str]:
    refused = (yield Call("access token", asked)) if asked.kind is Kind.REFUSED else 0
    connection = yield Call("connection", asked)
    match asked.kind, connection:
        case Kind.UNFINISHED, Grant(status=Status.CONNECTED, refresh=None):
            return "usable"  # nothing is unfinished
    if connection is None or connection.status is Status.ENDED:
        if connection:
            yield Call("tell", connection.event, 0, Status.ENDED)
        return (yield from _respond(asked, connection))
    if connection.status is not Status.CONNECTED:
        event = connection.event
        del connection
        return (yield from _disconnect(asked, event))
    outcome, connection = yield from _usable(connection, refused)
    if outcome == "ended":
        connection = yield from _end(connection)
    elif outcome == "unavailable":
        lives = yield Call("lives?", connection.event)
        connection = yield Call("read", connection.event)
        lives = connection.refresh is None and (lives or connection.tokens != NEAR)
        is_returned = connection.status is Status.CONNECTED and lives
        if not is_returned or connection.tokens == refused:
            return outcome
    return (yield from _respond(asked, connection))


def _respond(asked: Arrival, connection: Grant | None) -> Calls[str]:
    status = str(connection.status) if connection else "not-connected"
    if status not in CONNECTIONS:
        status = "unavailable" if status == Status.SUPERSEDED else "not-connected"
    tokens = connection.tokens if connection and status == Status.CONNECTED else 0
    yield Call("respond", asked, 0, status, tokens)
    return status


def _usable(connection: Grant, refused: int) -> Calls[tuple[str, Grant]]:
    owner = 0
    while _must_refresh(connection, refused):
        if not connection.is_claimed:
            yield Call("remind", connection.event)
            owner = owner or (yield Call("owner", connection.event))
            if (yield from _claim_refresh(connection, owner)):
                is_first = connection.refresh is None
                connection = connection._replace(refresh=Refresh(owner))
                del refused
                return (yield from _refresh(connection, owner, is_first=is_first))
        if (yield Call("waited?", connection.event)):
            return "unavailable", connection
        connection = yield Call("read", connection.event)
    return "usable", connection


def _must_refresh(connection: Grant, refused: int) -> bool:
    is_suspect = connection.tokens == refused or connection.refresh is not None
    return connection.tokens != 0 and (connection.tokens == NEAR or is_suspect)


def _claim_refresh(connection: Grant, owner: int) -> Calls[bool]:
    event, as_read = connection.event, str(connection.refresher)
    is_claimed = yield Call("claim refresh", event, owner, as_read, connection.tokens)
    return bool(is_claimed or (yield Call("read", event)).refresher == owner)


def _refresh(claimed: Grant, owner: int, *, is_first: bool) -> Calls[tuple[str, Grant]]:
    is_unused, attempts = is_first, 2
    while attempts:
        response = yield Call("refresh", claimed.event, owner, tokens=claimed.tokens)
        attempts -= 1
        if response == "invalid_grant":
            return "ended", claimed
        if response in {"refused", "too late"}:
            break
        if response not in {"lost", "not sent"}:
            yield Call("renew", claimed.event, owner, tokens=response)
            return "usable", (yield Call("read", claimed.event))
        is_unused = is_unused and response == "not sent"
    yield Call("release refresh", claimed.event, owner, "unused" if is_unused else "")
    return "unavailable", claimed


def _end(connection: Grant) -> Calls[Grant]:
    yield Call("end", connection.event, connection.refresher or 0, tokens=connection.tokens)
    found: Grant = yield Call("read", connection.event)
    if found.status is Status.ENDED:
        yield Call("tell", found.event, 0, Status.ENDED)
    return found


def _request(asked: Arrival) -> Calls[None]:
    connection = yield Call("connection", asked)
    if connection is None:
        yield from _respond(asked, None)
        return
    status, event = connection.status, connection.event
    del connection
    if status is not Status.DISCONNECTED:
        yield Call("remind", asked)
    yield from _disconnect(asked, event)


def _disconnect(asked: Arrival, event: Arrival) -> Calls[str]:
    yield from _mark(event)
    events = _events((yield Call("query", asked)))
    for other in events:
        yield from _mark(other)
    yield Call("tell", event, 0, Status.DISCONNECTED)
    found = yield Call("connection again", asked)
    event = found.event if found else event
    is_begun = found is not None and found.status is Status.DISCONNECTING
    if is_begun and not (yield from _revoke(found)):
        yield Call("respond", asked, 0, Status.DISCONNECTING)
        return Status.DISCONNECTING
    del found
    events = _events((yield Call("query", asked)))
    for other in events:
        yield Call("set disconnected", other)
    return (yield from _respond(asked, (yield Call("read", event))))


def _mark(event: Arrival) -> Calls[None]:
    yield Call("disconnect others", event)
    yield Call("disconnect connected", event)


def _events(grants: tuple[Grant, ...]) -> tuple[Arrival, ...]:
    return tuple(grant.event for grant in grants)


def _revoke(connection: Grant) -> Calls[bool]:
    """Return whether Qonto responded that it takes no token any more."""
    refused, attempts = 0, 2
    while attempts:
        outcome, usable = yield from _usable(connection, refused)
        if outcome != "usable":
            return outcome == "ended"
        refused, attempts = usable.tokens, attempts - 1
        if not refused:
            return True
        response = yield Call("revoke", usable.event, tokens=refused)
        if response != "unauthorized":
            return response in {"revoked", "unauthorized"}
    return False
