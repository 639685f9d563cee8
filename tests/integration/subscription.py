"""The example subscriber, its stack and its handler, between a topic and the stand-in for Qonto."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import uvicorn
from starlette.datastructures import FormData
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from demo import event_source, qonto
from demo import template as infra
from demo.local_aws import LocalAws, Stack, free_port
from tests.integration.connector import cold_start

TEMPLATE = infra.ROOT / "examples" / "subscriber" / "template.yaml"
APP_ROLE_ARN = "arn:aws:iam::000000000000:role/app"
CLIENT_ID = "client-1"
CLIENT_SECRET = "of-the-stand-in"
STAGING_TOKEN = "of-the-sandbox"
REDIRECT_URI = "http://localhost:8001/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
GRANTED = "qonto-connect.authorization.granted.v1"

type Breaks = Literal["before", "after"]  # the exchange


class StandIn:
    """The stand-in for Qonto over HTTP, with a person who always allows."""

    def __init__(self) -> None:
        self.server = qonto.AuthorizationServer(
            CLIENT_ID, CLIENT_SECRET, [REDIRECT_URI], STAGING_TOKEN
        )
        self.instead: Response | None = None  # of the token endpoint's own answer
        self.breaks: Breaks | None = None  # where the token endpoint's connection does
        self.reached = threading.Event()  # a request has come as far as that
        self.meanwhile: Callable[[], None] = lambda: None  # what happens during the exchange
        self._qonto = qonto.create_app(self.server)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def up(self) -> Iterator[None]:
        """Answer for as long as the block runs; before and after it, nobody listens."""
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            host="127.0.0.1",
            port=self.port,
            lifespan="off",
            ws="none",
            log_level="critical",  # what breaks here breaks by intent
            timeout_graceful_shutdown=0,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield
        finally:
            server.should_exit = True
            thread.join()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/oauth2/token":
            await self._qonto(scope, receive, send)
        elif self.instead:
            await self.instead(scope, receive, send)
        elif self.breaks == "before":
            await self._break()
        else:
            self.meanwhile()
            await self._qonto(scope, receive, self._break if self.breaks == "after" else send)

    async def _break(self, *_: object) -> None:
        """Be silent for ever, as to somebody who is killed while they wait."""
        self.reached.set()
        await asyncio.Event().wait()

    def allow(self, **query: str) -> str:
        """Let a person allow what the client asks for; return the code."""
        request = {
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "scope": "offline_access organization.read",
            "response_type": "code",
            "state": "a-state-of-enough-characters",
        }
        login = self.server.begin(request | query, "browser")
        scopes = [("scope", scope) for scope in login.request.scopes]
        picked = ("organization", qonto.ORGANIZATIONS[0].id)
        form = FormData([("decision", "allow"), picked, *scopes])
        return self.server.answer(login, form).parameters["code"]

    @property
    def exchanges(self) -> tuple[int, int]:
        """How many exchanges were attempted, and how many of them succeeded."""
        return self.server.exchanges_attempted, self.server.exchanges_succeeded


def granted(stand_in: StandIn, *, expires_in: int = 600, **data: str | None) -> dict[str, Any]:
    """Return the event of a person's *yes*, as callback publishes it; None leaves a member out."""
    now = time.time()
    members = {
        "environment": "sandbox",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "token_endpoint": f"{stand_in.url}/oauth2/token",
        "requested_scope": "offline_access organization.read",
        "context": str(uuid4()),
        "started_at": _rfc3339(now - 90),
        "code_expires_at": _rfc3339(now + expires_in),
        "granted_scope": "offline_access organization.read",
        **({} if "code" in data else {"code": stand_in.allow()}),
        **data,
    }
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": f"/qonto-connect/sandbox/{CLIENT_ID}",
        "type": GRANTED,
        "subject": str(uuid4()),
        "time": _rfc3339(now),
        "datacontenttype": "application/json",
        "dataschema": "urn:qonto-connect:authorization-granted:v1",
        "data": {name: value for name, value in members.items() if value is not None},
    }


def pair_of(event: dict[str, Any]) -> dict[str, str]:
    """Return what the app confirms of *event*."""
    return {"authorization_id": event["subject"], "context": event["data"]["context"]}


class ExampleSubscriber:
    """The stack of examples/subscriber, fed from *topic_arn*, and its real handler."""

    def __init__(
        self,
        aws: LocalAws,
        topic_arn: str,
        stand_in: StandIn,
        secret: dict[str, str] | None = None,
        **parameters: str,
    ) -> None:
        """Deploy, and put the client secret in."""
        self.aws = aws
        self.topic_arn = topic_arn
        self.stack: Stack = aws.deploy(
            {"TopicArn": topic_arn, "AppRoleArn": APP_ROLE_ARN, **parameters}, infra.load(TEMPLATE)
        )
        self.put_secret(secret or {"client_secret": CLIENT_SECRET, "staging_token": STAGING_TOKEN})
        self.queue_url = self.stack.resources["Queue"]
        self.environment = {
            **aws.environment(),
            **self.stack.environment["SubscriberFunction"],
            "TOKEN_ENDPOINT": f"{stand_in.url}/oauth2/token",
            "API_URL": stand_in.url,
        }
        self.handler = load(self.environment)

    def put_secret(self, secret: dict[str, str]) -> None:
        """Put *secret* into the stack's own secret."""
        self.aws.secrets.put_secret_value(
            SecretId=self.stack.resources["ClientSecret"], SecretString=json.dumps(secret)
        )

    def publish(self, event: dict[str, Any]) -> None:
        """Publish *event* as callback does."""
        self.aws.sns.publish(
            TopicArn=self.topic_arn,
            Message=json.dumps(event),
            MessageAttributes={"type": {"DataType": "String", "StringValue": event["type"]}},
        )

    def confirm(self, event: dict[str, Any], **changes: str) -> None:
        """Confirm the pair of *event* as the app does."""
        self.send(json.dumps(pair_of(event) | changes))

    def send(self, body: str) -> None:
        """Put *body* into the queue."""
        self.aws.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def poll(self, handler: Any = None) -> int:  # noqa: ANN401 - a handler
        """Hand the function what waits in the queue, one batch; failed messages wait on."""
        return event_source.poll(
            self.aws.sqs, self.queue_url, handler or self.handler, retry_seconds=0
        )

    def waiting(self) -> int:
        """Return how many messages are left in the queue."""
        attributes = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=["All"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(
            attributes["ApproximateNumberOfMessagesNotVisible"]
        )

    def status(self, event: dict[str, Any]) -> str | None:
        """Return what the app reads of the pair of *event*."""
        item = self.connection(event)
        return item["status"]["S"] if item else None

    def connection(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return the pair's item."""
        return self.aws.dynamodb.get_item(
            TableName=self.stack.resources["ConnectionTable"],
            Key={name: {"S": value} for name, value in pair_of(event).items()},
            ConsistentRead=True,
        ).get("Item")

    def grant(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the item of *event*, each attribute as text."""
        item = self.aws.dynamodb.get_item(
            TableName=self.stack.resources["GrantTable"], Key=self.key(event), ConsistentRead=True
        )["Item"]
        return {name: next(iter(typed.values())) for name, typed in item.items()}

    def key(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the key of *event* in the table of grants."""
        return {"authorization_id": {"S": event["subject"]}, "event_id": {"S": event["id"]}}


def load(environment: dict[str, str]) -> Any:  # noqa: ANN401 - a handler
    """Import the handler as Lambda does at a cold start in *environment*."""
    return cold_start("subscriber.handler", environment, TEMPLATE.parent)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
