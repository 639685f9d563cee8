"""An exhaustive model of refreshes and disconnections, beside the subscriber that it extends.

An authorization is connected. The app asks for tokens and ends the connection, the user withdraws
the permission at Qonto, a repudiation or a later code comes, all in any order and at once:

- Time passes in periods of a claim's life. It passes while processes wait for a claim. Any other
  process that it passes is slow, and a message that has arrived is late (one fault). No process
  sees it pass twice, because AWS kills it before.
- Qonto takes a refresh token during its grace. It then treats a use as theft, and revokes all
  tokens of the code. After the revocation it refuses to exchange a code.
- AWS applies a write without a response in the same period or never. A request to Qonto is not
  sent, is refused for another reason, or its response is lost (one fault each). **Assumption:**
  Qonto receives each request with a refresh token during the token's grace, or never.
- A message is delivered twice, or to a function that fails at once (one fault each).

The model leaves out what `subscriber_flow.py` leaves out, connections without a refresh token, and
revocations that Qonto refuses because of their scopes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from subscriber.grants import CONNECTIONS, REFRESHING, Status
from tests.model.steps import Arrival, Call, Grant, Kind, Refresh
from tests.model.subscriber_code import NEAR
from tests.model.subscriber_flow import OPEN, Connection, Model, Move, Process, State, World

# In periods of a claim's life. In seconds, it is 60; after a period, a claim's reminder arrives.
GRACE = -(-60 // (REFRESHING + 2))
UNUSED, REVOKED = -1, 9  # instead of the number of periods since the first use
FIRST = Arrival(Kind.EVENT, "A", "X", "1", "1")
REQUEST_FAULTS = {"no response", "not sent", "refused"}


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
class TokensModel(Model):
    """The moves of *messages* and of callers, the *browsers*."""

    tokens: int = NEAR  # that are stored at first
    only_requests: bool = False  # fail: nothing is killed or late, and AWS responds
    grace: int = GRACE
    reminders: tuple[str, ...] = ("1", "2")

    def initial(self) -> State:
        """Return the state with a connection."""
        grant = Grant(FIRST, Status.CONNECTED, tokens=self.tokens)
        world = World(
            tuple(sorted(self.messages)),
            grants=(("1", grant),),
            connections=((FIRST.key, Connection(Status.CONNECTED, "1")),),
            issued=(*(("1", REVOKED),) * (self.tokens - 1), ("1", UNUSED)),
        )
        return State(world, tuple(sorted(self.browsers)), self.faults)

    # -------------------------------------------------------------------- moves

    def moves(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield each move that is possible in *state*, and the state after it."""
        for move, after in super().moves(state):
            is_excluded = after.faults < state.faults and move.name not in REQUEST_FAULTS
            if not (self.only_requests and is_excluded):
                yield move, after

    def _passing(self, state: State) -> Iterator[tuple[Move, State]]:
        if any(it.age for it in state.running):
            return
        world, age, faults = state.world, 1, state.faults
        waiting = {"waited?"} if _is_claimed(world) else set()
        is_waiting = {self.steps.calls[it.step].name for it in state.running} <= waiting
        if not is_waiting or any(it.kind is Kind.UNFINISHED for it in self._deliverable(state)):
            age, faults = 2, faults - 1
        if faults < 0:
            return
        world = world._replace(
            queue=tuple(sorted(map(_nearer, world.queue))),
            grants=tuple((key, _with_claim_over(it)) for key, it in world.grants),
            issued=tuple(
                (event, use if use in {UNUSED, REVOKED} else min(use + 1, self.grace))
                for event, use in world.issued
            ),
        )
        running = tuple(sorted(it._replace(age=age) for it in state.running))
        # Of the late calls, only the refreshes remain.
        late = tuple(it for it in state.late if it.name in {"refresh", "revoke"})
        after = state._replace(running=running, late=late, faults=faults, world=world)
        yield Move("time passes"), after

    def _choices(self, state: State, process: Process, call: Call) -> dict[object, int]:
        grant = dict(state.world.grants).get(call.about.event, Grant(call.about, Status.HELD))
        match call.name:
            case "waited?" if not grant.is_claimed:  # the next attempt has the claim
                return {False: 0}
            case "waited?" | "lives?":
                return {False: 0, True: 0}
            case "remind" if process.arrival.kind is Kind.UNFINISHED:
                return {None: 0}  # the message that is handled comes again
            case "refresh" if grant.refresh not in {None, Refresh(process.owner)}:
                return {"too late": 0}
        return super()._choices(state, process, call)

    def _responded(self, state: State, process: Process, call: Call) -> State:
        world, wrong = state.world, set()
        is_request = process.arrival.kind is Kind.DISCONNECT
        if call.value == Status.CONNECTED:
            if all(it.tokens != call.tokens for _, it in world.grants):
                wrong.add(Problem.OLD)
            if process.starts_after or is_request:
                wrong.add(Problem.DISCONNECTED)
        is_kept = _keeps_any(world) or any(it.tokens for _, it in world.grants)
        if call.value == Status.DISCONNECTED and is_request and is_kept:
            wrong.add(Problem.DISCONNECTED)
        return state._replace(wrong=frozenset(wrong))

    # -------------------------------------------------------------------- calls

    def _apply(self, world: World, call: Call) -> tuple[Any, World]:
        match call.name:
            case "access token":
                return max(it.tokens for _, it in world.grants), world
            case "connection" | "connection again":
                return _connection(world), world
            case "remind":
                sent = (Arrival(Kind.UNFINISHED, "A", "X", wait) for wait in self.reminders)
                return None, world._replace(queue=tuple(sorted((*world.queue, *sent))))
            case "withdraw":
                return None, _revoked(world)
            case "revoke" if world.issued[call.tokens - 1][1] != UNUSED:
                return "unauthorized", world
            case "revoke":
                return "revoked", _revoked(world)
            case "refresh":
                return self._apply_refresh(world, call)
            case "exchange" if not _takes_any(world):
                return "refused", world
            case "exchange":
                result, world = super()._apply(world, call)
                issued = *world.issued, (call.about.event, UNUSED)
                return result, world._replace(issued=issued)
        return super()._apply(world, call)

    def _apply_refresh(self, world: World, call: Call) -> tuple[Any, World]:
        event, use = world.issued[call.tokens - 1]
        if use == REVOKED:
            return "invalid_grant", world
        issued = list(world.issued)
        if use == self.grace:
            issued = [(other, REVOKED if other == event else it) for other, it in issued]
            return "invalid_grant", world._replace(issued=tuple(issued))
        issued[call.tokens - 1] = event, max(use, 0)
        return len(issued) + 1, world._replace(issued=(*issued, (event, UNUSED)))

    def _updated(self, world: World, call: Call, grant: Grant) -> tuple[bool, Grant]:
        is_owner = grant.refresher == call.owner
        match call.name:
            case "claim refresh":
                is_as_read = call.value == str(grant.refresher)
                may = is_as_read or self.without == "comparison of claim refresh"
                may = may and not grant.is_claimed and grant.tokens == call.tokens
                return may, grant._replace(refresh=Refresh(call.owner))
            case "renew":
                return is_owner, grant._replace(refresh=None, tokens=call.tokens)
            case "release refresh":
                refresh = None if call.value else Refresh(0, is_over=True)
                return is_owner, grant._replace(refresh=refresh)
            case "end":
                may = grant.status is Status.CONNECTED and grant.tokens == call.tokens
                return may and (is_owner or not call.owner), Grant(grant.event, Status.ENDED)
        may, after = super()._updated(world, call, grant)
        if call.name == "connect":
            event = grant.event.event
            own = [tokens for tokens, it in enumerate(world.issued, 1) if it[0] == event]
            after = after._replace(tokens=own[-1] if own else 0)
        return may, after

    # ----------------------------------------------------------------- problems

    def problems(self, before: State, move: Move, after: State) -> Iterator[StrEnum]:
        """Yield each problem with *move*, and with *after* if no process runs."""
        yield from after.wrong
        if move.call and move.call.name == "refresh" and move.name == "invalid_grant":
            yield from self._problems_of_use(before, move.call)
        if before.world != after.world:
            yield from _problems_of_tables(before.world, after.world)
        calls = [self.steps.calls[it.step] for it in after.running if it.age < 2]  # 2: outlived
        sent = [it.tokens for it in calls if it.name == "refresh"]
        if len(sent) != len(set(sent)):
            yield Problem.PARALLEL
        if not after.running:
            yield from self._problems_at_rest(after)

    def _problems_of_use(self, before: State, call: Call) -> Iterator[Problem]:
        event, use = before.world.issued[call.tokens - 1]
        grant = dict(before.world.grants)[event]
        if use == REVOKED or grant.status is not Status.CONNECTED:
            return
        calls = [self.steps.calls[it.step] for it in before.running]
        would_be_stored = any(it.name == "renew" and it.owner == grant.refresher for it in calls)
        if grant.tokens != call.tokens or would_be_stored:
            yield Problem.REUSED

    def _problems_at_rest(self, state: State) -> Iterator[Problem]:
        if not _is_claimed(state.world):
            yield from self._problems_of_caller(state)
        connection, told = _connection(state.world), _told(state.world)
        if state.world.queue or connection is None:
            return
        if connection.status is Status.DISCONNECTING:
            yield Problem.ENDLESS
        elif told not in {connection.status, Status.REPUDIATED}:
            yield Problem.UNTOLD
        if connection.status is Status.DISCONNECTED and _keeps_any(state.world):
            yield Problem.UNREVOKED

    def _problems_of_caller(self, state: State) -> Iterator[Problem]:
        """Yield the problems of a caller that is alone, and has no fault."""
        call, world = self._alone(state, Arrival(Kind.REFUSED, "A", "X"))
        connection = _connection(world)
        is_true = call.value == (connection.status if connection else "not-connected")
        if not is_true or (call.tokens and world.issued[call.tokens - 1][1] != UNUSED):
            yield Problem.STUCK
        few = 3 if self.only_requests else 2  # with so many faults, no connection is lost
        if call.value == Status.ENDED and _takes_any(state.world) and self.faults <= few:
            yield Problem.ENDED


