"""The moves that all models have: processes of the real code, in every order and with faults.

- A process makes its calls one by one. Each has two attempts, as botocore makes them. An attempt
  succeeds, or the client gives up on it, which is one fault: AWS applies it at once (its response
  was lost), at any later moment, or never.
- A process is killed at a call (one fault), which AWS may still apply.
- Time passes to the next instant.
"""

import gc
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, ClassVar, NamedTuple

from tests.model import dynamodb
from tests.model.dynamodb import Items
from tests.model.steps import DONE, FAILED, NO_RESPONSE, Call, Outside, Steps

READS = {"get_item", "query"}


class World(NamedTuple):
    """What AWS, Qonto and the app keep."""

    items: Items = ()  # of tables and other stores
    queue: tuple[Any, ...] = ()  # messages, each of which begins a process


class Process(NamedTuple):
    """A process that *arrival* began at the time *arrived*, at a step of the code."""

    arrival: Any
    arrived: int
    step: int
    attempt: int = 1
    owner: str = ""  # of its latest claim
    note: str = ""  # what a model must remember of it


class State(NamedTuple):
    """All that can differ between two moments. Its tuples are sorted, so that equal states meet."""

    world: World
    clock: int  # seconds since the model began
    expected: tuple[Any, ...]  # what will arrive
    faults: int  # that may still happen
    running: tuple[Process, ...] = ()
    late: tuple[Call, ...] = ()  # writes without a response, which AWS may yet apply
    notes: frozenset[str] = frozenset()


class Move(NamedTuple):
    """What happens next: to *process* at its *call*, which then may have *ended*."""

    name: str
    process: Process | None = None
    call: Call | None = None
    ended: Call | None = None

    def __str__(self) -> str:
        """Return a line for a path."""
        operation = self.call.operation if self.call else ""
        return " ".join([self.name, operation, str(self.process and self.process.arrival)])


class Exploration(NamedTuple):
    """The problem that was found, with a shortest path to it."""

    problem: StrEnum | None = None
    path: str = ""


