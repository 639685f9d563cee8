"""The code of the example subscriber, its function `tokens` and the example app, for the models."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx2
from boto3.dynamodb.conditions import ConditionExpressionBuilder
from starlette.requests import Request

import subscriber
from demo.gateway import LambdaContext
from demo.template import ROOT
from examples.app.contexts import Asked, sha256
from examples.app.subscriber import Subscriber
from tests.model import edited
from tests.model.steps import NO_RESPONSE, ConditionFailedError, Outside
from tests.support.subscription import (
    CLIENT_ID,
    GRANTED,
    SCOPE,
    SECRET,
    lambda_event,
    qonto_at,
    rfc3339,
)

NOW = 1_700_000_000  # the time in epoch seconds when a model begins
CODE_LIFETIME, HOUR = 600, 3600  # seconds
AUTHORIZATIONS = {each: f"{each.lower() * 8}-0000-4000-8000-000000000000" for each in "AB"}
SETTINGS = qonto_at("https://qonto.example") | {
    "GRANT_TABLE_NAME": "grants",
    "CONNECTION_TABLE_NAME": "connections",
    "QUEUE_URL": "queue",
    "CLIENT_SECRET_ARN": "secret",
    "QONTO_ENVIRONMENT": "sandbox",
    "CLIENT_ID": CLIENT_ID,
    "REQUIRE_CONFIRMATION": "true",
    "POWERTOOLS_SERVICE_NAME": "model",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}
NOT_SENT, REFUSED = "not sent", "refused"  # results of requests to Qonto


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
    def authorization_id(self) -> str:
        """The connector's name for the authorization."""
        return AUTHORIZATIONS[self.authorization]

    @property
    def key(self) -> str:
        """What the subscriber knows the connection by."""
        return f"{self.authorization_id} {self.context}"

    @property
    def message(self) -> dict[str, Any]:
        """The body of the message."""
        confirmation = {"authorization_id": self.authorization_id, "context": self.context}
        match self.kind:
            case Kind.EVENT:
                data = GRANTED["data"] | {
                    "client_id": CLIENT_ID,
                    "token_endpoint": SETTINGS["TOKEN_ENDPOINT"],
                    "requested_scope": SCOPE,
                    "context": self.context,
                    "code": self.code,
                    "code_expires_at": rfc3339(NOW + CODE_LIFETIME),
                }
                return GRANTED | {
                    "id": self.event,
                    "source": f"/qonto-connect/sandbox/{CLIENT_ID}",
                    "subject": self.authorization_id,
                    "time": rfc3339(NOW + int(self.event)),
                    "data": data,
                }
            case Kind.REPUDIATION | Kind.LATE:
                return confirmation | {"repudiated": True}
            case Kind.UNFINISHED:
                return {"authorization_id": self.authorization_id, "unfinished": True}
        return confirmation


