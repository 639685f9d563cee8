"""An exhaustive model of the example subscriber and the example app, with their real code.

Browsers come back to the app, and messages are delivered. A message is delivered once more while it
is handled or afterwards (one fault), and again after its handling failed. Qonto responds with
tokens; or it refuses, or cannot be reached (one fault each). A process that long time passes is
slow (one fault), and Lambda ends it before a second time.

The model leaves out: the client secret and the organisation's name (a fault there is one of the
next call), scopes, foreign events, `RequireConfirmation=false`, the TTL, the dead-letter queue, and
more messages, faults and parallel processes than a test gives it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import count
from typing import Any, NamedTuple, Self

from examples.app.contexts import sha256
from subscriber.access_tokens import WAIT
from subscriber.grants import LONGEST_RUN, REFRESHING, Status
from tests.model import dynamodb
from tests.model.example import (
    AUTHORIZATIONS,
    BROWSERS,
    CODE_LIFETIME,
    HOUR,
    NOT_SENT,
    NOW,
    REFUSED,
    REQUESTS,
    Arrival,
    Code,
    Kind,
)
from tests.model.flow import (
    READS,
    Exploration,
    Model,
    Move,
    Process,
    State,
    World,
    less,
    plus,
    put,
    without,
)
from tests.model.steps import FAILED, NO_RESPONSE, Call, Outside
from tests.support.subscription import SCOPE

dynamodb.KEYS |= {"grants": ["authorization_id", "event_id"]}
dynamodb.KEYS |= {"connections": ["authorization_id", "context"]}
SHORT = 15  # seconds, which a process may take without being slow
REDELIVERY = 60  # seconds until a message about something unfinished comes again
# Calls of the app's own store, and the wait for another function, have no fault.
FAULTLESS = READS | {"asked", "use", "repudiate context", "set confirmed", "sleep"}
SECRETS = {Status.HELD, Status.EXCHANGING, Status.CONNECTED}  # the item has a code or tokens


class Problem(StrEnum):
    """A move that must not be possible, or a state in which everything is handled."""

    TWICE = "Qonto receives a code twice"
    UNCONFIRMED = "a code is exchanged that no right session confirmed"
    CONTEXT_TWICE = "two authorizations of one context are confirmed"
    CHANGED = "a claim or its result is changed by a process that may not"
    NO_TOKENS = "the app reads connected, and there are no tokens"
    LATE = "a late repudiation removes a connection"
    STUCK = "a message that is handled alone, without a fault, fails"
    REPUDIATED = "another browser came back; in the end there is a code, tokens or a connection"
    TWO_GRANTS = "in the end, an authorization has the tokens of two codes"
    UNTOLD = "in the end there are tokens, and the app does not read connected"
    UNSENT = "in the end, a confirmed code that is alive was not sent, and no process failed"


type Row = dict[str, Any]
type Rows = dict[str, Row]


class Kept(NamedTuple):
    """The rows of each table, by their keys, and what Qonto knows of codes and tokens."""

    grants: Rows
    locks: Rows  # of codes
    connections: Rows
    contexts: Rows
    codes: Rows
    tokens: Rows


@lru_cache(100_000)  # a model has more worlds than fit into memory
def kept(world: World) -> Kept:
    """Return the rows of *world*."""
    found: dict[str, Rows] = {name: {} for name in Kept._fields}
    for at, text in world.items:
        table, key = at.split(" ", 1)
        found["locks" if key.startswith("code.") else table][key] = json.loads(text)
    return Kept(**found)


def is_claimed(world: World, clock: int) -> bool:
    """Tell whether a process may be refreshing tokens."""
    claims = [it.get("refresh", {}).get("claimed_at", 0) for it in kept(world).grants.values()]
    return bool(max(claims, default=0) >= NOW + clock - REFRESHING)


@dataclass(frozen=True)
class SubscriberModel(Model):
    """The moves of *messages*, and of browsers, which are *expected*.

    A broken variant has *edits* of the subscriber's code, or *app_edits*.
    """

    messages: tuple[Arrival, ...] = ()
    parallel: int = 2  # processes at most
    edits: Mapping[str, str] = field(default_factory=dict)
    app_edits: Mapping[str, str] = field(default_factory=dict)
    choices = {"owner": '"alone"', "sleep": str(WAIT)}  # noqa: RUF012 - a constant

    def edited(self, code: Mapping[str, str] = {}, app: Mapping[str, str] = {}) -> Self:
        """Return a broken variant."""
        return replace(self, edits=code, app_edits=app)

    @cached_property
    def code(self) -> Code:
        """The code that the processes run."""
        return Code(self.edits, self.app_edits)

    def run(self, arrival: Arrival, outside: Outside) -> Row | None:
        """Handle *arrival*."""
        return self.code.run(arrival, outside)

    def explore(self, sought: Collection[StrEnum]) -> Exploration:
        """Visit all states, or stop at the first *sought* problem."""
        with self.code.ready():
            return super().explore(sought)

    # -------------------------------------------------------------------- moves

    def initial(self) -> State:
        """Return the state in which the messages wait."""
        refused = frozenset(it.key for it in self.messages if it.kind is Kind.REPUDIATION)
        world = World(queue=tuple(sorted(self.messages)))
        return super().initial()._replace(world=world, notes=refused)

    def passing(self, state: State) -> Iterator[tuple[Move, State]]:
        """Note the processes that time passes."""
        for move, after in super().passing(state):
            running = tuple(sorted(it._replace(note="passed") for it in state.running))
            is_slow = after.faults < state.faults
            yield move, (_failed(after) if is_slow else after)._replace(running=running)

    def delays(self, state: State, clock: int) -> int | None:
        """Slow processes take a fault, and no process is slow twice."""
        if any(it.note for it in state.running):
            return None
        return int(bool(state.running) and clock - state.clock > SHORT)

    def arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield what may arrive, as long as not too many processes run."""
        for begun, after in self.begun(state) if len(state.running) < self.parallel else ():
            if begun.process is None:
                yield begun, after
                continue
            process = begun.process
            move, started = self.going_on(begun, after, process)
            arrival = process.arrival
            is_own = arrival.kind is Kind.CONFIRMATION and arrival in self.messages
            if is_own or arrival.kind is Kind.RIGHT:
                started = started._replace(notes=started.notes | {_confirmed(arrival.key)})
            yield move, started

    def begun(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield the arrivals of browsers, and of messages, which may come twice."""
        for arrival in dict.fromkeys(state.expected):
            after = state._replace(expected=less(state.expected, arrival))
            yield Move("arrives", self.began(state, arrival)), after
        for message in self.deliverable(state):
            process = self.began(state, message)
            queue = less(state.world.queue, message)
            taken = state._replace(world=state.world._replace(queue=queue))
            yield Move("arrives", process), taken
            if state.faults:
                twice = state._replace(faults=state.faults - 1)
                yield Move("arrives, and will again", process), twice

    def deliverable(self, state: State) -> list[Arrival]:
        """Return the messages that may arrive now."""
        return [it for it in dict.fromkeys(state.world.queue) if it.due <= state.clock]

    def began(self, state: State, arrival: Arrival) -> Process:
        """Return a process at its first call, but after a read, which is a part of its arrival."""
        process = super().began(state, arrival)
        call = self.steps.calls[process.step]
        if call.operation in READS:
            result, _ = self.apply(state.world, call, 1, state.clock)
            process = process._replace(step=self.steps.next(process.step, state.clock, result))
        return process

    def named(self, state: State, process: Process) -> Process:
        """Return *process* with names of its own for its claims."""
        while self.steps.calls[process.step].operation == "owner":
            used = f"{state.world.items}{state.late}{[it.owner for it in state.running]}"
            owner = next(each for each in map("owner-{}".format, count(1)) if each not in used)
            step = self.steps.next(process.step, state.clock, json.dumps(owner))
            process = process._replace(step=step, owner=owner)
        return process

    def attempts(self, state: State, process: Process, call: Call) -> Iterator[tuple[Move, State]]:
        """Yield what can happen to an attempt of *call*, of which a request to Qonto has one."""
        if call.operation in FAULTLESS:
            state, faults = state._replace(faults=0), state.faults
            for move, after in super().attempts(state, process, call):
                yield move, after._replace(faults=faults)
            return
        if call.operation != "qonto":
            yield from super().attempts(state, process, call)
            return
        result, world = self.apply(state.world, call, 1, state.clock)
        yield self.continued("ok", state._replace(world=world), process, result)
        if not state.faults:
            return
        faulty = _failed(state._replace(faults=state.faults - 1))
        lost = faulty._replace(late=plus(state.late, call))
        killed = Move("killed", process, call)
        yield killed, self.stopped(killed, without(lost, process))
        yield self.continued(NO_RESPONSE, lost, process, json.dumps(NO_RESPONSE))
        yield self.continued(NOT_SENT, faulty, process, json.dumps(NOT_SENT))
        refused = faulty._replace(world=world) if "code" in json.loads(call.request) else faulty
        yield self.continued(REFUSED, refused, process, json.dumps(REFUSED))

    def stopped(self, move: Move, after: State, result: str = "") -> State:
        """Return the state *after* a process ended with *result*, or was killed."""
        assert move.process
        arrival = move.process.arrival
        if move.ended is None or result == NO_RESPONSE:
            after = _failed(after)
        if move.ended is None or move.ended.operation == FAILED:
            return self.redelivered(after, arrival)
        if arrival.kind is Kind.OTHER and after.clock < HOUR:
            return after._replace(notes=after.notes | {arrival.key})
        return after

    def redelivered(self, state: State, message: Arrival) -> State:
        """Return *state* with *message* in the queue again, if it is one."""
        if message.kind is Kind.UNFINISHED:
            message = message._replace(due=state.clock + REDELIVERY)
        elif message.kind in BROWSERS | REQUESTS or message in state.world.queue:
            return state
        return state._replace(world=state.world._replace(queue=plus(state.world.queue, message)))

    # -------------------------------------------------------------------- calls

    def _apply(self, world: World, call: Call, attempt: int, clock: int) -> tuple[str, World]:
        request = json.loads(call.request)
        row = kept(world).contexts.get(request.get("context", ""), {})
        match call.operation:
            case "sleep":  # until the claim is over, or in vain
                return json.dumps(WAIT * is_claimed(world, clock)), world
            case "qonto":
                result, rows = self.at_qonto(request, kept(world), clock)
                return json.dumps(result), put(world, rows)
            case "send_message":
                body = json.loads(request["MessageBody"])
                kind = Kind.REPUDIATION if "repudiated" in body else Kind.CONFIRMATION
                names = {each: name for name, each in AUTHORIZATIONS.items()}
                message = Arrival(kind, names[body["authorization_id"]], body["context"])
                return "{}", world._replace(queue=plus(world.queue, message))
            case "asked":  # the code does not read whether the context is repudiated
                return json.dumps(row), world
            case "use":
                own = request["authorization_id"]
                if row.get("repudiated") or row.get("authorization_id", own) != own:
                    return "false", world
                row |= {"authorization_id": own}
            case "repudiate context":
                row |= {"repudiated": True}
            case "set confirmed":
                row |= {"confirmed": True}
            case _:
                return super()._apply(world, call, attempt, clock)
        return "true", put(world, {f"contexts {request['context']}": row})

    def at_qonto(self, request: dict[str, str], rows: Kept, _clock: int) -> tuple[Any, Rows]:
        """Return the status and body of Qonto's response, and the rows that change."""
        code, number = request["code"], len(rows.tokens) + 1
        received = rows.codes.get(code, {"received": 0})["received"] + 1
        tokens = {"access_token": f"at-{number}", "refresh_token": f"rt-{number}", "scope": SCOPE}
        changed = {f"codes {code}": {"received": received}, f"tokens rt-{number}": {"code": code}}
        return [200, tokens | {"expires_in": HOUR}], changed

    # ----------------------------------------------------------------- problems

    def problems(self, before: State, move: Move, after: State) -> Iterator[StrEnum]:
        """Yield each problem with *move*, and with *after* if the model may end there."""
        old, new = kept(before.world), kept(after.world)
        if any(it["received"] > 1 for it in new.codes.values()):
            yield Problem.TWICE
        if move.call and (new.grants, new.connections) != (old.grants, old.connections):
            yield from self._problems_of_tables(old, move.call, new, after.notes)
        if after.running:
            return
        over = after.clock + LONGEST_RUN + 1  # when no claim has an owner
        ends = [self.alone(after.world, it, over)[0] for it in self.deliverable(after)]
        if any(end.operation == FAILED for end in ends):
            yield Problem.STUCK
        if not after.world.queue:
            yield from self._problems_at_end(after)

    def _problems_of_tables(
        self, old: Kept, call: Call, new: Kept, notes: frozenset[str]
    ) -> Iterator[Problem]:
        for name, grant in old.grants.items():
            if new.grants[name] != grant and not _may(grant, new.grants[name]["status"], call):
                yield Problem.CHANGED
        for grant in new.grants.values():
            if grant["status"] == Status.EXCHANGING and _confirmed(_key(grant)) not in notes:
                yield Problem.UNCONFIRMED
        connected = {_key(it) for it in new.grants.values() if it["status"] == Status.CONNECTED}
        if _told(new) - connected:
            yield Problem.NO_TOKENS
        arrivals = (*self.messages, *self.expected)
        repudiated = {it.key for it in arrivals if it.kind in {Kind.REPUDIATION, Kind.OTHER}}
        if _told(old) - _told(new) - repudiated:
            yield Problem.LATE
        rows = [it for it in new.connections.values() if it["status"] != Status.REPUDIATED]
        if len(rows) != len({it["context"] for it in rows}):
            yield Problem.CONTEXT_TWICE

    def _problems_at_end(self, state: State) -> Iterator[Problem]:
        rows = kept(state.world)
        told, grants = _told(rows), rows.grants.values()
        connected = [it for it in grants if it["status"] == Status.CONNECTED]
        if len(connected) != len({it["authorization_id"] for it in connected}):
            yield Problem.TWO_GRANTS
        if state.notes & (told | {_key(it) for it in grants if it["status"] in SECRETS}):
            yield Problem.REPUDIATED
        if not {_key(it) for it in connected} <= told:
            yield Problem.UNTOLD
        codes = {it.event: it.code for it in self.messages}
        unconfirmed = {"status": Status.REPUDIATED}
        for grant in grants:
            code, event = (
                codes[grant["event_id"]],
                f"{grant['authorization_id']}/{grant['event_id']}",
            )
            lock = rows.locks.get(f"code.{sha256(code)} lock", {"locked_by": event})
            is_alive = state.clock < CODE_LIFETIME and code not in rows.codes
            is_lost = grant["status"] in {Status.FAILED, Status.LOST} and FAILED not in state.notes
            is_unsent = is_alive and (grant["status"] == Status.HELD or is_lost)
            connection = rows.connections.get(_key(grant), unconfirmed)
            if (
                is_unsent
                and lock["locked_by"] == event
                and connection["status"] != Status.REPUDIATED
            ):
                yield Problem.UNSENT


def _key(grant: Row) -> str:
    return f"{grant['authorization_id']} {grant['context']}"


def _confirmed(key: str) -> str:
    return f"confirmed {key}"


def _told(rows: Kept) -> set[str]:
    """Return the keys of the connections of which the app reads that they are connected."""
    return {key for key, it in rows.connections.items() if it["status"] == Status.CONNECTED}


def _may(grant: Row, status: str, call: Call) -> bool:
    """Tell whether *call* may give *grant* a *status*."""
    if status == Status.REPUDIATED or grant["status"] == Status.HELD:
        return True
    if grant["status"] == Status.CONNECTED:
        return status == Status.SUPERSEDED
    return grant["status"] == Status.EXCHANGING and grant["owner"] in call.request


def _failed(state: State) -> State:
    return state._replace(notes=state.notes | {FAILED})
