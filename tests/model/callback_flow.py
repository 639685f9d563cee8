"""An exhaustive model of one state: start issues it, and callbacks claim, publish and delete it.

`Model.explore` visits every state of the model that its moves reach in any order, and checks each
move. The moves are:

- Start puts the item. Then callbacks of the state's own browser and of another browser arrive, at
  any of the model's instants, at once or one after the other, with equal or different responses.
- Each call has two attempts, as botocore makes them. An attempt succeeds, or the client gives up on
  it, which is one fault. AWS applies such an attempt at once (its result was lost), at any later
  instant (it was late), or never (it was refused or lost).
- A process is killed before one of its attempts (one fault). Lambda's time-out is such a kill.
- Time passes to the next instant. A running process ends within `LONGEST_RUN` of its arrival, or
  outlives that (one fault).
- The TTL removes an expired item, at any instant or never.

The model leaves out: several states at once, more callbacks and faults than a test gives it, items
of another environment or client, malformed requests and AWS responses, faults of our own code, and
subscribers and apps. An instant stands for the seconds around it: a test chooses instants on both
sides of each limit. A response that is lost between function and browser is not a move, because no
check relies on a received response: from every state, a repeated callback must lead to a success.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from authorization import RECEIPT_LIFETIME, STATE_LIFETIME
from state_store import CLAIM_LIFETIME
from tests.model.exploration import Exploration, explore, less, plus

# In seconds, from the arrival of a callback: Lambda's INIT of 10 s, and the function's time-out.
LONGEST_RUN = 36
OWN, OTHER = "own browser", "other browser"
FINISHING = {"publish", "receipt", "delete"}  # the calls of a callback whose claim succeeded
# The calls that have a condition, and two parts of the claim's: "browser"; and "order", by which a
# claim does not replace that of a later callback.
CONDITIONS = frozenset({"browser", "claim", "order", "receipt", "delete"})


class Problem(StrEnum):
    """A move that must not be possible."""

    FALSE_SUCCESS = "a success is shown, and its event is not published"
    LOST = "within the hour, a browser that repeats its callback gets nowhere"
    DELETED = "a state is deleted, and the response that claimed it is not published"
    TWO_IDS = "two different responses are published without an excuse"
    TWO_IN_FLIGHT = "two different responses are between claim and delete at one time"
    CHANGED = "within ten minutes, a repeated callback gets another response"
    PUBLISHED_AGAIN = "a callback that arrived after the receipt and the delete publishes"
    OTHER_BROWSER = "another browser changes something or learns something"


class Excuse(StrEnum):
    """A fault after which two different responses may be published."""

    UNFINISHED = "a process ended, and its publish, receipt or delete is not known to be done"
    OUTLIVED = "a process ran for longer than Lambda lets it"
    LATE_START = "a put of start that was given up on arrived after the browser came back"


class Item(NamedTuple):
    """The item of the state."""

    response: int = 0  # the response that claimed it; 0 before the first claim
    claimed_at: int = 0


class Receipt(NamedTuple):
    """The receipt of the state."""

    response: int
    expires_at: int


class Process(NamedTuple):
    """A running process at its next attempt of a call; in `State.late`, that attempt alone."""

    browser: str
    response: int
    arrived: int
    call: str
    attempt: int = 1
    repeats: bool = False  # the callback arrived after the receipt and the delete


class Aws(NamedTuple):
    """The table and the topic."""

    item: Item | None = None
    receipt: Receipt | None = None
    published: frozenset[int] = frozenset()  # the event's id is made from the response


class State(NamedTuple):
    """All that can differ between two moments. Its tuples are sorted, so that equal states meet."""

    clock: int  # seconds since start
    aws: Aws
    running: tuple[Process, ...]
    expected: tuple[tuple[str, int], ...]  # callbacks still to arrive: browser and response
    late: tuple[Process, ...]
    faults: int  # that may still happen
    excuses: frozenset[Excuse] = frozenset()
    is_receipt_over: bool = False  # the TTL removed it


class Move(NamedTuple):
    """What happens next: to *process*, whose browser is then *shown* something."""

    name: str
    process: Process | None = None
    shown: str = ""


@dataclass(frozen=True)
class Model:
    """The moves of *callbacks* (browser and response) at *instants*, with at most *faults*.

    The other fields are the design, and a broken variant differs in one of them.
    """

    callbacks: tuple[tuple[str, int], ...]
    instants: tuple[int, ...]  # seconds since start; the first callback arrives at the first one
    faults: int
    calls: tuple[str, ...] = ("claim", "publish", "receipt", "delete")  # of a callback, in order
    wait: int = CLAIM_LIFETIME  # in seconds: after it, another response can claim the state
    conditions: frozenset[str] = CONDITIONS
    excuses: frozenset[Excuse] = frozenset(Excuse)

    @property
    def initial(self) -> State:
        """The state in which start is about to put the item."""
        start, expected = Process(OWN, 0, 0, "issue"), tuple(sorted(self.callbacks))
        return State(self.instants[0], Aws(), (start,), expected, (), self.faults)

    def explore(self, *sought: Problem) -> Exploration[State, Move]:
        """Visit all states, or stop at the first *sought* problem."""
        return explore(self.initial, self.moves, self.problems, sought)

    def moves(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield each move that is possible in *state*, and the state after it."""
        yield from self._time(state)
        is_starting = any(process.call == "issue" for process in state.running)
        for write in dict.fromkeys(state.late):
            _, aws = self.apply(state.aws, write)
            if aws != state.aws:
                after = state._replace(aws=aws, late=less(state.late, write))
                is_late_start = write.call == "issue" and not is_starting
                excused = _excused(after, Excuse.LATE_START) if is_late_start else after
                yield Move("arrives late", write), excused
        for callback in () if is_starting else dict.fromkeys(state.expected):
            item, receipt, _ = state.aws
            repeats = item is None and receipt is not None and receipt.expires_at > state.clock
            process = Process(*callback, state.clock, self.calls[0], repeats=repeats)
            after = state._replace(expected=less(state.expected, callback))
            yield Move("arrives", process), after._replace(running=plus(state.running, process))
        for process in dict.fromkeys(state.running):
            yield from self._attempt(state, process)

    def _time(self, state: State) -> Iterator[tuple[Move, State]]:
        item, receipt, _ = state.aws
        if item and state.clock >= STATE_LIFETIME:
            aws = state.aws._replace(item=None)
            yield Move("TTL removes the state"), state._replace(aws=aws)
        if receipt and state.clock >= receipt.expires_at:
            aws = state.aws._replace(receipt=None)
            yield Move("TTL removes the receipt"), state._replace(aws=aws, is_receipt_over=True)
        clock = next((instant for instant in self.instants if instant > state.clock), None)
        if clock is None:
            return
        ends = [process.arrived + LONGEST_RUN for process in state.running]
        outlived = sum(state.clock <= end < clock for end in ends)
        if outlived <= state.faults:
            after = state._replace(clock=clock, faults=state.faults - outlived)
            yield Move(f"{clock} s"), _excused(after, Excuse.OUTLIVED) if outlived else after

    def _attempt(self, state: State, process: Process) -> Iterator[tuple[Move, State]]:
        result, aws = self.apply(state.aws, process)
        following, shown = self._following(process, result)
        yield Move("ok", process, shown), _continued(state._replace(aws=aws), process, following)
        if not state.faults:
            return

        faulty = state._replace(faults=state.faults - 1)
        is_sent = process.attempt == 2 or process.call != "publish"
        ended = _ended(faulty, process) if is_sent else _continued(faulty, process, None)
        yield Move("killed", process), ended
        if process.browser == OWN and process.call != "lookup":
            faulty = faulty._replace(late=plus(faulty.late, process))
        if process.attempt == 1:
            again = process._replace(attempt=2)
            yield Move("given up", process), _continued(faulty, process, again)
            return
        has_published = process.call in self.calls[self.calls.index("publish") + 1 :]
        shown = f"success {process.response}" if has_published else "try again"
        yield Move("given up", process, shown), _ended(faulty, process)

    def apply(self, aws: Aws, process: Process) -> tuple[str, Aws]:
        """Return the result of the next call of *process*, and the table and topic after it."""
        item, receipt, published = aws
        response, now, conditions = process.response, process.arrived, self.conditions
        match process.call:
            case "issue":
                return "done", aws._replace(item=Item())
            case "publish":
                return "done", aws._replace(published=published | {response})
            case "receipt":
                new = Receipt(response, now + RECEIPT_LIFETIME)
                is_kept = receipt and "receipt" in conditions
                return "done", aws._replace(receipt=receipt if is_kept else new)
            case "delete":
                is_kept = item and item.response != response and "delete" in conditions
                return "done", aws._replace(item=item if is_kept else None)
            case "lookup":
                is_own = process.browser == OWN or "browser" not in conditions
                is_valid = is_own and receipt and receipt.expires_at > now
                return f"success {receipt.response}" if receipt and is_valid else "used", aws
            case "claim" if "claim" not in conditions:
                return "done", aws._replace(item=Item(response, now))
        # The call is the claim; or, in a broken variant, reads or deletes on the same condition.
        refusal = self._refusal(item, process)
        if refusal or process.call == "read":
            return refusal or "done", aws
        is_late = item and item.response == response and item.claimed_at > now
        claimed = item if is_late and "order" in conditions else Item(response, now)
        return "done", aws._replace(item=claimed if process.call == "claim" else None)

    def _refusal(self, item: Item | None, process: Process) -> str:
        """Return why *process* cannot claim *item*; empty if it can."""
        if item is None:
            return "missing"
        if process.browser == OTHER and "browser" in self.conditions:
            return "other browser"
        now, is_same = process.arrived, item.response == process.response
        if now >= STATE_LIFETIME and not (is_same and item.claimed_at > now - RECEIPT_LIFETIME):
            return "expired"
        is_free = is_same or item.response == 0 or item.claimed_at < now - self.wait
        return "" if is_free else "in flight"

    def _following(self, process: Process, result: str) -> tuple[Process | None, str]:
        """Return *process* at its next call, or None and what its browser is shown."""
        if process.call == "issue":
            return None, "redirect to Qonto"
        if result == "missing":
            return process._replace(call="lookup", attempt=1), ""
        if result != "done":
            return None, result
        for call in self.calls[self.calls.index(process.call) + 1 :]:
            return process._replace(call=call, attempt=1), ""
        return None, f"success {process.response}"

    def problems(self, before: State, move: Move, after: State) -> Iterator[Problem]:
        """Yield each problem with *move*."""
        excuses = after.excuses & self.excuses
        if len(after.aws.published) > 1 and not excuses:
            yield Problem.TWO_IDS
        claimants = {process.response for process in after.running if process.call in FINISHING}
        if len(claimants) > 1 and excuses <= {Excuse.UNFINISHED}:
            yield Problem.TWO_IN_FLIGHT
        old, new = before.aws.receipt, after.aws.receipt
        if old and old.expires_at > after.clock and not (new and new.response == old.response):
            yield Problem.CHANGED
        if move.process:
            yield from self._problems_of_process(before, move, move.process, after)

    def _problems_of_process(
        self, before: State, move: Move, process: Process, after: State
    ) -> Iterator[Problem]:
        item, published = before.aws.item, after.aws.published
        if item and not after.aws.item and item.response not in published:
            yield Problem.DELETED
        is_repeat = process.repeats and Excuse.LATE_START not in after.excuses & self.excuses
        if is_repeat and process.call == "publish" and move.name == "ok":
            yield Problem.PUBLISHED_AGAIN
        is_changed = after.aws != before.aws
        if process.browser == OTHER:
            if is_changed or move.shown not in {"", "other browser", "used", "try again"}:
                yield Problem.OTHER_BROWSER
            return
        if move.shown.startswith("success") and int(move.shown.split()[1]) not in published:
            yield Problem.FALSE_SUCCESS
        if (move.shown or is_changed) and self._is_lost(after, process, move.shown):
            yield Problem.LOST

    def _is_lost(self, state: State, process: Process, shown: str) -> bool:
        """Tell whether the own browser is refused within the hour, now or when it repeats."""
        if process.call == "issue" or state.clock >= STATE_LIFETIME or state.is_receipt_over:
            return False
        receipt = state.aws.receipt
        expires_at = receipt.expires_at if receipt else STATE_LIFETIME
        if shown in {"used", "expired", "other browser"}:
            return process.arrived < expires_at
        later = state.clock + CLAIM_LIFETIME + 1
        is_stuck = not state.running and self._repeated(state.aws, process, later) == "in flight"
        is_used = self._repeated(state.aws, process, state.clock) == "used"
        return state.clock < expires_at and (is_stuck or is_used)

    def _repeated(self, aws: Aws, process: Process, at: int) -> str:
        repeat = process._replace(arrived=at, call=self.calls[0])
        result, _ = self.apply(aws, repeat)
        return self.apply(aws, repeat._replace(call="lookup"))[0] if result == "missing" else result


def _excused(state: State, excuse: Excuse) -> State:
    return state._replace(excuses=state.excuses | {excuse})


def _ended(state: State, process: Process) -> State:
    """Return *state* after *process* was killed or failed."""
    after = _continued(state, process, None)
    if process.call == "issue":
        return after._replace(expected=())  # the browser never gets the state
    return _excused(after, Excuse.UNFINISHED) if process.call in FINISHING else after


def _continued(state: State, process: Process, following: Process | None) -> State:
    running = less(state.running, process)
    return state._replace(running=plus(running, following) if following else running)
