"""Measures functions, cold and warm, under awslambdaric."""

import resource
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.rivals import Rival
from tests.support.connector import REQUESTS
from tests.support.lambda_runtime import ExecutionEnvironment


class Cold(NamedTuple):
    """A cold start, in milliseconds.

    *wall* is from the spawn of the process to its first response, *cpu* the processor time of the
    whole process, user and system, and *first_call* the first invocation's share of it.
    """

    wall: float
    cpu: float
    first_call: float


class Warm(NamedTuple):
    """Invocations of one process: the time of each, and the mean processor time, in ms."""

    walls: list[float]
    cpu: float


def cold(rival: Rival) -> Cold:
    """Start *rival* once, and stop it after its first response."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with _start(rival) as function:
        function.wait_until_initialised()
        initialised = _cpu(function.pid)
        _invoke(function, rival)
        first_call = _cpu(function.pid) - initialised
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cold((function.responded_at[0] - function.spawned_at) / 1e6, cpu * 1e3, first_call)


def warm(rivals: list[Rival], invocations: int) -> list[Warm]:
    """Invoke *rivals* in turn, *invocations* times, so that a busy machine slows all of them."""
    walls: list[list[float]] = [[] for _ in rivals]
    with ExitStack() as running:
        functions = [running.enter_context(_start(rival)) for rival in rivals]
        for _ in range(20):  # the first invocations do work that later ones do not
            for rival, function in zip(rivals, functions, strict=True):
                _invoke(function, rival)
        before = [_cpu(function.pid) for function in functions]
        for _ in range(invocations):
            for rival, function, times in zip(rivals, functions, walls, strict=True):
                times.append(_invoke(function, rival))
        used = [_cpu(each.pid) - cpu for each, cpu in zip(functions, before, strict=True)]
    return [Warm(times, cpu / invocations) for times, cpu in zip(walls, used, strict=True)]


def _start(rival: Rival) -> ExecutionEnvironment:
    return ExecutionEnvironment(rival.package, rival.handler, rival.environment, timeout=60)


def _invoke(function: ExecutionEnvironment, rival: Rival) -> float:
    """Return the duration of one invocation, in milliseconds."""
    began = time.monotonic_ns()
    response = function.invoke(REQUESTS[rival.request])
    # A wrong response may be faster, so it must not count.
    expected = {204} if rival.handler.startswith("bare.") else {302, 303}
    assert response["statusCode"] in expected, response
    return (function.responded_at[-1] - began) / 1e6


def _cpu(pid: int) -> float:
    """Return the processor time of the main thread in milliseconds; functions have no other."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e6
