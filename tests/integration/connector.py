"""The pair as the outside meets it: a browser, a table, a subscriber's queue."""

import copy
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import boto3

import observability
from aws import CALL_CONFIG
from callback.app import CallbackApp
from callback.publisher import Publisher
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack, ministack
from demo.template import Template
from settings import CallbackSettings, StartSettings
from start.app import StartApp
from state_store import StateStore

ROOT = Path(__file__).parents[2]
REQUESTS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in (ROOT / "tests" / "requests").glob("*.json")
}
REDIRECT_URI = "https://abc123def4.execute-api.eu-west-3.amazonaws.com/callback"
RETURN_URL = "https://app.example.com/connected"
NOW = 1_700_000_000  # the time of the events in tests/requests/
MARKER = "read up to here: "
CODE = "ory_ac_" + "c" * 87
PARAMETERS = {
    "QontoEnvironment": "sandbox",
    "ClientId": "client-1",
    "Scope": "offline_access organization.read",
    "ReturnUrls": f"{RETURN_URL} https://app.example.com/back?tab=bank",
    "AppName": "Ledgerly",
    "TrustedRoots": "all",  # the local AWS has no certificate of Amazon's
}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have nothing but *variables* in the environment, and no boto3 session from before."""
    with patch.dict(os.environ, variables, clear=True):
        boto3.setup_default_session()
        yield


def start_app(environment: Mapping[str, str]) -> StartApp:
    """Return start as its ``handler.py`` builds it in *environment*."""
    with _environment(environment):
        settings = StartSettings.model_validate(environment)
        states = StateStore(boto3.client("dynamodb", config=CALL_CONFIG), settings)
        return StartApp(settings, states, observability.new_logger())


def callback_app(
    environment: Mapping[str, str], state_store: type[StateStore] = StateStore
) -> CallbackApp:
    """Return callback as its ``handler.py`` builds it in *environment*, with a *state_store*."""
    with _environment(environment):
        settings = CallbackSettings.model_validate(environment)
        states = state_store(boto3.client("dynamodb", config=CALL_CONFIG), settings)
        publisher = Publisher(boto3.client("sns", config=CALL_CONFIG), settings.topic_arn)
        return CallbackApp(settings, states, publisher, observability.new_logger())


def cold_start(
    module: str, environment: Mapping[str, str], code_root: Path = ROOT / "functions"
) -> Handler:
    """Return the handler of *module*, imported as Lambda does at a cold start in *environment*.

    No module of *code_root* is imported before.
    """
    for name, imported in list(sys.modules.items()):
        if Path(getattr(imported, "__file__", None) or "").is_relative_to(code_root):
            del sys.modules[name]
    with _environment(environment):
        handler: Handler = importlib.import_module(module).handler
    return handler


@dataclass(frozen=True)
class Response:
    """What a browser gets."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: str

    @property
    def location(self) -> str:
        """Where it is sent to."""
        return self.headers["Location"]

    @property
    def parameters(self) -> dict[str, str]:
        """The query of the location, each parameter once."""
        values = parse_qs(urlsplit(self.location).query, strict_parsing=True)
        assert all(len(each) == 1 for each in values.values())
        return {name: value for name, [value] in values.items()}


class Connector:
    """Both functions, built from the environment that a stack gives them."""

    def __init__(
        self,
        local_aws: LocalAws,
        stack: Stack,
        *,
        endpoint_url: str | None = None,
        **environment: str,
    ) -> None:
        """Build both functions for *stack*, with more *environment*.

        *endpoint_url* is where they call AWS; by default, where *local_aws* is.
        """
        self.aws = local_aws
        self.stack = stack
        self._endpoint_url = endpoint_url
        self._given = environment
        self.start_environment = self._environment("StartFunction")
        self.callback_environment = self._environment("CallbackFunction")
        start, callback = start_app(self.start_environment), callback_app(self.callback_environment)
        self.start: Handler = lambda request, _context: start.handle(request)
        self.callback: Handler = lambda request, _context: callback.handle(request)

    def restarted(self, **environment: str) -> "Connector":
        """Return this connector, built again with more *environment* and a logger of its own."""
        given = {**self._given, "POWERTOOLS_SERVICE_NAME": f"service-{uuid4()}", **environment}
        return Connector(self.aws, self.stack, endpoint_url=self._endpoint_url, **given)

    def cold_started(self) -> "Connector":
        """Return this connector with the handlers that Lambda calls, after their cold start."""
        started = self.restarted()
        started.start = cold_start("start.handler", started.start_environment)
        started.callback = cold_start("callback.handler", started.callback_environment)
        return started

    def _environment(self, function: str) -> dict[str, str]:
        return {
            **self.aws.environment(self._endpoint_url),
            **self.stack.environment[function],
            "REDIRECT_URI": REDIRECT_URI,
            **self._given,
        }

    def item(self, state: str) -> dict[str, Any] | None:
        """Return the item of *state*, each attribute as text."""
        response = self.aws.dynamodb.get_item(
            TableName=self.stack.table_name, Key={"state": {"S": state}}, ConsistentRead=True
        )
        if "Item" not in response:
            return None
        return {name: next(iter(typed.values())) for name, typed in response["Item"].items()}

    def states(self) -> set[str]:
        """Return all states in the table."""
        pages = self.aws.dynamodb.get_paginator("scan").paginate(TableName=self.stack.table_name)
        return {item["state"]["S"] for page in pages for item in page["Items"]}