@dataclass(frozen=True)
class Model:
    """The moves of the *expected* arrivals, at *instants*, with at most *faults*."""

    expected: tuple[Any, ...]
    instants: tuple[int, ...]
    faults: int
    choices: ClassVar[Mapping[str, str]] = {}  # in `alone`: results that the world does not decide

    @cached_property
    def steps(self) -> Steps:
        """The code that the processes run."""
        return Steps(self.run)

    @cached_property
    def apply(self) -> Callable[[World, Call, int, int], tuple[str, World]]:
        """The result in JSON of an attempt of a call at a time, and the world after it."""
        return cache(self._apply)

    def run(self, arrival: Any, outside: Outside) -> Any:  # noqa: ANN401 - what a process returns
        """Run the real code for *arrival*."""
        raise NotImplementedError

    def initial(self) -> State:
        """Return the state before anything has happened."""
        return State(World(), self.instants[0], tuple(sorted(self.expected)), self.faults)

    def explore(self, sought: Collection[StrEnum]) -> Exploration:
        """Visit all states, the nearest first, or stop at the first *sought* problem."""
        states = [self.initial()]
        origins: dict[State, tuple[Move, State] | None] = {states[0]: None}
        gc.disable()  # it would take most of the time
        try:
            for state in states:
                for move, after in self.moves(state):
                    for problem in self.problems(state, move, after):
                        if problem in sought:
                            return Exploration(problem, _path(move, origins[state], origins))
                    if after not in origins:
                        origins[after] = move, state
                        states.append(after)
        finally:
            gc.enable()
        return Exploration()

    def problems(self, before: State, move: Move, after: State) -> Iterator[StrEnum]:
        """Yield each problem with *move*."""
        raise NotImplementedError

    def moves(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield each move that is possible in *state*, and the state after it."""
        yield from self.passing(state)
        for call in dict.fromkeys(state.late):
            _, world = self.apply(state.world, call, 1, state.clock)
            if world != state.world:
                after = state._replace(world=world, late=less(state.late, call))
                yield Move("arrives late", None, call), self.after_late(after, call)
        yield from self.arrivals(state)
        for process in dict.fromkeys(state.running):
            yield from self.attempts(state, process, self.steps.calls[process.step])

    def passing(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield that time passes to the next instant."""
        clock = next((instant for instant in self.instants if instant > state.clock), None)
        faults = None if clock is None else self.delays(state, clock)
        if clock is not None and faults is not None and faults <= state.faults:
            yield Move(f"{clock} s"), state._replace(clock=clock, faults=state.faults - faults)

    def delays(self, state: State, clock: int) -> int | None:
        """Return how many faults it takes that processes still run at *clock*; None if none can."""
        raise NotImplementedError

    def arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield the arrival of each that is expected."""
        for arrival in dict.fromkeys(state.expected):
            process = self.began(state, arrival)
            after = state._replace(expected=less(state.expected, arrival))
            yield self.going_on(Move("arrives", process), after, process)

    def began(self, state: State, arrival: Any) -> Process:  # noqa: ANN401 - of any model
        """Return a process at its first call."""
        return Process(arrival, state.clock, self.steps.start(arrival, state.clock))

    def attempts(self, state: State, process: Process, call: Call) -> Iterator[tuple[Move, State]]:
        """Yield what can happen to an attempt of *call*."""
        result, world = self.apply(state.world, call, process.attempt, state.clock)
        yield self.continued("ok", state._replace(world=world), process, result)
        if not state.faults:
            return
        faulty = state._replace(faults=state.faults - 1)
        if call.operation not in READS:
            faulty = faulty._replace(late=plus(state.late, call))
        if process.attempt == 1:
            killed = Move("killed", process, call)
            yield killed, self.stopped(killed, without(faulty, process))
            again = plus(less(state.running, process), process._replace(attempt=2))
            yield Move("given up", process, call), faulty._replace(running=again)
        else:
            yield self.continued("given up", faulty, process, NO_RESPONSE)

    def continued(
        self, name: str, state: State, process: Process, result: str
    ) -> tuple[Move, State]:
        """Return the move and the state after a call of *process* that had *result*."""
        move = Move(name, process, self.steps.calls[process.step])
        step = self.steps.next(process.step, state.clock, result)
        following = process._replace(step=step, attempt=1)
        return self.going_on(move, without(state, process), following, result)

    def going_on(
        self, move: Move, state: State, process: Process, result: str = ""
    ) -> tuple[Move, State]:
        """Return *move* and *state* with *process* at its next call, or after its end."""
        process = self.named(state, process)
        call = self.steps.calls[process.step]
        if call.operation in {DONE, FAILED}:
            move = move._replace(ended=call)
            return move, self.stopped(move, state, result)
        return move, state._replace(running=plus(state.running, process))

    def named(self, _state: State, process: Process) -> Process:
        """Return *process* with names of its own, if it asks for some."""
        return process

    def after_late(self, after: State, _call: Call) -> State:
        """Return the state *after* a late write."""
        return after

    def stopped(self, move: Move, after: State, result: str = "") -> State:
        """Return the state *after* a process ended with *result*, or was killed."""
        raise NotImplementedError

    def alone(self, world: World, arrival: Any, at: int) -> tuple[Call, World]:  # noqa: ANN401
        """Handle *arrival* alone and without a fault; return how it ends, and the world."""
        step = self.steps.start(arrival, at)
        while (call := self.steps.calls[step]).operation not in {DONE, FAILED}:
            if (result := self.choices.get(call.operation)) is None:
                result, world = self.apply(world, call, 1, at)
            step = self.steps.next(step, at, result)
        return call, world

    def _apply(self, world: World, call: Call, attempt: int, _clock: int) -> tuple[str, World]:
        request = json.loads(call.request)
        result, items = dynamodb.apply(call.operation, request, world.items)
        if attempt > 1 and "ConditionFailed" in result:
            result["ConditionFailed"] |= {"ResponseMetadata": {"RetryAttempts": attempt - 1}}
        return json.dumps(result), world._replace(items=items)


def put(world: World, rows: Mapping[str, Any]) -> World:
    """Return *world* with *rows*, whose keys begin with their tables."""
    new = {at: json.dumps(row, sort_keys=True) for at, row in rows.items()}
    return world._replace(items=tuple(sorted((dict(world.items) | new).items())))


def without(state: State, process: Process) -> State:
    """Return *state* without a running *process*."""
    return state._replace(running=less(state.running, process))


def _path(last: Move, origin: Any, origins: dict[State, Any]) -> str:  # noqa: ANN401
    """Return the moves up to the *last*, with one in each line."""
    moves = [last]
    while origin:
        move, state = origin
        moves.append(move)
        origin = origins[state]
    return "\n".join(map(str, ["", *reversed(moves)]))


def plus[T: str | tuple[object, ...]](values: tuple[T, ...], value: T) -> tuple[T, ...]:
    """Return sorted *values* and *value*, sorted: equal states must meet."""
    return tuple(sorted((*values, value)))


def less[T](values: tuple[T, ...], value: T) -> tuple[T, ...]:
    """Return *values* without one *value*."""
    index = values.index(value)
    return values[:index] + values[index + 1 :]
