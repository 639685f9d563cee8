"""An exhaustive model of one state: start issues it, and callbacks claim, publish and delete it.

The apps are the real ones. Start puts the item. Then callbacks of the state's own browser and of
another browser arrive, at any of the model's instants, at once or one after the other, with equal
or different responses. The TTL removes an expired item, at any instant or never.

The model leaves out: several states at once, more callbacks and faults than a test gives it, items
of another environment or client, malformed requests and AWS responses, faults of our own code, and
subscribers. An instant stands for the seconds around it: a test chooses instants on both sides of
each limit. A response that is lost between function and browser is not a move, because no check
relies on a received response: from every state, a repeated callback must lead to a success.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property, lru_cache, partial
from hashlib import sha256
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from aws_lambda_powertools import Logger

import cookies
from authorization import RECEIPT_LIFETIME, STATE_LIFETIME, to_item
from state_store import CLAIM_LIFETIME
from tests.model import edited
from tests.model.flow import Model, Move, Process, State, World, put
from tests.model.steps import NO_RESPONSE, Call, ConditionFailedError, Outside
from tests.support.connector import CODE_ROOT, NOW, REQUESTS, RETURN_URL
from tests.support.flow import STATE
from tests.support.packages import VARIABLES

SETTINGS = VARIABLES | {"RETURN_URLS": RETURN_URL}
LOGGER = Logger(service="model", level="CRITICAL")
# In seconds, from the arrival of a callback: Lambda's INIT of 10 s, and the function's time-out.
LONGEST_RUN = 36
OWN, OTHER = "own browser", "other browser"
COOKIES = {OWN: cookies.new_browser(), OTHER: cookies.new_browser()}
# Their identities, which are their queries too, and how the app is told them. Start has none.
RESPONSES = {1: "code=code-1", 2: "error=access_denied"}
OUTCOMES = {"granted": 1, "denied": 2}
HASHES = {sha256(identity.encode()).hexdigest(): name for name, identity in RESPONSES.items()}
FINISHING = {"publish", "put_item", "delete_item"}  # the calls after the claim
PAGES = {302: "redirect to Qonto", 409: "in flight", 503: "try again"}


class Problem(StrEnum):
    """A move that must not be possible."""

    FALSE_SUCCESS = "a success is shown, and its event is not published"
    LOST = "within the hour, a browser that repeats its callback gets nowhere"
    DELETED = "a state is deleted, and the response that claimed it is not published"
    EXPIRED = "a state is claimed after its hour, and not by a callback that is repeated"
    REFUSED = "a callback that repeats a claim of the last ten minutes is refused"
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


RECEIPT_OVER = "the TTL removed the receipt"
REPEATS = "the callback arrived after the receipt and the delete"


class Kept(NamedTuple):
    """The item of the state, its receipt, and the published responses."""

    response: int | None = None  # the response that claimed the state; None without an item
    claimed_at: int = 0
    receipt: int = 0  # the response that it repeats
    expires_at: int = 0
    published: frozenset[int] = frozenset()


@lru_cache(100_000)  # a model has more worlds than fit into memory
def kept(world: World) -> Kept:
    """Return the part of *world* that the problems are about."""
    found = Kept()
    for at, text in world.items:
        item, (place, key) = json.loads(text), at.split()
        if place == "topic":
            found = found._replace(published=found.published | {item})
        elif key == STATE:
            response = HASHES.get(item.get("response_hash", ""), 0)
            claimed_at = item.get("claimed_at", NOW) - NOW
            found = found._replace(response=response, claimed_at=claimed_at)
        else:
            outcome, expires_at = OUTCOMES[item["outcome"].lower()], item["expires_at"] - NOW
            found = found._replace(receipt=outcome, expires_at=expires_at)
    return found


@cache
def shown(ended: Call) -> str:
    """Return what the browser of a process that *ended* is shown."""
    response = json.loads(ended.request)
    status, url = response["statusCode"], urlsplit(response["headers"].get("Location", ""))
    query: dict[str, str] = {name: value for name, [value] in parse_qs(url.query).items()}
    if status in PAGES:
        assert query.get("state", STATE) == STATE
        return PAGES[status]
    if url.path.startswith("/callback/"):
        assert query == {}
        return str(url.path).removeprefix("/callback/").replace("-", " ")
    assert url.geturl().startswith(f"{RETURN_URL}?")
    outcome = query["outcome"]
    return f"success {OUTCOMES[outcome]}" if outcome in OUTCOMES else outcome


@dataclass(frozen=True)
class ConnectorModel(Model):
    """The moves of callbacks, *expected* as browser and response; start is the first process.

    A broken variant has *edits* of the code, or fewer *excuses*.
    """

    edits: Mapping[str, str] = field(default_factory=dict)
    excuses: frozenset[Excuse] = frozenset(Excuse)

    @cached_property
    def _code(self) -> list[ModuleType]:
        names = "start.app", "callback.app", "callback.publisher", "settings", "state_store"
        return edited.modules(CODE_ROOT, names, self.edits)

    def run(self, arrival: tuple[str, int], outside: Outside) -> Any:  # noqa: ANN401 - a response
        """Handle the request of a browser, with a response or to start."""
        start, callback, publisher, settings, state_store = self._code
        browser, response = arrival
        request = REQUESTS["callback" if response else "start"]
        request = request | {
            "cookies": [f"{cookies.BROWSER_COOKIE}={COOKIES[browser]}"],
            "rawQueryString": f"{RESPONSES[response]}&state={STATE}" if response else "context=1",
            "requestContext": request["requestContext"]
            | {"timeEpoch": (NOW + outside.clock) * 1000},
        }
        client: Any = Client(outside)
        own = settings.CallbackSettings.model_validate(SETTINGS)
        states = state_store.StateStore(client, own)
        if response:
            topic = publisher.Publisher(client, own.topic_arn)
            return callback.CallbackApp(own, states, topic, LOGGER).handle(request)
        own = settings.StartSettings.model_validate(SETTINGS)
        with patch.object(start, "token_urlsafe", return_value=STATE):
            return start.StartApp(own, states, LOGGER).handle(request)

    def initial(self) -> State:
        """Return the state in which start is about to put the item."""
        state = super().initial()
        return state._replace(running=(self.began(state, (OWN, 0)),))

    def passing(self, state: State) -> Iterator[tuple[Move, State]]:
        """Let the TTL remove expired items, too."""
        found = kept(state.world)
        over = {STATE: found.response is not None and state.clock >= STATE_LIFETIME}
        over[f"used.{STATE}"] = bool(found.receipt) and state.clock >= found.expires_at
        for key, is_over in over.items():
            if is_over:
                items = tuple(it for it in state.world.items if it[0] != f"states {key}")
                notes = state.notes | ({RECEIPT_OVER} if key != STATE else set())
                world = state.world._replace(items=items)
                yield Move("TTL"), state._replace(world=world, notes=notes)
        for move, after in super().passing(state):
            is_outlived = self.delays(state, after.clock)
            yield move, _excused(after, Excuse.OUTLIVED) if is_outlived else after

    def delays(self, state: State, clock: int) -> int:
        """A process that outlives Lambda's limit takes a fault."""
        ends = [process.arrived + LONGEST_RUN for process in state.running]
        return sum(state.clock <= end < clock for end in ends)

    def after_late(self, after: State, call: Call) -> State:
        """Return *after*, with its excuse."""
        is_starting = any(process.arrival == (OWN, 0) for process in after.running)
        is_issue = call.operation == "put_item" and "used." not in call.request
        return _excused(after, Excuse.LATE_START) if is_issue and not is_starting else after

    def arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield callbacks once start has ended."""
        if all(process.arrival != (OWN, 0) for process in state.running):
            yield from super().arrivals(state)

    def began(self, state: State, arrival: tuple[str, int]) -> Process:
        """Return a process at its first call, which may repeat a callback."""
        found = kept(state.world)
        repeats = found.response is None and found.expires_at > state.clock
        return super().began(state, arrival)._replace(note=REPEATS if repeats else "")

    def stopped(self, move: Move, after: State, result: str = "") -> State:
        """Return the state *after* a process ended or was killed, with its excuse."""
        assert move.process
        if move.ended and result != NO_RESPONSE:
            return after
        if move.process.arrival == (OWN, 0):
            return after._replace(expected=())  # the browser never gets the state
        is_finishing = move.call and move.call.operation in FINISHING
        return _excused(after, Excuse.UNFINISHED) if is_finishing else after

    def _apply(self, world: World, call: Call, attempt: int, clock: int) -> tuple[str, World]:
        if call.operation != "publish":
            return super()._apply(world, call, attempt, clock)
        event = json.loads(json.loads(call.request)["Message"])
        response = 1 if event["data"].get("code") == "code-1" else 2
        return "{}", put(world, {f"topic {event['id']}": response})

    # ----------------------------------------------------------------- problems

    def problems(self, before: State, move: Move, after: State) -> Iterator[Problem]:
        """Yield each problem with *move*."""
        excuses = {Excuse(it) for it in after.notes - {RECEIPT_OVER}} & self.excuses
        old, new = kept(before.world), kept(after.world)
        if len(new.published) > 1 and not excuses:
            yield Problem.TWO_IDS
        claimants = {
            process.arrival[1]
            for process in after.running
            if self.steps.calls[process.step].operation in FINISHING
        }
        if len(claimants - {0}) > 1 and excuses <= {Excuse.UNFINISHED}:
            yield Problem.TWO_IN_FLIGHT
        if old.receipt and old.expires_at > after.clock and new.receipt != old.receipt:
            yield Problem.CHANGED
        if move.process and move.call:
            yield from self._problems_of_process(before, move, move.process, after)

    def _problems_of_process(
        self, before: State, move: Move, process: Process, after: State
    ) -> Iterator[Problem]:
        old, new = kept(before.world), kept(after.world)
        page, is_changed = shown(move.ended) if move.ended else "", after.world != before.world
        if old.response and new.response is None and old.response not in new.published:
            yield Problem.DELETED
        excuses = after.notes & self.excuses
        is_repeat = process.note == REPEATS and Excuse.LATE_START not in excuses
        if is_repeat and move.call and move.call.operation == "publish" and move.name == "ok":
            yield Problem.PUBLISHED_AGAIN
        if process.arrival[0] == OTHER:
            if is_changed or page not in {"", "other browser", "used", "try again"}:
                yield Problem.OTHER_BROWSER
            return
        is_late = old.claimed_at <= process.arrived - RECEIPT_LIFETIME
        is_another = old.response != process.arrival[1] or is_late
        is_claimed = is_changed and move.call and move.call.operation == "update_item"
        if is_claimed and is_another and process.arrived >= STATE_LIFETIME:
            yield Problem.EXPIRED
        if page in {"in flight", "expired"} and not is_another:
            yield Problem.REFUSED
        if page.startswith("success") and int(page.split()[1]) not in new.published:
            yield Problem.FALSE_SUCCESS
        if (page or is_changed) and self._is_lost(after, process, page):
            yield Problem.LOST

    def _is_lost(self, state: State, process: Process, page: str) -> bool:
        """Tell whether the own browser is refused within the hour, now or when it repeats."""
        is_over = state.clock >= STATE_LIFETIME or RECEIPT_OVER in state.notes
        if not process.arrival[1] or is_over:
            return False
        expires_at = kept(state.world).expires_at or STATE_LIFETIME
        if page in {"used", "expired", "other browser"}:
            return process.arrived < expires_at
        later = state.clock + CLAIM_LIFETIME + 1
        is_stuck = not state.running and self._repeated(state, process, later) == "in flight"
        is_used = self._repeated(state, process, state.clock) == "used"
        return state.clock < expires_at and (is_stuck or is_used)

    def _repeated(self, state: State, process: Process, at: int) -> str:
        """Return what a repeated callback is shown, alone and without a fault."""
        return shown(self.alone(state.world, process.arrival, at)[0])


class Client:
    """The clients of DynamoDB and SNS: attributes have no types outside."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionFailedError)

    def __init__(self, outside: Outside) -> None:
        """Call *outside*."""
        self._outside = outside

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - a method
        """Return a method of boto3's clients."""
        return partial(self._call, operation)

    def _call(self, operation: str, **request: Any) -> Any:  # noqa: ANN401 - JSON
        for name in request.keys() & {"Item", "Key", "ExpressionAttributeValues"}:
            request[name] = {at: plain(typed) for at, typed in request[name].items()}
        if operation != "publish":
            request["TableName"] = "states"
        try:
            response = self._outside.call(operation, **request)
        except ConditionFailedError as error:
            failed: Any = error.response
            if "Item" in failed:
                failed["Item"] = to_item(failed["Item"])
            raise
        return {name: to_item(it) if isinstance(it, dict) else it for name, it in response.items()}


def plain(typed: dict[str, str]) -> str | int:
    """Return the value of an attribute."""
    return int(typed["N"]) if "N" in typed else typed["S"]


def _excused(state: State, excuse: Excuse) -> State:
    return state._replace(notes=state.notes | {excuse})