class Browser:
    """A browser with its cookies, before an API Gateway that calls the pair."""

    def __init__(self, connector: Connector) -> None:
        """Take the pair that it visits."""
        self.connector = connector
        self.cookies: dict[str, str] = {}

    def start(self, *, at: int = NOW, headers: Mapping[str, str] = {}, **query: str) -> Response:
        """Follow the link to ``/start``."""
        return self.request("start", urlencode(query), at=at, headers=headers)

    def started(self, *, at: int = NOW, **query: str) -> str:
        """Follow the link to ``/start`` and return the state that Qonto gets."""
        return self.request("start", urlencode(query), at=at).parameters["state"]

    def granted(self, state: str, *, code: str = CODE, at: int = NOW) -> Response:
        """Come back from Qonto with a code."""
        query = {"code": code, "scope": "offline_access organization.read", "state": state}
        return self.request("callback", urlencode(query), at=at)

    def failed(self, state: str, *, at: int = NOW, **response: str) -> Response:
        """Come back from Qonto with an error."""
        query = {"error": "access_denied", **response, "state": state}
        return self.request("callback", urlencode(query), at=at)

    def request(
        self,
        event: str,
        raw_query: str = "",
        *,
        at: int = NOW,
        outcome: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> Response:
        """Send the request of tests/requests/*event*.json with another query, time and cookies."""
        request = copy.deepcopy(REQUESTS[event])
        request["rawQueryString"] = raw_query
        request["requestContext"]["timeEpoch"] = at * 1000
        request["headers"] |= headers
        request["cookies"] = [f"{name}={value}" for name, value in self.cookies.items()]
        if outcome is not None:
            request["pathParameters"] = {"outcome": outcome}
        handler = self.connector.start if event == "start" else self.connector.callback
        response = json.loads(json.dumps(handler(request, LambdaContext(event))))
        for cookie in response.get("cookies", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Response(
            response["statusCode"],
            response["headers"],
            response.get("cookies", []),
            response.get("body", ""),
        )


class Subscriber:
    """A queue subscribed to the topic, with raw delivery; it checks all that comes."""

    def __init__(self, aws: LocalAws, stack: Stack) -> None:
        """Subscribe."""
        self._aws = aws
        self._topic_arn = stack.topic_arn
        self._queue_url = aws.subscribe_queue(stack.topic_arn)

    def messages(self) -> list[dict[str, Any]]:
        """Return all events that were published until now and not yet read."""
        return [json.loads(body) for body in self.bodies()]

    def bodies(self) -> list[str]:
        """Return all that was published until now: what comes before a marker of our own."""
        # It takes a second to import, and the processes of a race never get here.
        from tests.contract import delivered  # noqa: PLC0415

        marker = f"{MARKER}{uuid4()}"
        self._aws.sns.publish(TopicArn=self._topic_arn, Message=marker)
        bodies: list[str] = []
        while marker not in bodies:
            response = self._aws.sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
                WaitTimeSeconds=5,
            )
            for message in response["Messages"]:
                self._aws.sqs.delete_message(
                    QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
                )
                bodies.append(message["Body"])
                if not message["Body"].startswith(MARKER):
                    delivered.check(message)
        return [body for body in bodies if not body.startswith(MARKER)]

    def message(self) -> dict[str, Any]:
        """Return the one message that was published."""
        [message] = self.messages()
        return message


class WatchedAws(LocalAws):
    """An AWS where whatever is published to a stack's topic is checked, if only at the end."""

    def __init__(self, endpoint_url: str, access_key: str) -> None:
        """Take what `LocalAws` takes."""
        super().__init__(endpoint_url, access_key)
        self._subscribers: list[Subscriber] = []

    def deploy(self, parameters: Mapping[str, str], template: Template | None = None) -> Stack:
        """Deploy, and subscribe before anybody publishes."""
        stack = super().deploy(parameters, template)
        if "AuthorizationTopic" in stack.resources:
            self._subscribers.append(Subscriber(self, stack))
        return stack

    def check(self) -> None:
        """Check all that was published until now."""
        for subscriber in self._subscribers:
            subscriber.bodies()


@contextmanager
def watched_aws() -> Iterator[LocalAws]:
    """Run an AWS in which no event is published without being checked."""
    with ministack() as local_aws:
        watched = WatchedAws(local_aws.endpoint_url, local_aws.access_key)
        yield watched
        watched.check()
