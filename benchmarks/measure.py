"""How one function is measured, cold and warm, under awslambdaric."""

import json
import resource
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rivals import Rival
from demo.template import ROOT, Json
from tests.lambda_runtime import ExecutionEnvironment


@dataclass(frozen=True)
class Cold:
    """A cold start, in milliseconds.

    Attributes:
        wall: from the spawn of the process to its first answer.
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
        walls: of each, from the event to the answer.
        cpu: of one on average.

    """

    walls: list[float]
    cpu: float


def cold(rival: Rival, variables: Mapping[str, str]) -> Cold:
    """Start *rival* once, and stop it after its first answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with _start(rival, variables) as function:
        function.wait_until_initialised()
        initialised = _cpu(function.pid)
        _invoke(function, rival)
        first_call = _cpu(function.pid) - initialised
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cold((function.answered_at[0] - function.spawned_at) / 1e6, cpu * 1e3, first_call)


def warm(rivals: list[Rival], variables: Mapping[str, str], invocations: int) -> list[Warm]:
    """Invoke each of *rivals* in turn, and again, so that all have the same machine."""
    walls: list[list[float]] = [[] for _ in rivals]
    with ExitStack() as running:
        functions = [running.enter_context(_start(it, variables)) for it in rivals]
        for _ in range(20):  # until all that happens once has happened
            for rival, function in zip(rivals, functions, strict=True):
                _invoke(function, rival)
        before = [_cpu(it.pid) for it in functions]
        for _ in range(invocations):
            for rival, function, times in zip(rivals, functions, walls, strict=True):
                times.append(_invoke(function, rival))
        used = [_cpu(it.pid) - cpu for it, cpu in zip(functions, before, strict=True)]
    return [Warm(times, cpu / invocations) for times, cpu in zip(walls, used, strict=True)]


def _start(rival: Rival, variables: Mapping[str, str]) -> ExecutionEnvironment:
    return ExecutionEnvironment(rival.package, rival.handler, variables, timeout=60)


def _invoke(function: ExecutionEnvironment, rival: Rival) -> float:
    """Return how long one invocation took."""
    event: Json = json.loads((ROOT / f"tests/requests/{rival.event}.json").read_text("utf-8"))
    began = time.monotonic_ns()
    response = function.invoke(event)
    # A wrong answer may be quick: only the right one counts.
    expected = {204} if rival.handler.startswith("bare_") else {302, 303}
    assert response["statusCode"] in expected, response
    return (function.answered_at[-1] - began) / 1e6


def _cpu(pid: int) -> float:
    """Return how long the process has run on a processor; the functions have one thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e6
