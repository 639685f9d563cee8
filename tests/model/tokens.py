"""An exhaustive model of refreshes and disconnections: the real functions, beside the subscriber.

An authorization is connected. The app asks for tokens and ends the connection, the user withdraws
the permission at Qonto, a repudiation or a later code comes, all in any order and at once:

- Time passes in periods of a claim's life. It passes while processes wait for a claim. Any other
  process that it passes is slow, and a message that has arrived is late (one fault).
- Qonto takes a refresh token during its grace. It then treats a use as theft, and revokes all
  tokens of the code. After the revocation it refuses to exchange a code.
- AWS applies a write without a response in the same period or never. **Assumption:** Qonto receives
  each request with a refresh token during the token's grace, or never.

The model leaves out what `subscriber.py` leaves out, connections without a refresh token, and
revocations that Qonto refuses because of their scopes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from subscriber.grants import CONNECTIONS, REFRESHING, Status
from tests.model.example import HOUR, NOT_SENT, NOW, REFUSED, Arrival, Kind
from tests.model.flow import Move, Process, State, World, less, put
from tests.model.steps import FAILED, NO_RESPONSE, Call
from tests.model.subscriber import Kept, Row, Rows, SubscriberModel, is_claimed, kept

PERIOD = REFRESHING + 2  # seconds; then the first message about a claim comes
GRACE = 60  # seconds
FIRST = Arrival(Kind.EVENT, "A", "X", "1", "1")
CONFIRMED = Arrival(Kind.CONFIRMATION, "A", "X")
REQUEST_FAULTS = {NO_RESPONSE, NOT_SENT, REFUSED}
WAITED, SLOW = "waited", "slow"  # notes of processes that time passed
ENDING = {Status.DISCONNECTING, Status.DISCONNECTED}
OPEN = {Status.CONNECTED, Status.DISCONNECTING}  # the tokens are in the item
INVALID_GRANT = [400, {"error": "invalid_grant"}]


class Problem(StrEnum):
    """A move that must not be possible, or a state in which no process runs."""

    REUSED = "a refresh token is used after its grace, and its successor is or would be stored"
    ENDED = "a connection is lost in spite of few faults"
    PARALLEL = "two owners use a refresh token at once, and no claim is over"
    OLD = "tokens are replaced by older ones, or not the newest are handed out"
    DISCONNECTED = "after a disconnection, tokens are stored or handed out, or Qonto takes them"
    REOPENED = "the app reads something else after a disconnection or a repudiation"
    UNTOLD = "in the end, the app reads something else than is true"
    ENDLESS = "in the end, a disconnection is not complete"
    UNREVOKED = "in the end, Qonto takes tokens of a connection that was disconnected"
    STUCK = "a caller alone, without a fault, gets neither a token that Qonto takes nor the truth"


@dataclass(frozen=True)
class TokensModel(SubscriberModel):
    """The moves of *messages* and of callers, which are *expected*."""

    lives: int = 100  # seconds of the first access token
    only_requests: bool = False  # fail: nothing is killed or late, and AWS responds

    def initial(self) -> State:
        """Return the state with a connection."""
        world = World()
        for message in FIRST, CONFIRMED:
            _, world = self.alone(world, message, 0)
        [(at, grant)] = kept(world).grants.items()
        connected = {f"grants {at}": grant | {"issued_at": NOW + self.lives - HOUR}}
        queue = tuple(sorted(self.messages))
        return super().initial()._replace(world=put(world, connected)._replace(queue=queue))

    # -------------------------------------------------------------------- moves

    def moves(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield each move that is possible in *state*, and the state after it."""
        for move, after in super().moves(state):
            is_excluded = after.faults < state.faults and move.name not in REQUEST_FAULTS
            if not (self.only_requests and is_excluded):
                yield move, after

    def passing(self, state: State) -> Iterator[tuple[Move, State]]:
        """Mark the processes that time passes; of the late calls, only Qonto's remain."""
        for move, after in super().passing(state):
            note = SLOW if after.faults < state.faults else WAITED
            running = tuple(sorted(it._replace(note=note) for it in state.running))
            late = tuple(it for it in state.late if it.operation == "qonto")
            yield move, after._replace(running=running, late=late)

    def delays(self, state: State, _clock: int) -> int | None:
        """Return the fault of processes that do not wait, and of messages that do."""
        if any(it.note for it in state.running):
            return None
        calls = {self.steps.calls[it.step].operation for it in state.running}
        is_due = any(it.kind is Kind.UNFINISHED for it in self.deliverable(state))
        waiting = {"sleep"} if is_claimed(state.world, state.clock) else set[str]()
        return int(is_due or not calls <= waiting)

    def deliverable(self, state: State) -> list[Arrival]:
        """Return the messages that may arrive: those of a process that waits come after it."""
        has_waited = any(it.note == WAITED for it in state.running)
        found = super().deliverable(state)
        return [it for it in found if not (has_waited and it.kind is Kind.UNFINISHED)]

    def begun(self, state: State) -> Iterator[tuple[Move, State]]:
        """Let a message meet a function that fails at once, and the user withdraw, too."""
        for move, after in super().begun(state):
            assert move.process
            arrival = move.process.arrival
            if arrival.kind is not Kind.WITHDRAWAL:
                yield move, after
            if arrival.kind is Kind.UNFINISHED and after.faults and move.name == "arrives":
                failed = after._replace(faults=after.faults - 1)
                yield Move("arrives, and fails"), self.redelivered(failed, arrival)

    def arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        """Let the user withdraw the permission, too."""
        yield from super().arrivals(state)
        for withdrawal in state.expected:
            if withdrawal.kind is Kind.WITHDRAWAL:
                world = put(state.world, _revoked(kept(state.world)))
                expected = less(state.expected, withdrawal)
                yield Move("withdraws"), state._replace(world=world, expected=expected)

    def began(self, state: State, arrival: Arrival) -> Process:
        """Return a process at its first call, with the token that a caller was refused."""
        rows = kept(state.world)
        if arrival.kind is Kind.REFUSED:
            arrival = arrival._replace(refused=f"at-{max(map(_stored, rows.grants.values()))}")
        if arrival.kind in {Kind.TOKEN, Kind.REFUSED}:
            is_after = _told(rows) == Status.DISCONNECTED
            arrival = arrival._replace(event="after a disconnection" if is_after else "")
        return super().began(state, arrival)

    # -------------------------------------------------------------------- calls

    def _apply(self, world: World, call: Call, attempt: int, clock: int) -> tuple[str, World]:
        if call.operation != "send_message_batch":
            return super()._apply(world, call, attempt, clock)
        entries = json.loads(call.request)["Entries"]
        sent = [
            Arrival(Kind.UNFINISHED, "A", "X", due=clock + each["DelaySeconds"]) for each in entries
        ]
        queue = tuple(sorted((*world.queue, *sent)))
        return json.dumps({"Successful": entries}), world._replace(queue=queue)

    def at_qonto(self, request: dict[str, str], rows: Kept, clock: int) -> tuple[Any, Rows]:
        """Return the status and body of Qonto's response, and the rows that change."""
        if request["method"] == "DELETE":
            is_taken = _is_taken(rows, request["bearer"])
            return ([200, {}], _revoked(rows)) if is_taken else ([401, {}], {})
        if "refresh_token" not in request:
            if rows.tokens and not _takes_any(rows):
                return INVALID_GRANT, {}
            return super().at_qonto(request, rows, clock)
        name = request["refresh_token"]
        token = rows.tokens[name]
        if token.get("revoked"):
            return INVALID_GRANT, {}
        if _is_reuse(token, clock):
            return INVALID_GRANT, _revoked(rows, token["code"])
        result, changed = super().at_qonto(request | {"code": token["code"]}, rows, clock)
        del changed[f"codes {token['code']}"]
        return result, changed | {f"tokens {name}": {"used_at": clock} | token}

    # ----------------------------------------------------------------- problems

    def problems(self, before: State, move: Move, after: State) -> Iterator[StrEnum]:
        """Yield each problem with *move*, and with *after* if no process runs."""
        if move.call and move.call.operation == "qonto" and move.name == "ok":
            yield from self._problems_of_use(before, json.loads(move.call.request))
        if move.ended and move.process:
            response = json.loads(move.ended.request or "null")
            yield from _problems_of_response(move.process.arrival, response or {}, after.world)
        if before.world != after.world:
            yield from _problems_of_rows(kept(before.world), kept(after.world))
        calls = [self.steps.calls[it.step] for it in after.running if it.note != SLOW]
        sent = [it.request for it in calls if "refresh_token" in it.request]
        sent = [request for request in sent if "method" in request]  # to Qonto
        if len(sent) != len(set(sent)):
            yield Problem.PARALLEL
        if not after.running:
            yield from self._problems_at_rest(after)

    def _problems_of_use(self, before: State, request: dict[str, str]) -> Iterator[Problem]:
        rows, name = kept(before.world), request.get("refresh_token", "")
        if not name or not _is_reuse(rows.tokens[name], before.clock):
            return
        calls = [(it.owner, self.steps.calls[it.step].request) for it in before.running]
        for grant in rows.grants.values():
            if grant["status"] == Status.CONNECTED:
                own = [it for owner, it in calls if owner == grant.get("refresh", {}).get("owner")]
                would_be_stored = any("UpdateExpression" in it and "rt-" in it for it in own)
                if would_be_stored or grant["tokens"]["refresh_token"] != name:
                    yield Problem.REUSED

    def _problems_at_rest(self, state: State) -> Iterator[Problem]:
        rows = kept(state.world)
        if not is_claimed(state.world, state.clock):
            yield from self._problems_of_caller(state)
        connection, told = _connection(rows), _told(rows)
        if state.world.queue or connection is None:
            return
        if connection["status"] == Status.DISCONNECTING:
            yield Problem.ENDLESS
        elif told not in {connection["status"], Status.REPUDIATED}:
            yield Problem.UNTOLD
        if connection["status"] == Status.DISCONNECTED and _keeps_any(rows):
            yield Problem.UNREVOKED

    def _problems_of_caller(self, state: State) -> Iterator[Problem]:
        """Yield the problems of a caller that is alone, and has no fault."""
        rows = kept(state.world)
        refused = f"at-{max(map(_stored, rows.grants.values()))}"
        caller = Arrival(Kind.REFUSED, "A", "X", refused=refused)
        end, world = self.alone(state.world, caller, state.clock)
        if end.operation == FAILED:
            yield Problem.STUCK
            return
        response, rows = json.loads(end.request), kept(world)
        connection = _connection(rows)
        is_true = response["status"] == (connection["status"] if connection else "not-connected")
        token = response.get("access_token")
        if not is_true or (token and not _is_taken(rows, token)):
            yield Problem.STUCK
        few = 3 if self.only_requests else 2  # with so many faults, no connection is lost
        if (
            response["status"] == Status.ENDED
            and _takes_any(kept(state.world))
            and self.faults <= few
        ):
            yield Problem.ENDED


