"""An exhaustive model of the example subscriber and the example app.

`Model.explore` visits every state that the moves reach in any order, and checks each move:

- Browsers come back to the app, and messages are delivered. A message is delivered once more while
  it is handled or afterwards (one fault), and again after its handling failed.
- An attempt of a write succeeds, or its response is lost (one fault). The client then repeats it,
  or the process ends: the call failed, or the process was killed before or after it. AWS applies a
  write without a response at once, at any later instant, or never. So does Qonto.
- Qonto responds with tokens. Or it refuses, or cannot be reached (one fault each).
- Time passes: the codes expire, then the hour of a repudiation is over. No process sees both. A
  claim is old if its process has ended, or outlived its limit (one fault).

The code of the processes is in `subscriber_code.py`. The model leaves out: the client secret and
the organisation's name (a fault there is one of the next call), scopes, foreign events,
`RequireConfirmation=false`, the TTL, the dead-letter queue, and more messages, faults and parallel
processes than a test gives it.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property
from itertools import count
from typing import Any, NamedTuple

from subscriber.grants import Status
from tests.model.exploration import Exploration, explore, less, plus
from tests.model.steps import Arrival, Call, Grant, Kind, Steps, edited
from tests.model.subscriber_code import handle

FRESH, EXPIRED, HOUR_OVER = range(3)  # the clock: of the codes, and of repudiations
MESSAGES = {Kind.EVENT, Kind.CONFIRMATION, Kind.REPUDIATION, Kind.LATE}
REDELIVERY = "3"  # periods until a message about something unfinished comes again
CONFIRMING = {Kind.CONFIRMATION, Kind.RIGHT}
OPEN = {Status.CONNECTED, Status.DISCONNECTING}  # the tokens are in the item
NOT_OPEN = {*Status} - OPEN - {Status.DISCONNECTED, Status.REPUDIATED}
# These take no time of their own. The first reads of a request are a part of its arrival.
AT_ONCE = {"expired?", "owner", "respond", "access token", "connection", "withdraw"}
AT_QONTO = {"exchange", "refresh", "revoke"}
# A process that is killed here leaves the same as one that is killed at the write before.
NO_FAULT = {"read", "query", "connection again", "status", "expired?", "asked", "use"}
NO_FAULT |= {"repudiate context", "set confirmed"}
# The updates of a grant: the status before, whether the owner alone may do it, the status after.
UPDATES = {
    "claim": ({Status.HELD}, False, Status.EXCHANGING),
    "release": ({Status.EXCHANGING}, True, Status.HELD),
    "connect": ({Status.EXCHANGING}, True, Status.CONNECTED),
    "fail": ({Status.EXCHANGING}, True, Status.FAILED),
    "lose": ({Status.EXCHANGING}, True, Status.LOST),
    "refuse": ({Status.HELD}, False, Status.FAILED),
    "supersede": ({Status.HELD, Status.CONNECTED}, False, Status.SUPERSEDED),
    "repudiate": (set(Status), False, Status.REPUDIATED),
    "disconnect others": (NOT_OPEN, False, Status.DISCONNECTED),
    "disconnect connected": ({Status.CONNECTED}, False, Status.DISCONNECTING),
    "set disconnected": ({Status.DISCONNECTING}, False, Status.DISCONNECTED),
}


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


class Connection(NamedTuple):
    """What the app reads; *event* is the one that was told last."""

    status: str
    event: str = ""


class Context(NamedTuple):
    """The app's row of a context."""

    authorization: str = ""
    confirmed: bool = False
    repudiated: bool = False


type Rows[V] = tuple[tuple[str, V], ...]


class World(NamedTuple):
    """The subscriber's queue and tables, the app's store, and what Qonto knows."""

    queue: tuple[Arrival, ...]
    grants: Rows[Grant] = ()
    locks: Rows[str] = ()
    connections: Rows[Connection] = ()
    contexts: Rows[Context] = ()
    exchanged: tuple[str, ...] = ()  # each code as often as Qonto received it
    issued: tuple[tuple[str, int], ...] = ()  # for `tokens_flow.py`: of which event, how old

    def put(self, table: str, key: str, row: object) -> "World":
        """Return the world with *row* in *table*."""
        rows = dict(getattr(self, table)) | {key: row}
        return World(**(self._asdict() | {table: tuple(sorted(rows.items()))}))


