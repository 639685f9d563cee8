"""How one function is measured, cold and warm, under awslambdaric."""

import json
import resource
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rivals import REQUESTS, Rival
from demo.template import Json
from tests.lambda_runtime import ExecutionEnvironment


@dataclass(frozen=True)
class Cold:
    """A cold start, in milliseconds.

    Attributes:
        wall: from the spawn of the process to its first response.
        cpu: of the whole process, user and system.
        first_call: of that, the first invocation's.

    """

    wall: float
    cpu: float
    first_call: float


@dataclass(frozen=True)
class Warm:
    """Invocations of one process, in milliseconds.

    Attributes:
        walls: of each, from the request to the response.
        cpu: of one on average.

    """

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
    return Cold((function.answered_at[0] - function.spawned_at) / 1e6, cpu * 1e3, first_call)


def warm(rivals: list[Rival], invocations: int) -> list[Warm]:
    """Invoke each of *rivals* in turn, and again, so that all have the same machine."""
    walls: list[list[float]] = [[] for _ in rivals]
    with ExitStack() as running:
        functions = [running.enter_context(_start(rival)) for rival in rivals]
        for _ in range(20):  # until all that happens once has happened
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
    """Return how long one invocation took."""
    request: Json = json.loads((REQUESTS / f"{rival.request}.json").read_text("utf-8"))
    began = time.monotonic_ns()
    response = function.invoke(request)
    # A wrong response may be quick: only the right one counts.
    expected = {302, 303} if rival.handler.endswith(".handler.handler") else {204}
    assert response["statusCode"] in expected, response
    return (function.answered_at[-1] - began) / 1e6


def _cpu(pid: int) -> float:
    """Return how long the process has run on a processor; the functions have one thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e6