def _problems_of_response(arrival: Arrival, response: Row, world: World) -> Iterator[Problem]:
    rows, status = kept(world), response.get("status")
    stored = [it["tokens"]["access_token"] for it in rows.grants.values() if "tokens" in it]
    is_request = arrival.kind is Kind.DISCONNECT
    if status == Status.CONNECTED:
        if response["access_token"] not in stored:
            yield Problem.OLD
        if arrival.event or is_request:
            yield Problem.DISCONNECTED
    if status == Status.DISCONNECTED and is_request and (stored or _keeps_any(rows)):
        yield Problem.DISCONNECTED


def _problems_of_rows(old: Kept, new: Kept) -> Iterator[Problem]:
    for name, grant in new.grants.items():
        if 0 < _stored(grant) < _stored(old.grants.get(name, {})):
            yield Problem.OLD
        if "tokens" in grant and grant["status"] not in OPEN:
            yield Problem.DISCONNECTED
        was_ending = old.grants.get(name, grant)["status"] in ENDING
        if was_ending and grant["status"] not in ENDING | {Status.REPUDIATED}:
            yield Problem.REOPENED
    is_final = _told(old) in {Status.DISCONNECTED, Status.REPUDIATED}
    if is_final and _told(new) not in {_told(old), Status.REPUDIATED}:
        yield Problem.REOPENED


