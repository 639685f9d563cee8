"""An exhaustive model of the example subscriber and the example app: the real ones.

Browsers come back to the app, and messages are delivered. A message is delivered once more while it
is handled or afterwards (one fault), and again after its handling failed. Qonto responds with
tokens; or it refuses, or cannot be reached (one fault each). A process that long time passes is
slow (one fault), and Lambda ends it before a second time.

The model leaves out: the client secret and the organisation's name (a fault there is one of the
next call), scopes, foreign events, `RequireConfirmation=false`, the TTL, the dead-letter queue, and
more messages, faults and parallel processes than a test gives it.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, cached_property, partial
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, Self
from unittest.mock import Mock, patch

import httpx2
from boto3.dynamodb.conditions import ConditionExpressionBuilder
from starlette.requests import Request

from demo.gateway import LambdaContext
from demo.template import EXAMPLE, ROOT
from examples.app.app import Ledgerly
from examples.app.contexts import Asked, sha256
from examples.app.subscriber import Subscriber
from subscriber.access_tokens import WAIT
from subscriber.grants import LONGEST_RUN, REFRESHING, Status
from tests.model import dynamodb, edited
from tests.model.exploration import Exploration, less, plus
from tests.model.flow import READS, Model, Move, Process, State, World
from tests.model.steps import DONE, FAILED, NO_RESPONSE, Call, ConditionFailedError, Outside
from tests.support.subscription import CLIENT_ID, SCOPE, SECRET, lambda_event, rfc3339

NOW = 1_700_000_000  # the time in epoch seconds when a model begins
CODE_LIFETIME, HOUR = 600, 3600  # seconds
SHORT = 15  # seconds, which a process may take without being slow
AUTHORIZATIONS = {each: f"{each.lower() * 8}-0000-4000-8000-000000000000" for each in "AB"}
URL = "https://qonto.example"
SETTINGS = {
    "GRANT_TABLE_NAME": "grants",
    "CONNECTION_TABLE_NAME": "connections",
    "QUEUE_URL": "queue",
    "CLIENT_SECRET_ARN": "secret",
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": CLIENT_ID,
    "TOKEN_ENDPOINT": f"{URL}/oauth2/token",
    "API_URL": URL,
    "REQUIRE_CONFIRMATION": "true",
    "POWERTOOLS_SERVICE_NAME": "model",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "POWERTOOLS_METRICS_DISABLED": "true",
}
dynamodb.KEYS |= {"grants": ["authorization_id", "event_id"]}
dynamodb.KEYS |= {"connections": ["authorization_id", "context"]}
REDELIVERY = 60  # seconds until a message about something unfinished comes again
# Calls of the app's own store, and the wait for another function, have no fault.
FAULTLESS = READS | {"asked", "use", "repudiate context", "set confirmed", "sleep"}
NOT_SENT, REFUSED = "not sent", "refused"  # results of requests to Qonto
SECRETS = {Status.HELD, Status.EXCHANGING, Status.CONNECTED}  # the item has a code or tokens


class Kind(StrEnum):
    """A message, a browser that comes back to the app, a request, or what the user does."""

    EVENT = "event"
    CONFIRMATION = "confirmation"
    REPUDIATION = "repudiation"
    LATE = "late repudiation"  # sent when the hour after the event is over
    UNFINISHED = "unfinished"
    RIGHT = "right browser"
    OTHER_SESSION = "right browser, other session"
    OTHER = "other browser"
    TOKEN = "token"
    REFUSED = "token instead of a refused one"
    DISCONNECT = "disconnect"
    WITHDRAWAL = "withdrawal"  # the user ends the connection in Qonto


BROWSERS = {Kind.RIGHT, Kind.OTHER_SESSION, Kind.OTHER}
REQUESTS = {Kind.TOKEN, Kind.REFUSED, Kind.DISCONNECT}


class Arrival(NamedTuple):
    """What begins a process."""

    kind: Kind
    authorization: str
    context: str
    event: str = ""  # the event's name; those of one authorization are in their order
    code: str = ""
    due: int = 0  # a message does not arrive before this time
    refused: str = ""  # the access token that Qonto's API refused

    @property
    def confirmation(self) -> dict[str, str]:
        """Return the confirmation of the authorization."""
        return {"authorization_id": AUTHORIZATIONS[self.authorization], "context": self.context}

    @property
    def key(self) -> str:
        """What the subscriber knows the connection by."""
        return " ".join(self.confirmation.values())


class Problem(StrEnum):
    """A move that must not be possible, or a state in which everything is handled."""

    TWICE = "Qonto receives a code twice"
    UNCONFIRMED = "a code is exchanged that no right session confirmed"
    CONTEXT_TWICE = "two authorizations of one context are confirmed"
    CHANGED = "a claim or its result is changed by a process that may not"
    NO_TOKENS = "the app reads connected, and there are no tokens"
    LATE = "a late repudiation removes a connection"
    STUCK = "a message that is handled alone, without a fault, fails"
    REPUDIATED = "another browser came back; in the end there is a code, tokens or a connection"
    TWO_GRANTS = "in the end, an authorization has the tokens of two codes"
    UNTOLD = "in the end there are tokens, and the app does not read connected"
    UNSENT = "in the end, a confirmed code that is alive was not sent, and no process failed"


type Rows = dict[str, dict[str, Any]]


class Kept(NamedTuple):
    """The rows of each table, by their keys, and what Qonto knows of codes and tokens."""

    grants: Rows
    connections: Rows
    contexts: Rows
    codes: Rows
    tokens: Rows


@cache
def kept(world: World) -> Kept:
    """Return the rows of *world*."""
    found: dict[str, Rows] = {name: {} for name in Kept._fields}
    for at, text in world.items:
        table, key = at.split(" ", 1)
        found[table][key] = json.loads(text)
    return Kept(**found)


@dataclass(frozen=True)
class SubscriberModel(Model):
    """The moves of *messages*, and of browsers, which are *expected*.

    A broken variant has *edits* of the subscriber's code, or *app_edits*.
    """

    messages: tuple[Arrival, ...] = ()
    parallel: int = 2  # processes at most
    edits: Mapping[str, str] = field(default_factory=dict)
    app_edits: Mapping[str, str] = field(default_factory=dict)

    def edited(self, code: Mapping[str, str] = {}, app: Mapping[str, str] = {}) -> Self:
        """Return a broken variant."""
        return replace(self, edits=code, app_edits=app)

    # --------------------------------------------------------------------- code

    @cached_property
    def _code(self) -> list[ModuleType]:
        """Both handlers, with clients that call `self._outside`."""
        sqs = SimpleNamespace(send_message_batch=partial(self._call, "send_message_batch"))
        secrets = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": SECRET})
        clients = {"sqs": sqs, "secretsmanager": secrets}
        tables = SimpleNamespace(Table=lambda name: Table(name, self._call))
        with (
            patch.dict("os.environ", SETTINGS),
            patch("boto3.resource", lambda *_, **_named: tables),
            patch("boto3.client", lambda name, **_: clients[name]),
        ):
            names = "subscriber.handler", "subscriber.tokens_handler"
            return edited.modules(EXAMPLE.parent, names, self.edits)

    @cached_property
    def _app(self) -> type[Ledgerly]:
        [app] = edited.modules(ROOT / "examples", ["examples.app.app"], self.app_edits, "examples")
        found: type[Ledgerly] = app.Ledgerly
        return found

    def _call(self, operation: str, **request: Any) -> Any:  # noqa: ANN401 - JSON
        return self.__dict__["outside"].call(operation, **request)

    def run(self, arrival: Arrival, outside: Outside) -> Any:  # noqa: ANN401 - JSON
        """Handle *arrival*."""
        self.__dict__["outside"] = outside
        if arrival.kind in BROWSERS:
            return self._connected(arrival)
        handler, tokens_handler = self._code
        if arrival.kind in REQUESTS:
            request: dict[str, Any] = {"authorization_id": AUTHORIZATIONS[arrival.authorization]}
            request |= {"refused": arrival.refused, "disconnect": arrival.kind is Kind.DISCONNECT}
            return tokens_handler.handler(request, LambdaContext("tokens"))
        event = lambda_event(json.dumps(_message(arrival)), _sent_at(arrival))
        response = handler.handler(event, LambdaContext("subscriber"))
        assert response == {"batchItemFailures": []}
        return None

    def explore(self, sought: Collection[StrEnum]) -> Exploration[State, Move]:
        """Visit all states, with the clock of the model."""

        def sleep(_seconds: float) -> None:
            self.__dict__["outside"].clock += self._call("sleep")

        with (
            patch("time.time", lambda: NOW + self.__dict__["outside"].clock),
            patch("time.sleep", sleep),
            patch("secrets.token_hex", lambda _: self._call("owner")),
            patch("httpx2.request", self._to_qonto),
            patch("httpx2.get", Mock(side_effect=httpx2.ConnectError(""))),  # no name
            redirect_stdout(None),
        ):
            return super().explore(sought)

    def _to_qonto(self, method: str, url: str, **options: Any) -> httpx2.Response:  # noqa: ANN401
        sent = (options.get("data") or {}) | {"method": method}
        sent["token"] = options["headers"].get("Authorization", "").removeprefix("Bearer ")
        kept_names = {"method", "token", "code", "refresh_token"}
        result = self._call("qonto", **{name: sent[name] for name in sent.keys() & kept_names})
        if result == NOT_SENT:
            raise httpx2.ConnectError("")
        if result == "lost":
            raise httpx2.ReadTimeout("")
        if result == REFUSED:
            result = [429, {"error": "too_many"}]
        return httpx2.Response(result[0], json=result[1])

    def _connected(self, browser: Arrival) -> None:
        """Let *browser* come back to the app."""
        contexts = SimpleNamespace(
            asked=lambda context: self._asked(context),
            use=lambda asked, authorization_id, _: self._call(
                "use", context=asked.context, authorization_id=authorization_id
            ),
            repudiate=lambda asked: self._call("repudiate context", context=asked.context),
            set_confirmed=lambda asked: self._call("set confirmed", context=asked.context),
        )
        sqs: Any = SimpleNamespace(send_message=partial(self._call, "send_message"))
        session = "own" if browser.kind is Kind.RIGHT else "other"
        sessions: Any = SimpleNamespace(find=lambda _: SimpleNamespace(id=session))
        rest: Any = Mock()
        app: Any = contexts
        ledgerly = self._app(
            "http://localhost", URL, Subscriber(sqs, "queue", rest), rest, rest, sessions, app
        )
        cookie = "other" if browser.kind is Kind.OTHER else "own"
        query = f"authorization_id={browser.confirmation['authorization_id']}"
        headers = [(b"cookie", f"ledgerly-browser={cookie}; ledgerly=any".encode())]
        scope = {"type": "http", "method": "GET", "headers": headers, "path": "/connected"}
        scope["query_string"] = f"{query}&outcome=granted&context={browser.context}".encode()
        ledgerly.connected(Request(scope))

    def _asked(self, context: str) -> Asked:
        found = self._call("asked", context=context)
        return Asked(
            context, "own", sha256("own"), NOW, found.get("authorization_id"), None, None,
            found.get("confirmed", False),
        )  # fmt: skip

    # -------------------------------------------------------------------- moves

    def initial(self) -> State:
        """Return the state in which the messages wait."""
        refused = {it.key for it in self.messages if it.kind is Kind.REPUDIATION}
        world = World(queue=tuple(sorted(self.messages)))
        return super().initial()._replace(world=world, notes=frozenset(refused))

    def passing(self, state: State) -> Iterator[tuple[Move, State]]:
        """Mark the processes that time passes."""
        for move, after in super().passing(state):
            running = tuple(sorted(it._replace(note="passed") for it in state.running))
            is_slow = after.faults < state.faults
            yield move, (_failed(after) if is_slow else after)._replace(running=running)

    def delays(self, state: State, clock: int) -> int | None:
        """Slow processes take a fault, and no process is slow twice."""
        if any(it.note for it in state.running):
            return None
        return int(bool(state.running) and clock - state.clock > SHORT)

    def after_late(self, after: State, _call: Call) -> State:
        return after

    def arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        """Yield the arrivals; some processes have ended after their first read."""
        for move, after in self._arrivals(state):
            process = move.process
            assert process
            call = self.steps.calls[process.step]
            if call.operation in {DONE, FAILED} and process in after.running:
                less_ = after._replace(running=less(after.running, process))
                yield move._replace(ended=call), self.stopped(less_, process, call)
            else:
                yield move, after

    def _arrivals(self, state: State) -> Iterator[tuple[Move, State]]:
        """Deliver messages, too: once, or twice, or to a function that fails at once."""
        if len(state.running) >= self.parallel:
            return
        for move, after in super().arrivals(state):
            arrival = move.process.arrival
            if arrival.kind is Kind.RIGHT:
                after = after._replace(notes=after.notes | {f"confirmed {arrival.key}"})
            yield move, after
        for message in self.deliverable(state):
            process = self.began(state, message)
            notes = state.notes
            if message.kind is Kind.CONFIRMATION and message in self.messages:
                notes |= {f"confirmed {message.key}"}
            started = state._replace(running=plus(state.running, process), notes=notes)
            taken = state.world._replace(queue=less(state.world.queue, message))
            yield Move("arrives", process), started._replace(world=taken)
            if state.faults:
                faulty = started._replace(faults=state.faults - 1)
                yield Move("arrives, and will again", process), faulty
                if message.kind is Kind.UNFINISHED:
                    after = state._replace(world=taken, faults=state.faults - 1)
                    yield Move("arrives, and fails", process), self._redelivered(after, message)

    def deliverable(self, state: State) -> list[Arrival]:
        """Return the messages that may arrive now."""
        return [it for it in dict.fromkeys(state.world.queue) if it.due <= state.clock]

    def began(self, state: State, arrival: Arrival) -> Process:
        """Return a process at its first call, but after a read, which is a part of its arrival."""
        process = super().began(state, arrival)
        call = self.steps.calls[process.step]
        if call.operation in READS:
            result, _ = self.apply(state.world, call, 1, state.clock)
            process = process._replace(step=self.steps.next(process.step, state.clock, result))
        return self._settled(state, process)

    def _settled(self, state: State, process: Process) -> Process:
        """Return *process* after it has got names of its own for its claims."""
        while self.steps.calls[process.step].operation == "owner":
            used = f"{state.world.items}{state.late}{[it.owner for it in state.running]}"
            owner = next(each for each in map("owner-{}".format, count(1)) if each not in used)
            step = self.steps.next(process.step, state.clock, json.dumps(owner))
            process = process._replace(step=step, owner=owner)
        return process

    def attempts(self, state: State, process: Process, call: Call) -> Iterator[tuple[Move, State]]:
        """Yield what can happen to an attempt of *call*, of which a request to Qonto has one."""
        if call.operation in FAULTLESS:
            state, faults = state._replace(faults=0), state.faults
            for move, after in super().attempts(state, process, call):
                yield move, after._replace(faults=faults)
            return
        if call.operation != "qonto":
            yield from super().attempts(state, process, call)
            return
        result, world = self.apply(state.world, call, 1, state.clock)
        yield self.continued("ok", state._replace(world=world), process, result)
        if not state.faults:
            return
        faulty = state._replace(faults=state.faults - 1, notes=state.notes | {FAILED})
        lost = faulty._replace(late=plus(state.late, call))
        yield Move("killed", process, call), self.stopped(lost, process)
        yield self.continued("no response", lost, process, json.dumps("lost"))
        yield self.continued(NOT_SENT, faulty, process, json.dumps(NOT_SENT))
        refused = faulty._replace(world=world) if "code" in json.loads(call.request) else faulty
        yield self.continued(REFUSED, refused, process, json.dumps(REFUSED))

    def following(self, state: State, process: Process) -> Process:
        return self._settled(state, process)

    def stopped(
        self, state: State, process: Process, ended: Call | None = None, result: str = ""
    ) -> State:
        """Return *state* without *process*, which was killed, or *ended* as its last call says."""
        after = state._replace(running=less(state.running, process)) if ended is None else state
        if ended is None or result == NO_RESPONSE:
            after = _failed(after)
        if ended is None or ended.operation == FAILED:
            return self._redelivered(after, process.arrival)
        if process.arrival.kind is Kind.OTHER and state.clock < HOUR:
            return after._replace(notes=after.notes | {process.arrival.key})
        return after

    def _redelivered(self, state: State, message: Arrival) -> State:
        if message.kind is Kind.UNFINISHED:
            message = message._replace(due=state.clock + REDELIVERY)
        elif message.kind in BROWSERS | REQUESTS or message in state.world.queue:
            return state
        return state._replace(world=state.world._replace(queue=plus(state.world.queue, message)))

    # -------------------------------------------------------------------- calls

    def _apply(self, world: World, call: Call, attempt: int, clock: int) -> tuple[str, World]:
        request = json.loads(call.request)
        if call.operation == "sleep":  # until the claim is over, or in vain
            return json.dumps(WAIT * is_claimed(world, clock)), world
        if call.operation == "qonto":
            result, items = self.at_qonto(request, world, clock)
            return json.dumps(result), world._replace(items=put(world, items))
        if call.operation == "send_message":
            body = json.loads(request["MessageBody"])
            kind = Kind.REPUDIATION if "repudiated" in body else Kind.CONFIRMATION
            name = next(it for it, id_ in AUTHORIZATIONS.items() if id_ == body["authorization_id"])
            message = Arrival(kind, name, body["context"])
            return "{}", world._replace(queue=plus(world.queue, message))
        if "context" not in request:
            return super()._apply(world, call, attempt, clock)
        context, row = request["context"], {}
        row = kept(world).contexts.get(context, {})
        match call.operation:
            case "asked":  # the code does not read whether the context is repudiated
                return json.dumps(row), world
            case "use":
                own = request["authorization_id"]
                if row.get("repudiated") or row.get("authorization_id", own) != own:
                    return "false", world
                row = row | {"authorization_id": own}
            case "repudiate context":
                row = row | {"repudiated": True}
            case "set confirmed":
                row = row | {"confirmed": True}
        return "true", world._replace(items=put(world, {f"contexts {context}": row}))

    def at_qonto(self, request: dict[str, str], world: World, _at: int) -> tuple[Any, Rows]:
        """Return Qonto's response to a request, and the rows that it changes."""
        code, number = request["code"], len(kept(world).tokens) + 1
        received = kept(world).codes.get(code, {"received": 0})["received"] + 1
        tokens = {"access_token": f"at-{number}", "refresh_token": f"rt-{number}", "scope": SCOPE}
        rows = {f"codes {code}": {"received": received}, f"tokens rt-{number}": {"code": code}}
        return [200, tokens | {"expires_in": HOUR}], rows

    # ----------------------------------------------------------------- problems

    def problems(self, before: State, move: Move, after: State) -> Iterator[StrEnum]:
        """Yield each problem with *move*, and with *after* if the model may end there."""
        old, new = kept(before.world), kept(after.world)
        if new.codes != old.codes:
            yield from self._problems_of_exchange(new, after.notes)
        if (new.grants, new.connections) != (old.grants, old.connections):
            yield from self._problems_of_tables(old, move, new, after.notes)
        if after.running:
            return
        over = after.clock + LONGEST_RUN + 1  # when no claim has an owner
        ends = [self.alone(after.world, it, over)[0] for it in self.deliverable(after)]
        if any(end.operation == FAILED for end in ends):
            yield Problem.STUCK
        if not after.world.queue:
            yield from self._problems_at_end(after)

    def _problems_of_exchange(self, new: Kept, notes: frozenset[str]) -> Iterator[Problem]:
        if any(it["received"] > 1 for it in new.codes.values()):
            yield Problem.TWICE
        for grant in new.grants.values():
            if grant.get("status") == Status.EXCHANGING and f"confirmed {_key(grant)}" not in notes:
                yield Problem.UNCONFIRMED

    def _problems_of_tables(
        self, old: Kept, move: Move, new: Kept, notes: frozenset[str]
    ) -> Iterator[Problem]:
        for name, grant in old.grants.items():
            if "status" in grant and new.grants[name] != grant:
                assert move.call
                status = new.grants[name]["status"]
                if not _may(grant, status, move.call.request):
                    yield Problem.CHANGED
        connected = {_key(it) for it in new.grants.values() if it.get("status") == Status.CONNECTED}
        if _told(new) - connected:
            yield Problem.NO_TOKENS
        arrivals = (*self.messages, *self.expected)
        repudiated = {it.key for it in arrivals if it.kind in {Kind.REPUDIATION, Kind.OTHER}}
        if _told(old) - _told(new) - repudiated:
            yield Problem.LATE
        rows = [it for it in new.connections.values() if it["status"] != Status.REPUDIATED]
        if len(rows) != len({it["context"] for it in rows}):
            yield Problem.CONTEXT_TWICE

    def alone(self, world: World, arrival: Arrival, at: int) -> tuple[Call, World]:
        """Handle *arrival* alone and without a fault; return how it ends, and the world."""
        step = self.steps.start(arrival, at)
        while (call := self.steps.calls[step]).operation not in {DONE, FAILED}:
            result = json.dumps("alone")
            if call.operation != "owner":
                result, world = self.apply(world, call, 1, at)
            step = self.steps.next(step, at, result)
        return call, world

    def _problems_at_end(self, state: State) -> Iterator[Problem]:
        rows = kept(state.world)
        told, grants = _told(rows), [it for it in rows.grants.values() if "status" in it]
        connected = [it for it in grants if it["status"] == Status.CONNECTED]
        if len(connected) != len({it["authorization_id"] for it in connected}):
            yield Problem.TWO_GRANTS
        if state.notes & (told | {_key(it) for it in grants if it["status"] in SECRETS}):
            yield Problem.REPUDIATED
        if not {_key(it) for it in connected} <= told:
            yield Problem.UNTOLD
        codes = {it.event: it.code for it in self.messages}
        for grant in grants:
            told_status = rows.connections.get(_key(grant), {"status": Status.REPUDIATED})["status"]
            code = codes[grant["event_id"]]
            is_alive = state.clock < CODE_LIFETIME and code not in rows.codes
            lock = rows.grants.get(f"code.{sha256(code)} lock", {}).get("locked_by", "")
            is_own = lock in {"", f"{grant['authorization_id']}/{grant['event_id']}"}
            is_lost = grant["status"] in {Status.FAILED, Status.LOST} and FAILED not in state.notes
            if is_alive and is_own and told_status != Status.REPUDIATED:
                if grant["status"] == Status.HELD or is_lost:
                    yield Problem.UNSENT


