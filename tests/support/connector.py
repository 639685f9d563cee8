"""The connector in tests, with a browser that calls it and a subscriber of its topic."""

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
from aws import CALL_CONFIG, guarded
from callback.app import CallbackApp
from callback.publisher import Publisher
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack, ministack
from demo.template import Json, Template
from settings import CallbackSettings, StartSettings
from start.app import StartApp
from state_store import StateStore
from tests.contract import delivered

CODE_ROOT = Path(observability.__file__).parent  # of both functions
REQUESTS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in Path(__file__).parent.glob("requests/*.json")
}
REDIRECT_URI = "https://abc123def4.execute-api.eu-west-3.amazonaws.com/callback"
RETURN_URL = "https://app.example.com/connected"
NOW = 1_700_000_000  # the time of the requests in tests/support/requests/
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
    """Set the environment to *variables* alone, and discard boto3's earlier session."""
    with patch.dict(os.environ, variables, clear=True):
        boto3.setup_default_session()
        yield


def build(
    environments: Mapping[str, Mapping[str, str]],
    states: type[StateStore] = StateStore,
    publisher: type[Publisher] = Publisher,
) -> tuple[StartApp, CallbackApp]:
    """Return both apps as each ``handler.py`` builds them, with other collaborators."""
    start = StartSettings.model_validate(environments["StartFunction"])
    callback = CallbackSettings.model_validate(environments["CallbackFunction"])
    with _environment(environments["CallbackFunction"]):
        logger = observability.new_logger()
        dynamodb = guarded(boto3.client("dynamodb", config=CALL_CONFIG))
        topic = publisher(guarded(boto3.client("sns", config=CALL_CONFIG)), callback.topic_arn)
    return (
        StartApp(start, states(dynamodb, start), logger),
        CallbackApp(callback, states(dynamodb, callback), topic, logger),
    )


def cold_start(module: str, environment: Mapping[str, str], code_root: Path = CODE_ROOT) -> Handler:
    """Import *module* in *environment*, as Lambda does at a cold start, and return its handler.

    Modules of *code_root* and of the handler's package are imported again. In a mutation test, the
    package is elsewhere.
    """
    package = module.partition(".")[0]
    for name, imported in list(sys.modules.items()):
        file = Path(getattr(imported, "__file__", None) or "")
        if file.is_relative_to(code_root) or name.partition(".")[0] == package:
            del sys.modules[name]
    with _environment(environment):
        handler: Handler = importlib.import_module(module).handler
    return handler


@dataclass(frozen=True)
class Response:
    """An HTTP response, as the browser receives it."""

    status: int
    headers: dict[str, str]
    cookies: list[str]
    body: str

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def parameters(self) -> dict[str, str]:
        """The query parameters of `location`, each of which occurs once."""
        values = parse_qs(urlsplit(self.location).query, strict_parsing=True)
        assert all(len(each) == 1 for each in values.values())
        return {name: value for name, [value] in values.items()}


class Connector:
    """Both functions, built from the environment that a stack gives them."""

    def __init__(
        self, aws: LocalAws, stack: Stack, *, endpoint_url: str | None = None, **environment: str
    ) -> None:
        """Build both functions for *stack*, which call AWS at *endpoint_url*, or else at *aws*."""
        self.aws, self.stack = aws, stack
        given = {"REDIRECT_URI": REDIRECT_URI} | environment
        self.environments = {
            function: aws.environment(endpoint_url) | stack.environment[function] | given
            for function in ("StartFunction", "CallbackFunction")
        }
        self._build()

    def _build(self, **collaborators: Any) -> None:  # noqa: ANN401 - classes
        service = {"POWERTOOLS_SERVICE_NAME": f"service-{uuid4()}"}  # with a logger of its own
        environments = {name: each | service for name, each in self.environments.items()}
        start, callback = build(environments, **collaborators)
        self.start: Handler = lambda request, _context: start.handle(request)
        self.callback: Handler = lambda request, _context: callback.handle(request)

    def restarted(self, **collaborators: Any) -> "Connector":  # noqa: ANN401 - classes
        """Return this connector with other *collaborators*, and a log that capsys reads."""
        restarted = copy.copy(self)
        restarted._build(**collaborators)  # noqa: SLF001 - of the same class
        return restarted

    def item(self, state: str) -> dict[str, Any] | None:
        """Return the item of *state* with each attribute as text, or None if it is missing."""
        response = self.aws.dynamodb.get_item(
            TableName=self.stack.table_name, Key={"state": {"S": state}}, ConsistentRead=True
        )
        if "Item" not in response:
            return None
        return {name: next(iter(typed.values())) for name, typed in response["Item"].items()}

    def states(self) -> set[str]:
        """Return the keys of all items in the table: states, and those of receipts."""
        pages = self.aws.dynamodb.get_paginator("scan").paginate(TableName=self.stack.table_name)
        return {item["state"]["S"] for page in pages for item in page["Items"]}


