"""The real apps walk the paths of the model and end where it says; wrong ones do not.

`StartApp`, `CallbackApp`, `StateStore` and `Publisher` are the real ones. A request stops before
each attempt of an AWS call until the path says what happens to this attempt. Then it runs again
from its beginning, with the same results as before.

The replay compares the table, the events, the next call of each process and what each browser is
shown, but no logs and metrics. The client gives up on an attempt with the same error each time, and
a killed request does not go on. The fault matrix has every kind of error, and real kills.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout, suppress
from functools import partial
from hashlib import sha256
from itertools import chain
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid5

import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ReadTimeoutError

import cookies
from authorization import Receipt as RealReceipt
from callback.app import CallbackApp
from callback.publisher import Publisher
from http_api import Response
from settings import CallbackSettings, StartSettings
from start import app as start_app
from state_store import StateStore
from tests.model.callback_flow import OTHER, OWN, Aws, Item, Model, Move, Receipt, State
from tests.model.exploration import Path, lines, path_to
from tests.support.connector import NOW, REQUESTS, RETURN_URL
from tests.support.fake_aws import ConditionFailedError, FakeAws, plain
from tests.support.flow import STATE
from tests.support.packages import VARIABLES
from tests.support.slow import SEED, SLOW, slow

SETTINGS = VARIABLES | {"RETURN_URLS": RETURN_URL}
START_SETTINGS = StartSettings.model_validate(SETTINGS)
CALLBACK_SETTINGS = CallbackSettings.model_validate(SETTINGS)
LOGGER = Logger(service="model", level="CRITICAL")
COOKIES = {OWN: cookies.new_browser(), OTHER: cookies.new_browser()}
# The model's responses: their identities, which are their queries too, and how an app is told them.
RESPONSES = {1: "code=code-1", 2: "error=access_denied"}
OUTCOMES = {"granted": 1, "denied": 2}
HASHES = {sha256(identity.encode()).hexdigest(): name for name, identity in RESPONSES.items()}
CALLS = {"update_item": "claim", "get_item": "lookup", "delete_item": "delete"}
PAGES = {302: "redirect to Qonto", 409: "in flight", 503: "try again"}


# Of an attempt: the response, an exception, or None if the client gave up.
type Result = dict[str, Any] | ConditionFailedError | None


class StoppedError(BaseException):
    """Stops a request. It is no `Exception`, so that the apps do not handle it."""


class Run:
    """One request to an app, and the client of AWS that the app has."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionFailedError)
    at: tuple[str, int]  # the model's name of the call that it makes next, and the attempt
    call: tuple[str, dict[str, Any]]  # this call's operation and request
    response: Response | None = None

    def __init__(self, key: tuple[str, int, int], states: type[StateStore]) -> None:
        """Go to the first attempt. *key* is browser, response and arrival, as in the model."""
        self.key = key
        self._states = states
        self._results: tuple[Result, ...] = ()
        self.go_on()

    def go_on(self, *result: Result) -> None:
        """Go to the next attempt, or to the end, after the *result* of the last one."""
        self._results += result
        self._remaining = iter(self._results)
        browser, response, arrived = self.key
        request = REQUESTS["callback" if response else "start"]
        request = request | {
            "cookies": [f"{cookies.BROWSER_COOKIE}={COOKIES[browser]}"],
            "rawQueryString": f"{RESPONSES[response]}&state={STATE}" if response else "context=1",
            "requestContext": request["requestContext"] | {"timeEpoch": (NOW + arrived) * 1000},
        }
        client: Any = self
        states = self._states(client, CALLBACK_SETTINGS)
        app: CallbackApp | start_app.StartApp = start_app.StartApp(START_SETTINGS, states, LOGGER)
        if response:
            publisher = Publisher(client, CALLBACK_SETTINGS.topic_arn)
            app = CallbackApp(CALLBACK_SETTINGS, states, publisher, LOGGER)
        with suppress(StoppedError):
            self.response = app.handle(request)

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        """Return *operation* of a boto3 client."""
        return partial(self._call, operation)

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3's
        name = CALLS.get(operation, operation)
        if operation == "put_item":
            name = "receipt" if _is_receipt(request["Item"]["state"]["S"]) else "issue"
        for attempt in (1, 2):  # as botocore
            try:
                result = next(self._remaining)
            except StopIteration:
                self.at = name, attempt
                if attempt == 1:  # the second repeats its request, random values too
                    self.call = operation, request
                raise StoppedError from None
            if isinstance(result, ConditionFailedError):
                raise result
            if result is not None:
                return result
        raise ReadTimeoutError(endpoint_url="https://aws.example.com")