def _stored(grant: Row) -> int:
    """Return the number of the tokens in *grant*, 0 if it has none."""
    return int(grant["tokens"]["access_token"].removeprefix("at-")) if "tokens" in grant else 0


def _is_reuse(token: Row, clock: int) -> bool:
    return clock - token.get("used_at", clock) > GRACE and "revoked" not in token


def _connection(rows: Kept) -> Row | None:
    found = [it for it in rows.grants.values() if it["status"] in CONNECTIONS]
    order = "tokens", "is_revoked"
    return max(
        found, key=lambda it: (*(name in it for name in order), it["event_id"]), default=None
    )


def _told(rows: Kept) -> str:
    return str(rows.connections[FIRST.key]["status"])


def _is_taken(rows: Kept, access_token: str) -> bool:
    """Tell whether Qonto takes *access_token*: each refresh ends the one before."""
    return not rows.tokens[access_token.replace("at", "rt")].keys() & {"used_at", "revoked"}


def _takes_any(rows: Kept) -> bool:
    return any("revoked" not in it for it in rows.tokens.values())


def _keeps_any(rows: Kept) -> bool:
    """Tell whether Qonto takes tokens, and no repudiation has dropped them."""
    statuses = [it["status"] for it in rows.grants.values()]
    return _takes_any(rows) and Status.REPUDIATED not in statuses


def _revoked(rows: Kept, code: str = "") -> Rows:
    """Return the tokens of *code*, or all tokens, as revoked."""
    revoked = {name: it for name, it in rows.tokens.items() if code in {"", it["code"]}}
    return {f"tokens {name}": it | {"revoked": True} for name, it in revoked.items()}
