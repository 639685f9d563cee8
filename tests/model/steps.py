"""Real code in steps: a process stops before each call of AWS, of Qonto or of a store.

To go on, it runs again from its beginning, with the results of its earlier calls.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, ReadTimeoutError

NO_RESPONSE = "no response"  # a result: the client gives up
DONE = "done"  # the operation of a process that has ended; its request is what it returned
FAILED = "failed"  # that of a process that raised


class Call(NamedTuple):
    """A call, with its *request* in JSON."""

    operation: str
    request: str


class ConditionFailedError(ClientError):
    """The condition of a write did not hold."""


class StoppedError(BaseException):
    """Stops a process. It is no `Exception`, so that the code does not handle it."""


class Outside:
    """What a process calls; *clock* is the time in seconds since the model began."""

    def __init__(self, clock: int, results: tuple[tuple[int, str], ...]) -> None:
        """Respond to the first calls with *results*, each at its time."""
        self.clock = clock
        self._results = iter(results)

    def call(self, operation: str, **request: Any) -> Any:  # noqa: ANN401 - JSON
        """Return the result of a call of AWS, or raise as boto3 does."""
        try:
            clock, result = next(self._results)
        except StopIteration:
            raise StoppedError(Call(operation, json.dumps(request, sort_keys=True))) from None
        self.clock = max(clock, self.clock)  # the code may have waited
        if result == NO_RESPONSE:
            raise ReadTimeoutError(endpoint_url="https://aws.example.com")
        found = json.loads(result)
        if isinstance(found, dict) and "ConditionFailed" in found:
            raise ConditionFailedError(found["ConditionFailed"], operation)
        return found


class Steps:
    """The steps of *run*, which gets what begins a process, and its `Outside`."""

    def __init__(self, run: Callable[[Any, Outside], Any]) -> None:
        self.calls: list[Call] = []  # at each step
        self.start = cache(lambda arrival, clock: self._step(arrival, clock, ()))
        self.next = cache(self._next)
        self._run = run
        self._histories: list[tuple[Any, int, tuple[tuple[int, str], ...]]] = []

    def _next(self, step: int, clock: int, result: str) -> int:
        """Return the step after *step*, whose call had *result* at *clock*."""
        arrival, arrived, results = self._histories[step]
        return self._step(arrival, arrived, (*results, (clock, result)))

    def _step(self, arrival: object, clock: int, results: tuple[tuple[int, str], ...]) -> int:
        try:
            call = Call(DONE, json.dumps(self._run(arrival, Outside(clock, results))))
        except StoppedError as stopped:
            [call] = stopped.args
        except Exception:  # noqa: BLE001 - Lambda's response to any
            call = Call(FAILED, "")
        self.calls.append(call)
        self._histories.append((arrival, clock, results))
        return len(self.calls) - 1