class Code:
    """The handlers and the app, in which *edits* and *app_edits* replace texts."""

    def __init__(self, edits: Mapping[str, str], app_edits: Mapping[str, str]) -> None:
        """Import the code with clients that call `outside`."""
        self.outside = Outside(0, ())  # of the process that runs
        names = "send_message", "send_message_batch"
        sqs: Any = SimpleNamespace(**{name: partial(self._call, name) for name in names})
        secrets = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": SECRET})
        clients = {"sqs": sqs, "secretsmanager": secrets}
        tables = SimpleNamespace(Table=partial(Table, self._call))
        with (
            patch.dict("os.environ", SETTINGS),
            patch("boto3.resource", lambda *_, **_options: tables),
            patch("boto3.client", lambda name, **_: clients[name]),
        ):
            folder = Path(subscriber.__file__).parents[1]
            names = "subscriber.handler", "subscriber.tokens_handler"
            self._handlers = [it.handler for it in edited.modules(folder, names, edits)]
        [app] = edited.modules(ROOT / "examples", ["examples.app.app"], app_edits, "examples")
        contexts = SimpleNamespace(
            asked=self._asked,
            use=lambda asked, authorization_id, _: self._call(
                "use", context=asked.context, authorization_id=authorization_id
            ),
            repudiate=lambda asked: self._call("repudiate context", context=asked.context),
            set_confirmed=lambda asked: self._call("set confirmed", context=asked.context),
        )
        sessions = SimpleNamespace(find=lambda cookie: SimpleNamespace(id=cookie))
        urls = "http://localhost", "http://localhost"
        subscribing = Subscriber(sqs, "queue", tables.Table("connections"))
        self._app = app.Ledgerly(*urls, subscribing, None, None, sessions, contexts)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Let the code have the clock, names and Qonto of `outside` inside the block."""
        patches = {
            "time.time": lambda: NOW + self.outside.clock,
            "time.sleep": self._sleep,
            "secrets.token_hex": lambda _: self._call("owner"),
            "httpx2.request": self._to_qonto,
            "httpx2.get": self._name,
        }
        with redirect_stdout(None), ExitStack() as block:
            for name, replacement in patches.items():
                block.enter_context(patch(name, replacement))
            yield

    def run(self, arrival: Arrival, outside: Outside) -> dict[str, Any] | None:
        """Handle *arrival*; return the response to a request."""
        self.outside = outside
        if arrival.kind in BROWSERS:
            self._app.connected(_return_of(arrival))
            return None
        handler, tokens_handler = self._handlers
        if arrival.kind in REQUESTS:
            request: dict[str, Any] = {"authorization_id": arrival.authorization_id}
            request |= {"refused": arrival.refused, "disconnect": arrival.kind is Kind.DISCONNECT}
            response: dict[str, Any] = tokens_handler(request, LambdaContext("tokens"))
            return response
        sent_at = NOW + 2 * HOUR if arrival.kind is Kind.LATE else NOW
        event = lambda_event(json.dumps(arrival.message), sent_at)
        assert handler(event, LambdaContext("subscriber")) == {"batchItemFailures": []}
        return None

    def _call(self, operation: str, **request: Any) -> Any:  # noqa: ANN401 - JSON
        return self.outside.call(operation, **request)

    def _sleep(self, _seconds: float) -> None:
        self.outside.clock += self._call("sleep")

    def _to_qonto(self, method: str, _url: str, **options: Any) -> httpx2.Response:  # noqa: ANN401
        form = options["data"] or {}
        sent = {name: form[name] for name in form.keys() & {"code", "refresh_token"}}
        sent["bearer"] = options["headers"].get("Authorization", "").removeprefix("Bearer ")
        result = self._call("qonto", method=method, **sent)
        if result == NOT_SENT:
            raise httpx2.ConnectError(NOT_SENT)
        if result == NO_RESPONSE:
            raise httpx2.ReadTimeout(NO_RESPONSE)
        status, body = (429, {"error": REFUSED}) if result == REFUSED else result
        return httpx2.Response(status, json=body)

    def _name(self, _url: str, **_: object) -> httpx2.Response:
        raise httpx2.ConnectError(NOT_SENT)  # names are not in the models

    def _asked(self, context: str) -> Asked:
        row = self._call("asked", context=context)
        used_by, confirmed = row.get("authorization_id"), row.get("confirmed", False)
        return Asked(context, "own", sha256("own"), NOW, used_by, None, None, confirmed)


def _return_of(browser: Arrival) -> Request:
    session = "own" if browser.kind is Kind.RIGHT else "other"
    cookie = "other" if browser.kind is Kind.OTHER else "own"
    query = f"authorization_id={browser.authorization_id}&outcome=granted&context={browser.context}"
    return Request(
        {
            "type": "http",
            "method": "GET",
            "headers": [(b"cookie", f"ledgerly={session}; ledgerly-browser={cookie}".encode())],
            "query_string": query.encode(),
        }
    )


class Table:
    """A table of boto3's resource; its conditions leave as DynamoDB gets them."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionFailedError)

    def __init__(self, call: Any, name: str) -> None:  # noqa: ANN401 - a function
        self._outside, self._name = call, name
        self.meta = SimpleNamespace(client=self)

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - a method
        """Return a method of boto3's tables."""
        return partial(self._call, operation)

    def _call(self, operation: str, **request: Any) -> Any:  # noqa: ANN401 - JSON
        if operation == "query":
            condition = request.pop("KeyConditionExpression")
            request["Key"] = condition.get_expression()["values"][1]
        if "ConditionExpression" in request:
            built = ConditionExpressionBuilder().build_expression(request["ConditionExpression"])
            request["ConditionExpression"] = built.condition_expression
            names, values = built.attribute_name_placeholders, built.attribute_value_placeholders
            for name, more in ("Names", names), ("Values", values):
                attributes = f"ExpressionAttribute{name}"
                request[attributes] = request.get(attributes, {}) | more
        return self._outside(operation, TableName=self._name, **request)