class Browser:
    """A browser with its cookies, whose requests reach the functions as API Gateway sends them."""

    def __init__(self, connector: Connector) -> None:
        self.connector = connector
        self.cookies: dict[str, str] = {}

    def start(self, *, at: int = NOW, headers: Mapping[str, str] = {}, **query: str) -> Response:
        return self.request("start", urlencode(query), at=at, headers=headers)

    def started(self, *, at: int = NOW, **query: str) -> str:
        """Request ``/start`` and return the state in the redirect to Qonto."""
        return self.request("start", urlencode(query), at=at).parameters["state"]

    def granted(self, state: str, *, code: str = CODE, at: int = NOW) -> Response:
        return self.returned(state, {"code": code, "scope": PARAMETERS["Scope"]}, at=at)

    def failed(self, state: str, *, at: int = NOW, **response: str) -> Response:
        return self.returned(state, {"error": "access_denied", **response}, at=at)

    def returned(self, state: str, response: Mapping[str, str], *, at: int = NOW) -> Response:
        return self.request("callback", urlencode({**response, "state": state}), at=at)

    def request(
        self,
        name: str,
        raw_query: str = "",
        *,
        at: int = NOW,
        outcome: str | None = None,
        headers: Mapping[str, str] = {},
    ) -> Response:
        """Send tests/support/requests/*name*.json with another query, time and cookies."""
        request = copy.deepcopy(REQUESTS[name])
        request["rawQueryString"] = raw_query
        request["requestContext"]["timeEpoch"] = at * 1000
        request["headers"] |= headers
        request["cookies"] = [f"{cookie}={value}" for cookie, value in self.cookies.items()]
        if outcome is not None:
            request["pathParameters"] = {"outcome": outcome}
        handler = self.connector.start if name == "start" else self.connector.callback
        response = json.loads(json.dumps(handler(request, LambdaContext(name))))
        # A Location without a fragment would get the request's.
        assert response["headers"].get("Location", "#").endswith(("#", "#_"))
        cookies = response.get("cookies", [])
        self.cookies |= dict(header.partition(";")[0].split("=", 1) for header in cookies)
        body = response.get("body", "")
        return Response(response["statusCode"], response["headers"], cookies, body)


class Subscriber:
    """A queue subscribed to the topic, with raw delivery; each message read is checked."""

    def __init__(self, aws: LocalAws, stack: Stack) -> None:
        self._aws, self._topic_arn = aws, stack.topic_arn
        self._queue: Json = {"QueueUrl": aws.subscribe_queue(stack.topic_arn)}

    def messages(self) -> list[dict[str, Any]]:
        """Publish a marker and return the events before it that were not yet read."""
        marker = f"read up to here: {uuid4()}"
        self._aws.sns.publish(TopicArn=self._topic_arn, Message=marker)
        bodies: list[str] = []
        every: Json = {"MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10}
        while marker not in bodies:
            received = self._aws.sqs.receive_message(**self._queue, **every, WaitTimeSeconds=5)
            for message in received["Messages"]:
                self._aws.sqs.delete_message(**self._queue, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(message["Body"])
                if message["Body"].startswith("{"):
                    delivered.check(message)
        return [json.loads(body) for body in bodies if body.startswith("{")]

    def message(self) -> dict[str, Any]:
        """Return the event that was published, and assert that it is the only one."""
        [message] = self.messages()
        return message


@contextmanager
def watched_aws() -> Iterator[LocalAws]:
    """Run a local AWS, and at the end check each message published to a connector's topic."""
    with ministack() as aws:
        subscribers, deploy = [], aws.deploy

        def watched(parameters: Mapping[str, str], template: Template | None = None) -> Stack:
            stack = deploy(parameters, template)
            if "AuthorizationTopic" in stack.resources:
                subscribers.append(Subscriber(aws, stack))
            return stack

        aws.deploy = watched  # type: ignore[method-assign]
        yield aws
        for subscriber in subscribers:
            subscriber.messages()
