"""The code of the example subscriber and the example app, as generators of their calls.

Each generator follows the function of the same name in `examples/`. A broken variant is *without*
one part of it.
"""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from subscriber.grants import Status

EVENT, CONFIRMATION, REPUDIATION = "event", "confirmation", "repudiation"
LATE = "late repudiation"  # sent when the hour after the event is over
RIGHT, OTHER_SESSION, OTHER = "right browser", "right browser, other session", "other browser"
BROWSERS = {RIGHT, OTHER_SESSION, OTHER}
DISCONNECTED = {Status.DISCONNECTING, Status.DISCONNECTED}
AFTER_EXCHANGE = {"tokens": "connect", "refused": "fail", "lost": "lose", "not sent": "release"}


class Arrival(NamedTuple):
    """A message for the subscriber, or a browser that comes back to the app."""

    kind: str
    authorization: str
    context: str
    event: str = ""  # the event's name; those of one authorization are in their order
    code: str = ""

    def __str__(self) -> str:
        """Return the arrival as a part of a line."""
        return " ".join(filter(None, self))

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


class FailedError(Exception):
    """The handling raises: the message comes again."""


type Calls[R] = Generator[Call, Any, R]


class Code:
    """The code of the subscriber and the app, as generators of their calls.

    A step is a place in the code with the values of its variables. Two processes at one step go on
    alike, whatever calls they made before. So no generator may yield while it keeps a value that
    is in no variable, as in `for grant in (yield ...)`.
    """

    def __init__(self, without: str) -> None:
        self._without = without
        self._steps: dict[object, int] = {}
        self._results: list[tuple[Arrival, tuple[object, ...]]] = []  # a way to each step
        self._next: dict[tuple[int, object], int] = {}
        self.calls: list[Call] = []  # at each step

    def start(self, arrival: Arrival) -> int:
        """Return the first step of a process."""
        return self._step(arrival, ())

    def next(self, step: int, result: object) -> int:
        """Return the step after *step*, whose call had *result*."""
        if (step, result) not in self._next:
            arrival, results = self._results[step]
            self._next[step, result] = self._step(arrival, (*results, result))
        return self._next[step, result]

    def _step(self, arrival: Arrival, results: tuple[object, ...]) -> int:
        process = self.handle(arrival)
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

    def handle(self, arrival: Arrival) -> Calls[None]:
        """Handle a message, or a browser's return."""
        if arrival.kind in BROWSERS:
            yield from self._connected(arrival)
        elif arrival.kind in {REPUDIATION, LATE}:
            yield from self._repudiate(arrival)
        elif (yield from self._settle(arrival)):
            latest = yield from self._conclude(arrival)
            if latest.status is Status.HELD:
                if (yield Call("expired?", latest.event)):
                    yield Call("tell", latest.event, 0, "expired")
            elif latest.status in {Status.CONNECTED, Status.FAILED, Status.LOST}:
                yield Call("tell", latest.event, 0, latest.status)

    def _received(self, message: Arrival) -> Calls[tuple[Grant, ...]]:
        if message.kind == EVENT:
            is_new = yield Call("hold", message)
            return (Grant(message, Status.HELD) if is_new else (yield Call("read", message)),)
        yield Call("confirm", message)
        return (yield from self._grants_of(message))

    def _grants_of(self, message: Arrival) -> Calls[tuple[Grant, ...]]:
        found = yield Call("query", message)
        return tuple(grant for grant in found if grant.event.context == message.context)

    def _repudiate(self, message: Arrival) -> Calls[None]:
        found = yield from self._grants_of(message)
        if found and message.kind == LATE and self._without != "hour":
            return
        if self._without == "repudiation first":
            for grant in found:
                yield Call("repudiate", grant.event)
        if self._without != "stored repudiation":
            yield Call("repudiate connection", message)
        if self._without != "repudiation first":
            found = yield from self._grants_of(message)
            for grant in found:
                yield Call("repudiate", grant.event)

    def _settle(self, message: Arrival) -> Calls[bool]:
        confirmed = yield from self._confirmed(message)
        for grant in reversed(confirmed):
            if grant.status is Status.EXCHANGING:
                yield from self._take_over(grant)
            elif grant.status is Status.HELD and not (yield from self._is_replaced(grant)):
                yield from self._exchange(grant.event)
        if self._without == "repeated tell":
            return any(grant.status is Status.HELD for grant in confirmed)
        return bool(confirmed)

    def _confirmed(self, message: Arrival) -> Calls[tuple[Grant, ...]]:
        confirmed: tuple[Grant, ...] = ()
        received = yield from self._received(message)
        for grant in received:
            status = yield Call("status", grant.event)
            if status == Status.REPUDIATED:
                yield Call("repudiate", grant.event)
            elif status or self._without == "confirmation":
                confirmed += (grant,)
            del status
        return confirmed

    def _is_replaced(self, grant: Grant) -> Calls[bool]:
        found = yield Call("query", grant.event)
        later = (other for other in found if other.event > grant.event)
        is_later = any(other.status is Status.CONNECTED for other in later)
        is_disconnected = any(other.status in DISCONNECTED for other in found)
        return is_later or (is_disconnected and self._without != "disconnection replaces")

    def _exchange(self, event: Arrival) -> Calls[None]:
        if (yield Call("expired?", event)):
            return
        if self._without != "lock" and not (yield Call("lock", event)):
            yield Call("refuse", event)
            return
        owner = yield Call("owner", event)
        if not (yield Call("claim", event, owner)):
            grant = yield Call("read", event)
            if grant.owner != owner or self._without == "own work":
                raise FailedError
            del grant
        response = yield Call("exchange", event, owner)
        is_written = yield Call(AFTER_EXCHANGE[response], event, owner)
        if response == "tokens" and not is_written:
            yield Call("read", event)  # for the log alone
        if response == "not sent":
            raise FailedError

    def _take_over(self, grant: Grant) -> Calls[None]:
        if self._without == "take-over" or not (yield Call("over?", grant.event, grant.owner)):
            raise FailedError
        is_lost = yield Call("lose", grant.event, grant.owner)
        if not is_lost and self._without != "look again":
            raise FailedError

    def _conclude(self, message: Arrival) -> Calls[Grant]:
        found = yield Call("query", message)
        connected = tuple(grant for grant in found if grant.status is Status.CONNECTED)
        for grant in found if self._without != "supersede" else ():
            is_earlier = connected and grant.event < connected[-1].event
            if is_earlier and grant.status in {Status.HELD, Status.CONNECTED}:
                yield Call("supersede", grant.event)
        latest: Grant = (connected or found)[-1]
        return latest

    def _connected(self, browser: Arrival) -> Calls[None]:
        """Handle a return to the app; its pages are not in the model."""
        asked = yield Call("asked", browser)
        if asked is None:  # after an hour
            return
        if browser.kind == OTHER and self._without not in {"session", "app repudiates"}:
            yield Call("repudiate context", browser)
            yield Call("send", browser, 0, REPUDIATION)
            return
        if browser.kind != RIGHT and self._without != "session":
            return
        is_free = asked.authorization in {"", browser.authorization}
        if self._without == "one statement" and not is_free:
            return
        if not (yield Call("use", browser)):
            return
        if not asked.confirmed:
            yield Call("send", browser, 0, CONFIRMATION)
            yield Call("set confirmed", browser)


def _frames(process: Calls[None]) -> Iterator[tuple[object, ...]]:
    """Yield where *process* and the generators that it waits for stand, with their variables."""
    generator: Any = process
    while generator is not None and generator.gi_frame is not None:
        frame = generator.gi_frame
        yield frame.f_code, frame.f_lasti, *frame.f_locals.items()
        generator = generator.gi_yieldfrom