def _is_receipt(key: str) -> bool:
    return key.startswith(RealReceipt.key(""))


class Connector:
    """The real apps, their table and topic, and the requests that run."""

    def __init__(self, states: type[StateStore]) -> None:
        """Begin with a request to start, as the model does."""
        self._states = states
        self._aws = FakeAws(CALLBACK_SETTINGS.table_name)
        self._late: list[tuple[tuple[object, ...], tuple[str, dict[str, Any]]]] = []
        self._runs = [Run((OWN, 0, 0), states)]
        self._successes: dict[str, Response] = {}

    def move(self, move: Move) -> str:
        """Do *move*, and return what the browser is then shown."""
        process, table = move.process, self._aws.table
        if move.name.startswith("TTL"):
            del table[next(key for key in table if _is_receipt(key) == ("receipt" in move.name))]
        if process is None:
            return ""
        if move.name == "arrives":
            self._runs.append(Run(process[:3], self._states))
            return ""
        if move.name == "arrives late":
            write = next(write for write in self._late if write[0] == process[:5])
            self._late.remove(write)
            self._applied(*write[1])
            return ""
        run = next(run for run in self._runs if (*run.key, run.at) == (*process[:3], process[3:5]))
        if move.name == "ok":
            run.go_on(self._applied(*run.call, process.attempt - 1))
        elif move.name == "given up":
            self._late.append((process[:5], run.call))
            run.go_on(None)
        if move.name == "killed" or run.response:
            self._runs.remove(run)
        return self._shown(run.response) if run.response else ""

    def _applied(self, operation: str, request: dict[str, Any], retries: int = 0) -> Result:
        try:
            return self._aws.apply(operation, request, retries)
        except ConditionFailedError as error:
            return error

    def _shown(self, response: Response) -> str:
        status = response["statusCode"]
        url = urlsplit(response["headers"].get("Location", ""))
        query: dict[str, str] = {name: value for name, [value] in parse_qs(url.query).items()}
        if status in PAGES:
            assert query.get("state", STATE) == STATE
            return PAGES[status]
        if url.path.startswith("/callback/"):
            assert query == {}
            return str(url.path).removeprefix("/callback/").replace("-", " ")
        assert url.geturl().startswith(f"{RETURN_URL}?")
        if query["outcome"] not in OUTCOMES:
            return query["outcome"]
        success = f"success {OUTCOMES[query['outcome']]}"
        assert self._successes.setdefault(success, response) == response
        return success

    def seen(self) -> tuple[Aws, list[Any]]:
        """Return the table, the topic and the running processes in the model's words."""
        item, receipt, published = None, None, set()
        for key, typed in self._aws.table.items():
            values: dict[str, Any] = {name: plain(value) for name, value in typed.items()}
            if _is_receipt(key):
                receipt = Receipt(OUTCOMES[values["outcome"].lower()], values["expires_at"] - NOW)
            elif "response_hash" in values:
                item = Item(HASHES[values["response_hash"]], values["claimed_at"] - NOW)
            else:
                item = Item()
        for event in self._aws.events:
            response = 1 if event["data"].get("code") == "code-1" else 2
            assert UUID(event["id"]) == uuid5(UUID(event["subject"]), RESPONSES[response])
            published.add(response)
        running = sorted((*run.key, *run.at) for run in self._runs)
        return Aws(item, receipt, frozenset(published)), running