class Process(NamedTuple):
    """A process that handles *arrival* and is at a *step* of the code."""

    arrival: Arrival
    step: int
    owner: int = 0  # of its claim
    # For `tokens_flow.py`: time passed while it waited (1) or was slow (2); it started when the app
    # read that the connection is disconnected.
    age: int = 0
    starts_after: bool = False


class State(NamedTuple):
    """All that can differ between two moments. Its tuples are sorted, so that equal states meet."""

    world: World
    expected: tuple[Arrival, ...]  # browsers that come back
    faults: int  # that may still happen
    clock: int = FRESH
    running: tuple[Process, ...] = ()
    late: tuple[Call, ...] = ()  # writes without a response that may yet be applied
    refused: frozenset[str] = frozenset()  # keys with which another browser came back
    has_failed: bool = False  # a process ended by a fault
    wrong: frozenset[StrEnum] = frozenset()  # for `tokens_flow.py`: problems of responses


class Move(NamedTuple):
    """What happens next: to a process that handles *arrival*, at its *call*."""

    name: str
    arrival: Arrival | None = None
    call: Call | None = None


@dataclass(frozen=True)
class Model:
    """The moves of *messages* and *browsers*, with at most *faults*.

    A broken variant has *edits* of the code, or is *without* a condition of a call.
    """

    messages: tuple[Arrival, ...]
    browsers: tuple[Arrival, ...]
    faults: int
    last: int = FRESH  # the clock stops there
    parallel: int = 2  # processes at most
    without: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def steps(self) -> Steps:
        """The code that the processes run."""
        return Steps(edited(handle, self.edits))

    @cached_property
    def apply(self) -> Callable[[World, Call], tuple[Any, World]]:
        """The result of a call, and the world after it."""
        return cache(self._apply)

    def initial(self) -> State:
        """Return the state before anything has happened."""
        world, expected = World(tuple(sorted(self.messages))), tuple(sorted(self.browsers))
        refused = frozenset(it.key for it in self.messages if it.kind is Kind.REPUDIATION)
        return State(world, expected, self.faults, refused=refused)

    def explore(self, sought: Collection[StrEnum]) -> Exploration[State, Move]:
        """Visit all states, or stop at the first *sought* problem."""
        return explore(self.initial(), self.moves, self.problems, sought)

    # -------------------------------------------------------------------- moves

    def moves(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield each move that is possible in *state*, and the state after it."""
        yield from self._passing(state)
        for write in dict.fromkeys(state.late):
            _, world = self.apply(state.world, write)
            if world != state.world:
                after = state._replace(world=world, late=less(state.late, write))
                yield Move("arrives late", call=write), after
        if len(state.running) < self.parallel:
            yield from self._arrivals(state)
        for process in dict.fromkeys(state.running):
            call = self.steps.calls[process.step]
            for name, after in self._attempt(state, process, call):
                yield Move(name, process.arrival, call), after

    def _passing(self, state: State) -> Iterator[tuple[Move, State]]:
        if state.clock < self.last and not (state.running and state.clock == EXPIRED):
            late = state.late if state.clock == FRESH else ()
            yield Move("time passes"), state._replace(clock=state.clock + 1, late=late)

    def _arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        for browser in dict.fromkeys(state.expected):
            after = state._replace(expected=less(state.expected, browser))
            yield Move("comes back", browser), self._started(after, browser)
        for message in self._deliverable(state):
            world = state.world._replace(queue=less(state.world.queue, message))
            yield Move("arrives", message), self._started(state._replace(world=world), message)
            if state.faults:
                again = state._replace(faults=state.faults - 1)
                yield Move("arrives, and will again", message), self._started(again, message)
                if message.kind is Kind.UNFINISHED:
                    after = again._replace(world=world)
                    yield Move("arrives, and fails", message), self._redelivered(after, message)

    def _deliverable(self, state: State) -> list[Arrival]:
        # A process that waited while time passed has ended before the messages that it sent come.
        due = "" if any(it.age == 1 for it in state.running) else "0"
        dues = {Kind.LATE: "" if state.clock == HOUR_OVER else None, Kind.UNFINISHED: due}
        queue = dict.fromkeys(state.world.queue)
        return [it for it in queue if it.event == dues.get(it.kind, it.event)]

    def _started(self, state: State, arrival: Arrival) -> State:
        told = dict(state.world.connections).get(arrival.key, Connection("")).status
        starts_after = arrival.kind in {Kind.TOKEN, Kind.REFUSED} and told == Status.DISCONNECTED
        process = Process(arrival, self.steps.start(arrival), starts_after=starts_after)
        return self._going_on(state, process)

    def _attempt(self, state: State, process: Process, call: Call) -> Iterator[tuple[str, State]]:
        choices = self._choices(state, process, call)
        for choice, faults in choices.items():
            if faults <= state.faults:
                after = state._replace(faults=state.faults - faults)
                yield str(choice), self._next(after, process, choice)
        if choices:
            return
        result, world = self._result(state, call)
        yield str(result), self._next(state._replace(world=world), process, result)
        if not state.faults or call.name in NO_FAULT:
            return

        faulty = state._replace(faults=state.faults - 1, late=plus(state.late, call))
        failed = faulty._replace(has_failed=True)
        ended = failed._replace(running=less(state.running, process))
        yield "killed, or no response", self._redelivered(ended, process.arrival)
        if call.name not in AT_QONTO:
            yield "no response, tried again", faulty
            return
        yield "no response", self._next(failed, process, "lost")
        failed = failed._replace(late=state.late)
        yield "not sent", self._next(failed, process, "not sent")
        refused = failed._replace(world=world) if call.name == "exchange" else failed
        yield "refused", self._next(refused, process, "refused")

    def _choices(self, state: State, _process: Process, call: Call) -> dict[object, int]:
        """Return what neither AWS nor Qonto says, and how many faults each choice takes."""
        if call.name != "over?":
            return {}
        return {False: 0, True: any(other.owner == call.owner for other in state.running)}

    def _result(self, state: State, call: Call) -> tuple[Any, World]:
        if call.name == "expired?":
            return state.clock >= EXPIRED, state.world
        if call.name == "asked" and state.clock == HOUR_OVER:
            return None, state.world
        return self.apply(state.world, call)

    def _next(self, state: State, process: Process, result: object) -> State:
        """Return *state* with *process* after a call that had *result*."""
        state = state._replace(running=less(state.running, process))
        return self._going_on(state, process._replace(step=self.steps.next(process.step, result)))

    def _going_on(self, state: State, process: Process) -> State:
        """Return *state* with *process* at a call that others can come before, or after its end."""
        while (call := self.steps.calls[process.step]).name in AT_ONCE:
            result: Any = None
            if call.name == "expired?" and state.clock < self.last:
                break
            if call.name == "owner":
                result = 1 if self.without == "owner" else _free_owner(state)
                process = process._replace(owner=result)
            elif call.name == "respond":
                state = self._responded(state, process, call)
            else:
                result, world = self._result(state, call)
                state = state._replace(world=world)
            process = process._replace(step=self.steps.next(process.step, result))
        if call.name == "failed":
            return self._redelivered(state, process.arrival)
        if call.name == "done":
            if process.arrival.kind is Kind.OTHER and state.clock < HOUR_OVER:
                return state._replace(refused=state.refused | {process.arrival.key})
            return state
        return state._replace(running=plus(state.running, process))

    def _responded(self, state: State, _process: Process, _call: Call) -> State:
        return state

    def _redelivered(self, state: State, message: Arrival) -> State:
        if message.kind is Kind.UNFINISHED:
            message = message._replace(event=REDELIVERY)
        elif message.kind not in MESSAGES or message in state.world.queue:
            return state
        return state._replace(world=state.world._replace(queue=plus(state.world.queue, message)))

    # -------------------------------------------------------------------- calls

    def _apply(self, world: World, call: Call) -> tuple[Any, World]:
        about, grants = call.about, dict(world.grants)
        match call.name:
            case "read":
                return grants[about.event], world
            case "query":
                of = about.authorization
                return tuple(it for it in grants.values() if it.event.authorization == of), world
            case "status":
                told = dict(world.connections).get(about.key)
                return told and told.status, world
            case "asked":  # the code does not read whether the context is repudiated
                context = dict(world.contexts).get(about.context, Context())
                return context._replace(repudiated=False), world
            case "exchange":
                return "tokens", world._replace(exchanged=plus(world.exchanged, about.code))
            case "send":
                message = Arrival(Kind(call.value), about.authorization, about.context)
                return None, world._replace(queue=plus(world.queue, message))
        table, key, may, row = self._write(world, call)
        if not may and self.without != f"condition of {call.name}":
            return False, world
        return True, world.put(table, key, row)

    def _write(self, world: World, call: Call) -> tuple[str, str, bool, object]:
        """Return the table of *call*, the row's key, whether the condition holds, the new row."""
        about, key = call.about, call.about.key
        told = dict(world.connections).get(key)
        context = dict(world.contexts).get(about.context, Context())
        match call.name:
            case "hold":
                may = about.event not in dict(world.grants)
                return "grants", about.event, may, Grant(about, Status.HELD)
            case "lock":
                locked_by = dict(world.locks).get(about.code, about.event)
                return "locks", about.code, locked_by == about.event, about.event
            case "confirm":
                return "connections", key, not told, Connection("pending")
            case "repudiate connection":
                return "connections", key, True, Connection(Status.REPUDIATED)
            case "tell":
                may = told is not None and _replaces(call, told)
                return "connections", key, may, Connection(call.value, about.event)
            case "use":
                may = context.authorization in {"", about.authorization} and not context.repudiated
                used = context._replace(authorization=about.authorization)
                return "contexts", about.context, may, used
            case "repudiate context":
                return "contexts", about.context, True, context._replace(repudiated=True)
            case "set confirmed":
                return "contexts", about.context, True, context._replace(confirmed=True)
        return "grants", about.event, *self._updated(world, call, dict(world.grants)[about.event])

    def _updated(self, _world: World, call: Call, grant: Grant) -> tuple[bool, Grant]:
        """Return whether *call* may change *grant*, and the grant after it."""
        wanted, is_owners, status = UPDATES[call.name]
        may = grant.owner == call.owner or not is_owners or self.without == f"owner of {call.name}"
        may = may and grant.status in wanted
        if status is Status.DISCONNECTING:
            return may, grant._replace(status=status)
        owner = {"claim": call.owner, "release": 0}.get(call.name, grant.owner)
        return may, Grant(grant.event, status, 0 if status is Status.DISCONNECTED else owner)

    # ----------------------------------------------------------------- problems

    def problems(self, before: State, move: Move, after: State) -> Iterator[StrEnum]:
        """Yield each problem with *move*, and with *after* if the model may end there."""
        old, new = before.world, after.world
        if move.call and new.exchanged != old.exchanged:
            yield from self._problems_of_exchange(move.call, after)
        if move.call and (new.grants, new.connections) != (old.grants, old.connections):
            yield from self._problems_of_tables(old, move.call, new)
        if after.running:
            return
        if any(self._alone(after, it)[0].name == "failed" for it in self._deliverable(after)):
            yield Problem.STUCK
        if not new.queue:
            yield from _problems_at_end(after)

    def _problems_of_exchange(self, call: Call, after: State) -> Iterator[Problem]:
        if len(after.world.exchanged) != len(set(after.world.exchanged)):
            yield Problem.TWICE
        came = Counter((*self.messages, *self.browsers)) - Counter(after.expected)
        if all(it.kind not in CONFIRMING or it.key != call.about.key for it in came):
            yield Problem.UNCONFIRMED

    def _problems_of_tables(self, before: World, call: Call, after: World) -> Iterator[Problem]:
        grants = dict(after.grants)
        if any(grants[name] != grant and not _may(call, grant) for name, grant in before.grants):
            yield Problem.CHANGED
        connected = {it.event.key for it in grants.values() if it.status is Status.CONNECTED}
        if _told(after) - connected:
            yield Problem.NO_TOKENS
        arrivals = (*self.messages, *self.browsers)
        repudiated = {it.key for it in arrivals if it.kind in {Kind.REPUDIATION, Kind.OTHER}}
        if _told(before) - _told(after) - repudiated:
            yield Problem.LATE
        open_ = [key.split() for key, it in after.connections if it.status != Status.REPUDIATED]
        if len(open_) != len({context for _, context in open_}):
            yield Problem.CONTEXT_TWICE

    def _alone(self, state: State, arrival: Arrival) -> tuple[Call, World]:
        """Return how *arrival* ends if it is handled alone and without a fault, and the world."""
        step = self.steps.start(arrival)
        choices: dict[str, object] = {"over?": True, "waited?": True, "lives?": False, "owner": 99}
        while (call := self.steps.calls[step]).name not in {"respond", "done", "failed"}:
            result: object = choices.get(call.name)
            if call.name not in choices:
                result, world = self._result(state, call)
                state = state._replace(world=world)
            step = self.steps.next(step, result)
        return call, state.world


def _problems_at_end(state: State) -> Iterator[Problem]:
    world, told = state.world, _told(state.world)
    secret = {Status.HELD, Status.EXCHANGING, Status.CONNECTED}  # the item has a code or tokens
    grants = [it for _, it in world.grants]
    connected = [it.event for it in grants if it.status is Status.CONNECTED]
    if len(connected) != len({it.authorization for it in connected}):
        yield Problem.TWO_GRANTS
    if state.refused & (told | {it.event.key for it in grants if it.status in secret}):
        yield Problem.REPUDIATED
    if not {it.key for it in connected} <= told:
        yield Problem.UNTOLD
    locks = dict(world.locks)
    for event, status, *_ in grants:
        connection = dict(world.connections).get(event.key, Connection(Status.REPUDIATED))
        is_alive = state.clock == FRESH and event.code not in world.exchanged
        is_own = locks.get(event.code, event.event) == event.event
        is_confirmed = connection.status != Status.REPUDIATED
        is_lost = status in {Status.FAILED, Status.LOST} and not state.has_failed
        if is_alive and is_own and is_confirmed and (status is Status.HELD or is_lost):
            yield Problem.UNSENT


def _free_owner(state: State) -> int:
    used = {it.owner for it in state.running} | {it.owner for it in state.late}
    used |= {owner for _, it in state.world.grants for owner in (it.owner, it.refresher or 0)}
    return next(owner for owner in count(1) if owner not in used)


def _told(world: World) -> set[str]:
    """Return the keys of the connections of which the app reads that they are connected."""
    return {key for key, it in world.connections if it.status == Status.CONNECTED}


def _may(call: Call, grant: Grant) -> bool:
    """Tell whether *call* may change *grant*, its claim or its result."""
    if call.name == "repudiate" or grant.status is Status.HELD:
        return True
    if grant.status is Status.CONNECTED:
        return call.name == "supersede"
    return grant.status is Status.EXCHANGING and grant.owner == call.owner


def _replaces(call: Call, old: Connection) -> bool:
    """Tell whether the status that *call* tells replaces *old*."""
    if old.status in {Status.REPUDIATED, Status.DISCONNECTED}:
        return False
    is_earlier = old.status not in {Status.CONNECTED, Status.ENDED}
    match call.value:
        case Status.CONNECTED:
            is_same = old == (Status.CONNECTED, call.about.event)
            return is_earlier or old.event < call.about.event or is_same
        case Status.ENDED:
            return is_earlier or old.event <= call.about.event
        case Status.DISCONNECTED:
            return True
    return is_earlier
