"""What processes of a model do: generators of their calls, stopped and continued at any step."""

import ast
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from subscriber.grants import Status


class Kind(StrEnum):
    """A message, a browser that comes back to the app, a request, or what the user does."""

    EVENT = "event"
    CONFIRMATION = "confirmation"
    REPUDIATION = "repudiation"
    LATE = "late repudiation"  # sent when the hour after the event is over
    UNFINISHED = "unfinished"  # its event is the number of periods until it arrives
    RIGHT = "right browser"
    OTHER_SESSION = "right browser, other session"
    OTHER = "other browser"
    TOKEN = "token"
    REFUSED = "token instead of a refused one"
    DISCONNECT = "disconnect"
    WITHDRAWAL = "withdrawal"  # the user ends the connection in Qonto


class Arrival(NamedTuple):
    """What begins a process."""

    kind: Kind
    authorization: str
    context: str
    event: str = ""  # the event's name; those of one authorization are in their order
    code: str = ""

    @property
    def key(self) -> str:
        """What the subscriber knows the connection by."""
        return f"{self.authorization} {self.context}"


class Call(NamedTuple):
    """A call of a process; *value* is the status to tell, or the kind of message to send."""

    name: str
    about: Arrival
    owner: int = 0  # of the claim that the call makes or ends
    value: str = ""
    tokens: int = 0


class Refresh(NamedTuple):
    """An unfinished refresh. Its claim is over when its owner sends no request any more."""

    owner: int
    is_over: bool = False


class Grant(NamedTuple):
    """An event's item. It has the code until it is connected or ends; connected, the tokens."""

    event: Arrival
    status: Status
    owner: int = 0
    tokens: int = 0
    refresh: Refresh | None = None

    @property
    def refresher(self) -> int | None:
        """The owner of the unfinished refresh."""
        return self.refresh and self.refresh.owner

    @property
    def is_claimed(self) -> bool:
        """Whether another process may be refreshing the tokens."""
        return self.refresh is not None and not self.refresh.is_over


class FailedError(Exception):
    """The handling raises: the message comes again."""


type Calls[R] = Generator[Call, Any, R]
type Handle = Callable[[Arrival], Calls[None]]


class Steps:
    """The steps of *handle*: places in the code with the values of its variables.

    Two processes at one step go on alike, whatever calls they made before. So no generator may
    yield while it keeps a value that is in no variable, as in `for grant in (yield ...)`.
    """

    def __init__(self, handle: Handle) -> None:
        self.calls: list[Call] = []  # at each step
        self.next = cache(self._next)
        self._handle = handle
        self._steps: dict[object, int] = {}
        self._results: list[tuple[Arrival, tuple[object, ...]]] = []  # a way to each step

    def start(self, arrival: Arrival) -> int:
        """Return the first step of a process."""
        return self._step(arrival, ())

    def _next(self, step: int, result: object) -> int:
        """Return the step after *step*, whose call had *result*."""
        arrival, results = self._results[step]
        return self._step(arrival, (*results, result))

    def _step(self, arrival: Arrival, results: tuple[object, ...]) -> int:
        process = self._handle(arrival)
        try:
            call = next(process)
            for result in results:
                call = process.send(result)
        except StopIteration:
            call = Call("done", arrival)
        except FailedError:
            call = Call("failed", arrival)
        step = self._steps.setdefault((arrival, call, *_frames(process)), len(self._steps))
        if step == len(self.calls):
            self.calls.append(call)
            self._results.append((arrival, results))
        return step


def _frames(process: Calls[None]) -> Iterator[tuple[object, ...]]:
    """Yield where *process* and the generators that it waits for stand, with their variables."""
    generator: Any = process
    while generator is not None and generator.gi_frame is not None:
        frame = generator.gi_frame
        yield frame.f_code, frame.f_lasti, *frame.f_locals.items()
        generator = generator.gi_yieldfrom


def edited(handle: Handle, edits: Mapping[str, str]) -> Handle:
    """Return a broken variant: *handle* of its module with each first text replaced by a second."""
    source = Path(inspect.getfile(handle)).read_text("utf-8")
    for old, new in edits.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    variant = ast.parse(source)
    # The names stay those of the original: another test may have imported the subscriber again.
    variant.body = [each for each in variant.body if not isinstance(each, ast.ImportFrom)]
    names = dict(handle.__globals__)
    exec(compile(variant, "variant", "exec"), names)  # noqa: S102 - the text is in this folder
    return names["handle"]  # type: ignore[no-any-return] # a name made here has no type