def replay(paths: Iterable[Path[State, Move]], states: type[StateStore] = StateStore) -> None:
    """Walk *paths* with the apps and *states*; they must do what the model does."""
    with redirect_stdout(None), patch.object(start_app, "token_urlsafe", return_value=STATE):
        for path in paths:
            connector = Connector(states)
            for number, (move, state) in enumerate(path, 1):
                shown = connector.move(move)
                running = sorted(process[:5] for process in state.running)
                model, apps = (move.shown, state.aws, running), (shown, *connector.seen())
                assert apps == model, f"{lines(path[:number])}\nmodel: {model}\napps: {apps}"


def walks(model: Model) -> Iterator[Path[State, Move]]:
    """Yield paths that together take every move of *model* in every one of its states."""
    origins = model.explore().origins
    untaken = {state: dict(model.moves(state)) for state in origins}
    for last in reversed(origins):  # so that long paths take the moves of short ones
        while untaken[last]:
            path, state = path_to(last, origins), model.initial
            for move, after in path:
                untaken[state].pop(move, None)
                state = after
            while untaken[state]:
                move, state = untaken[state].popitem()
                path.append((move, state))
            yield path


ONE, TWO, STRANGER = (OWN, 1), (OWN, 2), (OTHER, 1)
# The apps take every move of these.
REPLAYED = [
    Model((ONE,), (0,), 3),
    Model((ONE, TWO), (0, 61), 1),
    Model((ONE, ONE), (0, 30), 0),
    Model((ONE, ONE), (0,), 1),
    Model((ONE, STRANGER), (0, 600), 1),
    Model((ONE, ONE), (3590, 3651, 4251), 1),
    Model((ONE, TWO), (3599, 3600), 0),
]
LARGE_REPLAYED = [
    Model((ONE, TWO), (0, 61), 2),
    Model((ONE, TWO), (3590, 3600, 3651, 4251), 1),
    Model((ONE, ONE), (0, 590, 600), 1),
    Model((ONE, TWO, STRANGER), (0, 61), 1),
]
# Of this one, they take random paths.
SAMPLED = Model(
    (ONE, ONE, TWO, TWO, STRANGER), (0, 30, 61, 97, 599, 661, 3590, 3600, 3651, 4251), 4
)


@pytest.mark.parametrize(
    "model", [*REPLAYED, *(pytest.param(model, marks=slow) for model in LARGE_REPLAYED)]
)
@pytest.mark.claim("S23")
def test_apps_take_every_move_of_model(model: Model) -> None:
    replay(walks(model))


@pytest.mark.claim("S23")
def test_apps_take_random_paths_of_model() -> None:
    random = Random(SEED)  # noqa: S311 - it chooses tests

    for _ in range(2_000 if SLOW else 150):
        path = [(Move("start"), SAMPLED.initial)]
        while moves := list(SAMPLED.moves(path[-1][1])):
            path.append(random.choice(moves))
        replay([path[1:]])


WRONG = {
    "any browser claims": ("^browser_hash = :browser_hash", "True"),
    "any response claims": ("claimed_at < :free", "True"),
    "no other response claims": ("claimed_at < :free", "False"),
    "the same response does not claim again": (r" OR \(response_hash[^)]*<= :now\)", ""),
    "a claim goes back": (" AND claimed_at <= :now", ""),
    "a state is claimed after its hour": ("expires_at > :now", "True"),
    "a claim can always be repeated": ("claimed_at > :repeatable", "True"),
    "a claim cannot be repeated after the hour": ("claimed_at > :repeatable", "False"),
    "any receipt replaces another": (r"attribute_not_exists\(browser_hash\)", "True"),
    "any response deletes": ("^response_hash = :response_hash$", "True"),
}


@slow
@pytest.mark.parametrize(("pattern", "replacement"), WRONG.values(), ids=WRONG)
@pytest.mark.claim("S23")
def test_replay_finds_wrong_condition(pattern: str, replacement: str) -> None:
    class Wrong(StateStore):
        def _call(self, operation: Callable[..., Any], **request: Any) -> dict[str, Any]:  # noqa: ANN401
            condition = request.get("ConditionExpression", "True")
            request["ConditionExpression"] = re.sub(pattern, replacement, condition)
            return super()._call(operation, **request)

    with pytest.raises(AssertionError):
        replay(chain.from_iterable(map(walks, REPLAYED)), Wrong)