class Table:
    """A table of boto3's resource, with the conditions as DynamoDB gets them."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionFailedError)

    def __init__(self, name: str, call: Any) -> None:  # noqa: ANN401 - a method
        self._name, self._outside_call = name, call
        self.meta = SimpleNamespace(client=self)

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - a method
        return partial(self._call, operation)

    def _call(self, operation: str, **request: Any) -> Any:  # noqa: ANN401 - JSON
        if operation == "query":
            condition = request.pop("KeyConditionExpression")
            request["Key"] = condition.get_expression()["values"][1]
        if "ConditionExpression" in request:
            built = ConditionExpressionBuilder().build_expression(request["ConditionExpression"])
            request["ConditionExpression"] = built.condition_expression
            for name, more in {
                "ExpressionAttributeNames": built.attribute_name_placeholders,
                "ExpressionAttributeValues": built.attribute_value_placeholders,
            }.items():
                request[name] = request.get(name, {}) | more
        return self._outside_call(operation, TableName=self._name, **request)


def _message(arrival: Arrival) -> dict[str, Any]:
    match arrival.kind:
        case Kind.EVENT:
            order = int(arrival.event)
            data = {
                "environment": "sandbox",
                "client_id": CLIENT_ID,
                "redirect_uri": "http://localhost:8001/callback",
                "token_endpoint": SETTINGS["TOKEN_ENDPOINT"],
                "requested_scope": SCOPE,
                "code": arrival.code,
                "code_expires_at": rfc3339(NOW + CODE_LIFETIME),
                "context": arrival.context,
            }
            return {
                "specversion": "1.0",
                "id": arrival.event,
                "source": f"/qonto-connect/sandbox/{CLIENT_ID}",
                "type": "qonto-connect.authorization.granted.v1",
                "subject": AUTHORIZATIONS[arrival.authorization],
                "time": rfc3339(NOW + order),
                "data": data,
            }
        case Kind.REPUDIATION | Kind.LATE:
            return arrival.confirmation | {"repudiated": True}
        case Kind.UNFINISHED:
            id_ = AUTHORIZATIONS[arrival.authorization]
            return {"authorization_id": id_, "unfinished": True}
    return arrival.confirmation


def _sent_at(arrival: Arrival) -> int:
    return NOW + 2 * HOUR if arrival.kind is Kind.LATE else NOW


def put(world: World, rows: Rows) -> Any:
    new = {at: json.dumps(row, sort_keys=True) for at, row in rows.items()}
    return tuple(sorted((dict(world.items) | new).items()))


def is_claimed(world: World, clock: int) -> bool:
    """Tell whether a process may be refreshing tokens."""
    claims = [it.get("refresh", {}).get("claimed_at", 0) for it in kept(world).grants.values()]
    return bool(max(claims, default=0) >= NOW + clock - REFRESHING)


def _key(grant: Mapping[str, Any]) -> str:
    return f"{grant['authorization_id']} {grant['context']}"


def _told(rows: Kept) -> set[str]:
    """Return the keys of the connections of which the app reads that they are connected."""
    return {key for key, it in rows.connections.items() if it["status"] == Status.CONNECTED}


def _may(grant: Mapping[str, Any], status: str, request: str) -> bool:
    """Tell whether *request* may give *grant* a *status*."""
    if status == Status.REPUDIATED or grant["status"] == Status.HELD:
        return True
    if grant["status"] == Status.CONNECTED:
        return status in {Status.SUPERSEDED, Status.CONNECTED}
    return grant["status"] == Status.EXCHANGING and grant["owner"] in request


def _failed(state: State) -> State:
    return state._replace(notes=state.notes | {FAILED})
