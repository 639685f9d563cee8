"""A breadth-first walk through all states of a model."""

import gc
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import NamedTuple

type Path[S, M] = list[tuple[M, S]]  # each move with the state after it
type Origins[S, M] = dict[S, tuple[M, S] | None]  # each state with the last move, from where


class Exploration[S, M](NamedTuple):
    """The states that were visited; and the problem that was found, with a shortest path to it."""

    origins: Origins[S, M]
    problem: StrEnum | None = None
    path: str = ""


def explore[S, M](
    initial: S,
    moves: Callable[[S], Iterable[tuple[M, S]]],
    problems: Callable[[S, M, S], Iterable[StrEnum]],
    sought: Collection[StrEnum],
) -> Exploration[S, M]:
    """Visit all states, or stop at the first *sought* problem."""
    origins: Origins[S, M] = {initial: None}
    states = [initial]
    gc.disable()  # it would take most of the time
    try:
        for state in states:
            for move, after in moves(state):
                for problem in problems(state, move, after):
                    if problem in sought:
                        path = [*path_to(state, origins), (move, after)]
                        return Exploration(origins, problem, lines(path))
                if after not in origins:
                    origins[after] = move, state
                    states.append(after)
    finally:
        gc.enable()
    return Exploration(origins)


def path_to[S, M](state: S, origins: Origins[S, M]) -> Path[S, M]:
    """Return a shortest path to *state*."""
    path: Path[S, M] = []
    while origin := origins[state]:
        move, before = origin
        path.append((move, state))
        state = before
    return path[::-1]


def lines[S, M](path: Path[S, M]) -> str:
    """Return *path* as text, with a move in each line."""
    return "".join(f"\n{move}" for move, _ in path)


def plus[T: str | tuple[object, ...]](values: tuple[T, ...], value: T) -> tuple[T, ...]:
    """Return sorted *values* and *value*, sorted: equal states must meet."""
    return tuple(sorted((*values, value)))


def less[T](values: tuple[T, ...], value: T) -> tuple[T, ...]:
    """Return *values* without one *value*."""
    index = values.index(value)
    return values[:index] + values[index + 1 :]
