"""The example subscriber: its stack and its handlers, between a topic and mock Qonto."""

import asyncio
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import pytest
import uvicorn
from starlette.datastructures import FormData
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from demo import event_source, qonto
from demo import template as infra
from demo.gateway import LambdaContext
from demo.local_aws import LocalAws, Stack, free_port
from tests.integration.connector import cold_start
from tests.integration.faults import Fault, FaultProxy

TEMPLATE = infra.ROOT / "examples" / "subscriber" / "template.yaml"
APP_ROLE_ARN = "arn:aws:iam::000000000000:role/app"
CLIENT_ID = "client-1"
CLIENT_SECRET = "of-mock-qonto"
STAGING_TOKEN = "of-the-sandbox"
STAGING = {"x-qonto-staging-token": STAGING_TOKEN}
SECRET = json.dumps({"client_secret": CLIENT_SECRET, "staging_token": STAGING_TOKEN})
REDIRECT_URI = "http://localhost:8001/callback"
SCOPE = "offline_access organization.read"
LONGEST_RUN = 30  # seconds, the function's timeout
GRANTED = "qonto-connect.authorization.granted.v1"

type Event = dict[str, Any]


class MockQonto:
    """Mock Qonto over HTTP, with a user who always allows."""

    def __init__(self) -> None:
        self.server = qonto.AuthorizationServer(
            CLIENT_ID, CLIENT_SECRET, [REDIRECT_URI], STAGING_TOKEN
        )
        self.instead: Response | None = None  # of the token endpoint's own response
        self.breaks: Literal["before", "after"] | None = None  # its connection, the exchange
        self.lost = 0  # how many of its responses, and of those to revocations, become a 500
        self.reached = threading.Event()  # a request has come as far as that
        self.meanwhile: Callable[[], object] = lambda: None  # what happens during the exchange
        self._qonto = qonto.create_app(self.server)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token_endpoint = f"{self.url}/oauth2/token"
        # Of a function that talks to it.
        self.environment = {"TOKEN_ENDPOINT": self.token_endpoint, "API_URL": self.url}

    def reset(self) -> None:
        """Forget what was counted, and respond as usual."""
        self.instead, self.breaks, self.lost, self.meanwhile = None, None, 0, lambda: None
        self.reached.clear()
        self.server.exchanges_attempted = self.server.exchanges_succeeded = 0
        self.server.refreshes = self.server.reuses = 0

    @contextmanager
    def up(self) -> Iterator[None]:
        """Listen for as long as the block runs, and not before or after it."""
        config = uvicorn.Config(
            self._app,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_level="critical",  # what breaks here breaks by intent
            timeout_graceful_shutdown=0,
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", self.port)) as listening:
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                yield
            finally:
                server.should_exit = True
                thread.join()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.lost and scope["path"] in {"/oauth2/token", "/v2/oauth2/consents"}:
            self.lost -= 1
            self.meanwhile()
            await self._qonto(scope, receive, nowhere)
            await Response(status_code=500)(scope, receive, send)
        elif scope["path"] != "/oauth2/token":
            await self._qonto(scope, receive, send)
        elif self.breaks == "before":
            await self._break()
        else:
            self.meanwhile()
            respond = self.instead or self._qonto
            await respond(scope, receive, self._break if self.breaks == "after" else send)

    async def _break(self, *_: object) -> None:
        """Send nothing, as to a function that is killed while it waits."""
        self.reached.set()
        await asyncio.Event().wait()

    def allow(self, organization: qonto.Organization = qonto.ORGANIZATIONS[0], **query: str) -> str:
        """Let a user allow what the client asks for, with *organization*; return the code."""
        request = {
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "response_type": "code",
            "state": "a-state-of-enough-characters",
        }
        login = self.server.begin(request | query, "browser")
        scopes = [("scope", scope) for scope in login.scopes]
        form = FormData([("decision", "allow"), ("organization", organization.id), *scopes])
        return self.server.decide(login, form).parameters["code"]

    def takes(self, access_token: str) -> bool:
        """Tell whether the business API responds to *access_token*."""
        try:
            self.server.organization(STAGING | {"authorization": f"Bearer {access_token}"})
        except qonto.ShownError:
            return False
        return True

    def refresh(self, refresh_token: str) -> dict[str, str | int]:
        """Use *refresh_token*, or raise a ShownError."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
        return self.server.refresh(form, STAGING)

    def revoke(self, access_token: str) -> None:
        """End the connections of the user and organisation of *access_token*, as the user can."""
        self.server.revoke_consents(STAGING | {"authorization": f"Bearer {access_token}"})

    @property
    def exchanges(self) -> tuple[int, int]:
        """How many exchanges were attempted, and how many of them succeeded."""
        return self.server.exchanges_attempted, self.server.exchanges_succeeded


async def nowhere(_message: Message) -> None:
    """Lose a response."""


def granted(mock_qonto: MockQonto, *, expires_in: int = 600, **data: str | None) -> Event:
    """Return the event of a user who allowed, as callback publishes it; None omits a member."""
    now = time.time()
    members = {
        "environment": "sandbox",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "token_endpoint": mock_qonto.token_endpoint,
        "requested_scope": SCOPE,
        "context": str(uuid4()),
        "started_at": rfc3339(now - 90),
        "code_expires_at": rfc3339(now + expires_in),
        "granted_scope": SCOPE,
        **({} if "code" in data else {"code": mock_qonto.allow()}),
        **data,
    }
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": f"/qonto-connect/sandbox/{CLIENT_ID}",
        "type": GRANTED,
        "subject": str(uuid4()),
        "time": rfc3339(now),
        "datacontenttype": "application/json",
        "dataschema": "urn:qonto-connect:authorization-granted:v1",
        "data": {name: value for name, value in members.items() if value is not None},
    }


def publish(aws: LocalAws, topic_arn: str, event: Event) -> None:
    """Publish *event* as callback does."""
    attributes: Any = {"type": {"DataType": "String", "StringValue": event["type"]}}
    aws.sns.publish(TopicArn=topic_arn, Message=json.dumps(event), MessageAttributes=attributes)


def confirmation_of(event: Event) -> dict[str, str]:
    """Return the app's confirmation of *event*."""
    return {"authorization_id": event["subject"], "context": event["data"]["context"]}


class ExampleSubscriber:
    """The stack of examples/subscriber, fed from *topic_arn*, and its real handlers."""

    def __init__(
        self, aws: LocalAws, topic_arn: str, mock_qonto: MockQonto, **parameters: str
    ) -> None:
        self.aws, self.topic_arn, self.qonto = aws, topic_arn, mock_qonto
        given = {"TopicArn": topic_arn, "ClientId": CLIENT_ID, "AppRoleArn": APP_ROLE_ARN}
        self.stack: Stack = aws.deploy(given | parameters, infra.load(TEMPLATE))
        resources = self.stack.resources
        aws.secrets.put_secret_value(SecretId=resources["ClientSecret"], SecretString=SECRET)
        self.queue_url = resources["Queue"]
        self.environment = {
            **aws.environment(),
            **self.stack.environment["SubscriberFunction"],
            **mock_qonto.environment,
        }
        self.handler = load(self.environment)
        self.tokens_handler = load_tokens(self.environment)

    def cold_start(self, **environment: str) -> None:
        """Load both handlers with *environment* too, and with a log that the test reads."""
        service = {"POWERTOOLS_SERVICE_NAME": str(uuid4())}  # Powertools keeps a logger for each
        self.handler = load(self.environment | service | environment)
        self.tokens_handler = load_tokens(self.environment | service | environment)

    def set_redrive_policy(self) -> None:
        """Move dead letters as the template says: ministack's CloudFormation leaves that out."""
        arn = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.stack.resources["DeadLetterQueue"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        policy = infra.load(TEMPLATE)["Resources"]["Queue"]["Properties"]["RedrivePolicy"]
        attributes: Any = {"RedrivePolicy": json.dumps(policy | {"deadLetterTargetArn": arn})}
        self.aws.sqs.set_queue_attributes(QueueUrl=self.queue_url, Attributes=attributes)

    def publish(self, event: Event) -> None:
        publish(self.aws, self.topic_arn, event)

    def confirm(self, event: Event, **changes: str) -> None:
        self.send(json.dumps(confirmation_of(event) | changes))

    def repudiate(self, event: Event, **changes: str) -> None:
        self.send(json.dumps(confirmation_of(event) | changes | {"repudiated": True}))

    def send(self, body: str) -> None:
        self.aws.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def poll(self, handler: Any = None) -> int:  # noqa: ANN401 - a handler
        """Hand the function what waits in the queue, one batch; failed messages wait on."""
        return event_source.poll(
            self.aws.sqs, self.queue_url, handler or self.handler, retry_seconds=0
        )

    def handle(self, event: Event, steps: str) -> None:
        """Have the messages of *event* handled one by one: ``publish confirm:other-context``."""
        for step in steps.split():
            name, _, context = step.partition(":")
            getattr(self, name)(event, **({"context": context} if context else {}))
            self.poll()

    def connect(self, *events: Event) -> Event:
        """Have *events* handled, then the confirmation of the last one; return the last one."""
        for event in events:
            self.handle(event, "publish")
        self.handle(events[-1], "confirm")
        return events[-1]

    @contextmanager
    def held(self, operation: str, run: Callable[[dict[str, str]], object]) -> Iterator[None]:
        """Give *run* an environment meanwhile, in which AWS responds after the block.

        It is the response to the first *operation*, which is applied before the block.
        """
        with (
            FaultProxy(self.aws.endpoint_url, microburst="") as proxy,
            ThreadPoolExecutor() as executor,
        ):
            proxy.inject(operation, Fault.HELD, times=1)
            running = executor.submit(run, self.environment | proxy.endpoints)
            proxy.wait_for(operation)
            yield
            proxy.released.set()
            running.result()

    def delayed_poll(self, operation: str) -> AbstractContextManager[None]:
        """Poll meanwhile, by a function whose first *operation* gets its response after it."""
        return self.held(operation, lambda environment: self.poll(load(environment)))

    def token(self, event: Event, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Return the response of `tokens` to *request* for the authorization of *event*."""
        request = {"authorization_id": event["subject"], **request}
        return dict(self.tokens_handler(request, LambdaContext("tokens")))

    def disconnect(self, event: Event) -> dict[str, Any]:
        """Return the response of `tokens` to a request that ends the connection of *event*."""
        return self.token(event, disconnect=True)

    def waiting(self) -> int:
        """Return how many messages are left in the queue."""
        attributes: Any = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=["All"]
        )["Attributes"]
        names = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        return sum(int(attributes[name]) for name in names)

    def outcome(self, event: Event) -> tuple[str, str | None, set[str]]:
        """Return the status of *event*, the one that the app reads, and which secrets are kept."""
        grant = self.grant(event)
        kept = grant.keys() & {"code", "code_verifier", "tokens", "refresh"}
        return grant["status"], self.status(event), kept

    def connection(self, event: Event) -> dict[str, Any]:
        """Return the item that the app reads of *event*, each attribute as text."""
        return self._item("ConnectionTable", confirmation_of(event))

    def status(self, event: Event) -> str | None:
        """Return the status that the app reads of *event*."""
        return self.connection(event).get("status")

    def organization(self, event: Event) -> str | None:
        """Return the organisation that the app reads of *event*."""
        return self.connection(event).get("organization")

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return up to ten messages of the dead-letter queue."""
        queue = self.stack.resources["DeadLetterQueue"]
        found = self.aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]

    def grant(self, event: Event) -> dict[str, Any]:
        """Return the item of *event*, each attribute as text."""
        return self._item("GrantTable", _key(event))

    def tokens(self, event: Event) -> dict[str, str]:
        """Return the stored tokens of *event*, each member as text."""
        return _plain(self.grant(event)["tokens"])

    def change_grant(self, event: Event, name: str, value: dict[str, Any]) -> None:
        self._change("GrantTable", _key(event), name, value)

    def outlive_claim(self, event: Event, seconds: int = 1) -> None:
        """Let the claim of *event* be older than the function runs, by so many *seconds*."""
        claimed_at = int(time.time()) - LONGEST_RUN - seconds
        self.change_grant(event, "claimed_at", {"N": str(claimed_at)})

    def change_status(self, event: Event, status: str) -> None:
        """Set the status that the app reads of *event*."""
        self._change("ConnectionTable", confirmation_of(event), "status", {"S": status})

    def _item(self, table: str, key: dict[str, str]) -> dict[str, Any]:
        found = self.aws.dynamodb.get_item(
            TableName=self.stack.resources[table],
            Key={name: {"S": value} for name, value in key.items()},
            ConsistentRead=True,
        )
        return _plain(found.get("Item", {}))

    def _change(self, table: str, key: dict[str, str], name: str, value: dict[str, Any]) -> None:
        self.aws.dynamodb.update_item(
            TableName=self.stack.resources[table],
            Key={part: {"S": text} for part, text in key.items()},
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": value},
        )


def _key(event: Event) -> dict[str, str]:
    return {"authorization_id": event["subject"], "event_id": event["id"]}


def _plain(item: Any) -> dict[str, Any]:  # noqa: ANN401 - an item of DynamoDB
    return {name: next(iter(typed.values())) for name, typed in item.items()}


class Output(NamedTuple):
    """What the functions printed: all of it, the log lines, and how often each metric counted."""

    text: str
    logs: list[dict[str, Any]]
    metrics: Counter[str]


def read_output(capsys: pytest.CaptureFixture[str]) -> Output:
    """Return what the functions printed since the last time."""
    text = "".join(capsys.readouterr())
    lines = [json.loads(line) for line in text.splitlines()]
    metrics: Counter[str] = Counter()
    for line in lines:
        for emf in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert (emf["Namespace"], emf["Dimensions"]) == ("qonto-connect", [["service"]])
            metrics.update(each["Name"] for each in emf["Metrics"])
    return Output(text, [line for line in lines if "_aws" not in line], metrics)


def load(environment: dict[str, str]) -> Any:  # noqa: ANN401 - a handler
    """Import the handler as Lambda does at a cold start in *environment*."""
    return cold_start("subscriber.handler", environment, TEMPLATE.parent)


def load_tokens(environment: dict[str, str]) -> Any:  # noqa: ANN401 - a handler
    """Import the handler of `tokens` in the same way."""
    return cold_start("subscriber.tokens_handler", environment, TEMPLATE.parent)


def load_with(environment: dict[str, str], **methods: Callable[..., object]) -> Any:  # noqa: ANN401 - a handler
    """Load the handler with a variant of its `Grants` that has other *methods*."""
    handler = load(environment)
    module: Any = sys.modules["subscriber.handler"]
    variant: Any = type("Variant", (type(module.grants),), methods)
    module.grants = variant(module.grants._table)  # noqa: SLF001 - the same table
    return handler


def rfc3339(seconds: float) -> str:
    """Return the time of epoch *seconds* as events have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
