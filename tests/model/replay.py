"""Walks a path of the model with the real apps, and compares both after every move.

`StartApp`, `CallbackApp`, `StateStore` and `Publisher` are the real ones. Each request runs in a
thread of its own, which stops before each attempt of an AWS call until the path says what happens
to this attempt.

The replay compares the table, the events, the next call of each process and what each browser is
shown, but no logs and metrics. The client gives up on an attempt with the same error each time, and
a kill is an exception. The fault matrix has every kind of error, and real kills.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout, suppress
from hashlib import sha256
from queue import SimpleQueue
from random import Random
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid5

from aws_lambda_powertools import Logger
from botocore.exceptions import ReadTimeoutError

import cookies
from authorization import Receipt as RealReceipt
from callback.app import CallbackApp
from callback.publisher import Publisher
from http_api import Request, Response
from settings import CallbackSettings, StartSettings
from start.app import StartApp
from state_store import StateStore
from tests.model.callback_flow import (
    OTHER,
    OWN,
    Aws,
    Item,
    Model,
    Move,
    Path,
    Receipt,
)
from tests.model.exploration import lines, path_to
from tests.support.connector import NOW, REQUESTS, RETURN_URL
from tests.support.fake_aws import ConditionFailedError, FakeAws, plain

# As texts, because each run needs a copy of its own. `NOW` is 0 seconds in the model.
TEXTS = {name: json.dumps(request) for name, request in REQUESTS.items()}
ENVIRONMENT = {
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": "client-1",
    "SCOPE": "offline_access",
    "REDIRECT_URI": "https://connect.example.com/callback",
    "RETURN_URLS": RETURN_URL,
    "TABLE_NAME": "table",
    "TOPIC_ARN": "topic",
}
START_SETTINGS = StartSettings.model_validate(ENVIRONMENT)
CALLBACK_SETTINGS = CallbackSettings.model_validate(ENVIRONMENT)
LOGGER = Logger(service="model", level="CRITICAL")
COOKIES = {OWN: cookies.new_browser(), OTHER: cookies.new_browser()}
# The model's responses: their identities, which are their queries too, and how an app is told them.
RESPONSES = {1: "code=code-1", 2: "error=access_denied"}
OUTCOMES = {"granted": 1, "denied": 2}
HASHES = {sha256(identity.encode()).hexdigest(): name for name, identity in RESPONSES.items()}
CALLS = {"update_item": "claim", "get_item": "lookup", "delete_item": "delete"}
PAGES = {302: "redirect to Qonto", 409: "in flight", 503: "try again"}


class KilledError(BaseException):
    """Ends a process. It is no `Exception`, so that the apps do not handle it."""


def _is_receipt(key: str) -> bool:
    return key.startswith(RealReceipt.key(""))


class Run:
    """One request to an app. Its thread stops before each attempt of an AWS call.

    Attributes:
        key: browser, response and arrival, as in the model.
        at: the model's name of the call that it makes next, and the attempt; or its response, which
            is None after a kill.

    """

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionFailedError)

    def __init__(self, key: tuple[str, int, int], aws: FakeAws, late: list[Any]) -> None:
        """Call *aws*, and add what is given up on to *late*."""
        self.key = key
        self.at: tuple[str, int] | Response | None = None
        self._aws = aws
        self._late = late
        self._reports: SimpleQueue[Any] = SimpleQueue()  # what `at` becomes, or an exception
        self._verdicts: SimpleQueue[str] = SimpleQueue()

    def start(self, handle: Callable[[Request], Response], request: Request) -> None:
        """Let *handle* begin with *request*."""

        def run() -> None:
            try:
                self._reports.put(handle(request))
            except KilledError:
                self._reports.put(None)
            except BaseException as error:  # noqa: BLE001 - the test must see it
                self._reports.put(error)

        Thread(target=run, daemon=True).start()
        self._wait()

    def go_on(self, verdict: str) -> None:
        """Continue with what happens to the attempt: "ok", "given up" or "killed"."""
        self._verdicts.put(verdict)
        self._wait()

    def _wait(self) -> None:
        self.at = None
        report = self._reports.get(timeout=10)
        if isinstance(report, BaseException):
            raise report
        self.at = report

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        """Return *operation* of a boto3 client, with botocore's two attempts."""

        def call(**request: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3's
            name = CALLS.get(operation, operation)
            if operation == "put_item":
                name = "receipt" if _is_receipt(request["Item"]["state"]["S"]) else "issue"
            for attempt in (1, 2):
                self._reports.put((name, attempt))
                verdict = self._verdicts.get()
                if verdict == "killed":
                    raise KilledError
                if verdict == "ok":
                    return self._aws.apply(operation, request, attempt - 1)
                self._late.append(((*self.key, name, attempt), operation, request))
            raise ReadTimeoutError(endpoint_url="https://aws.example.com")

        return call


class Connector:
    """The real apps, their table and topic, and the requests that run."""

    def __init__(self, state_store: type[StateStore]) -> None:
        """Begin with a request to start, as the model does."""
        self._state_store = state_store
        self._aws = FakeAws(ENVIRONMENT["TABLE_NAME"])
        self._late: list[tuple[tuple[object, ...], str, dict[str, Any]]] = []
        self._runs: list[Run] = []
        self._state = ""
        self._successes: dict[str, Response] = {}
        self._begin((OWN, 0, 0))

    def _begin(self, key: tuple[str, int, int]) -> None:
        browser, response, arrived = key
        request = json.loads(TEXTS["callback" if response else "start"])
        request["requestContext"]["timeEpoch"] = (NOW + arrived) * 1000
        request["cookies"] = [f"{cookies.BROWSER_COOKIE}={COOKIES[browser]}"]
        query = f"{RESPONSES[response]}&state={self._state}" if response else "context=1"
        request["rawQueryString"] = query
        run = Run(key, self._aws, self._late)
        client = cast("Any", run)
        states = self._state_store(client, CALLBACK_SETTINGS)
        if response:
            publisher = Publisher(client, CALLBACK_SETTINGS.topic_arn)
            handle = CallbackApp(CALLBACK_SETTINGS, states, publisher, LOGGER).handle
        else:
            handle = StartApp(START_SETTINGS, states, LOGGER).handle
        self._runs.append(run)
        run.start(handle, request)

    def move(self, move: Move) -> str:
        """Do *move*, and return what the browser is then shown."""
        process, table = move.process, self._aws.table
        if move.name.startswith("TTL"):
            del table[next(key for key in table if _is_receipt(key) == ("receipt" in move.name))]
        if process is None:
            return ""
        if move.name == "arrives":
            self._begin(process[:3])
            return ""
        if move.name == "arrives late":
            write = next(write for write in self._late if write[0] == process[:5])
            self._late.remove(write)
            with suppress(ConditionFailedError):
                self._aws.apply(*write[1:])
            return ""
        run = next(run for run in self._runs if (*run.key, run.at) == (*process[:3], process[3:5]))
        run.go_on(move.name)
        if isinstance(run.at, tuple):
            return ""
        self._runs.remove(run)
        return self._shown(run.at) if run.at else ""

    def _shown(self, response: Response) -> str:
        status = response["statusCode"]
        url = urlsplit(response["headers"].get("Location", ""))
        query: dict[str, str] = {name: value for name, [value] in parse_qs(url.query).items()}
        if status in PAGES:
            self._state = query.get("state", self._state)
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

    def seen(self) -> tuple[Aws, list[tuple[object, ...]]]:
        """Return the table, the topic and the running processes in the model's words."""
        item, receipt = None, None
        for key, typed in self._aws.table.items():
            values = {name: plain(value) for name, value in typed.items()}
            if _is_receipt(key):
                expires_at = cast("int", values["expires_at"]) - NOW
                receipt = Receipt(OUTCOMES[cast("str", values["outcome"]).lower()], expires_at)
            elif "response_hash" in values:
                claimed_at = cast("int", values["claimed_at"]) - NOW
                item = Item(HASHES[cast("str", values["response_hash"])], claimed_at)
            else:
                item = Item()
        published = frozenset(self._published())
        running = [(*run.key, *cast("tuple[str, int]", run.at)) for run in self._runs]
        return Aws(item, receipt, published), sorted(running)

    def _published(self) -> Iterator[int]:
        for event in self._aws.events:
            data, subject = event["data"], UUID(event["subject"])
            response = 1 if data.get("code") == "code-1" else 2
            assert UUID(event["id"]) == uuid5(subject, RESPONSES[response])
            yield response

    def close(self) -> None:
        """Kill what still runs."""
        for run in self._runs:
            if isinstance(run.at, tuple):
                run.go_on("killed")


def replay(path: Path, state_store: type[StateStore] = StateStore) -> None:
    """Walk *path* with the apps and *state_store*; they must do what the model does."""
    # The apps print metrics.
    with redirect_stdout(None), closing(Connector(state_store)) as connector:
        for number, (move, state) in enumerate(path, 1):
            shown = connector.move(move)
            running = sorted(process[:5] for process in state.running)
            model, apps = (move.shown, state.aws, running), (shown, *connector.seen())
            assert apps == model, f"{lines(path[:number])}\nmodel: {model}\napps: {apps}"


def walks(model: Model) -> Iterator[Path]:
    """Yield paths that together take every move of *model* in every one of its states."""
    origins = model.explore(sought=()).origins
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


def random_walk(model: Model, random: Random) -> Path:
    """Return a path of random moves of *model*, up to a state without a move."""
    path: Path = []
    state = model.initial
    while moves := list(model.moves(state)):
        move, state = random.choice(moves)
        path.append((move, state))
    return path