def _problems_of_tables(old: World, new: World) -> Iterator[Problem]:
    before = dict(old.grants)
    for name, grant in new.grants:
        was = before.get(name, grant)
        if 0 < grant.tokens < was.tokens:
            yield Problem.OLD
        if grant.tokens and grant.status not in OPEN:
            yield Problem.DISCONNECTED
    is_final = _told(old) in {Status.DISCONNECTED, Status.REPUDIATED}
    if is_final and _told(new) not in {_told(old), Status.REPUDIATED}:
        yield Problem.REOPENED


def _is_claimed(world: World) -> bool:
    return any(it.is_claimed for _, it in world.grants)


def _connection(world: World) -> Grant | None:
    found = [it for _, it in world.grants if it.status in CONNECTIONS]
    return max(found, key=lambda it: (it.tokens != 0, it.event), default=None)


def _told(world: World) -> str:
    return dict(world.connections)[FIRST.key].status


def _takes_any(world: World) -> bool:
    return any(use != REVOKED for _, use in world.issued)


def _keeps_any(world: World) -> bool:
    """Tell whether Qonto takes tokens, and no repudiation has dropped them."""
    return _takes_any(world) and all(it.status != Status.REPUDIATED for _, it in world.grants)


def _revoked(world: World) -> World:
    return world._replace(issued=tuple((event, REVOKED) for event, _ in world.issued))


def _with_claim_over(grant: Grant) -> Grant:
    return grant._replace(refresh=grant.refresh and grant.refresh._replace(is_over=True))


def _nearer(message: Arrival) -> Arrival:
    if message.kind is not Kind.UNFINISHED:
        return message
    return message._replace(event=str(max(0, int(message.event) - 1)))
