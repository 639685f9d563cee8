"""One loaded handler in several processes, like Lambda's execution environments."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

from demo.gateway import Handler

type Json = dict[str, Any]


class Fork(NamedTuple):
    """What each process inherits: a handler that was loaded before, and a barrier of them all."""

    handler: Handler
    all_ready: Barrier


type Load = Callable[[Json], Handler]
type Work = Callable[[Fork, Json], list[Json]]

_fork: Fork


def in_forks(
    processes: int, load: Load, environment: Json, work: Work, request: Json
) -> list[Json]:
    """Load a handler in *environment*, and return what *work* returns in all *processes*.

    Their parent is a new process, so that it has no threads when it forks.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as parent:
        return parent.submit(_parent, processes, load, environment, work, request).result(600)


def _parent(processes: int, load: Load, environment: Json, work: Work, request: Json) -> list[Json]:
    global _fork  # noqa: PLW0603 - a barrier can be inherited, but not pickled
    context = get_context("fork")
    _fork = Fork(load(environment), context.Barrier(processes))
    with context.Pool(processes) as pool:
        results = [pool.apply_async(_child, (work, request)) for _ in range(processes)]
        return [response for result in results for response in result.get(500)]


def _child(work: Work, request: Json) -> list[Json]:
    _fork.all_ready.wait(60)  # else one process could do the work of two
    return work(_fork, request)
