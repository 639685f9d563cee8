"""The example subscriber: its stack and its handler, between a topic and mock Qonto."""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
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
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
LONGEST_RUN = 30  # seconds, the function's timeout
GRANTED = "qonto-connect.authorization.granted.v1"

type Breaks = Literal["before", "after"]  # the exchange


class MockQonto:
    """Mock Qonto over HTTP, with a user who always allows."""

    def __init__(self) -> None:
        self.server = qonto.AuthorizationServer(
            CLIENT_ID, CLIENT_SECRET, [REDIRECT_URI], STAGING_TOKEN
        )
        self.instead: Response | None = None  # of the token endpoint's own response
        self.breaks: Breaks | None = None  # where the token endpoint's connection does
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
                assert thread.is_alive()  # it ends if another process has the port
                time.sleep(0.005)
            yield
        finally:
            server.should_exit = True
            thread.join()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.lost and scope["path"] in {"/oauth2/token", "/v2/oauth2/consents"}:
            self.lost -= 1
            self.meanwhile()
            await self._qonto(scope, receive, _nowhere)
            await Response(status_code=500)(scope, receive, send)
        elif scope["path"] != "/oauth2/token":
            await self._qonto(scope, receive, send)
        elif self.breaks == "before":
            await self._break()
        elif self.instead:
            self.meanwhile()
            await self.instead(scope, receive, send)
        else:
            self.meanwhile()
            await self._qonto(scope, receive, self._break if self.breaks == "after" else send)

    async def _break(self, *_: object) -> None:
        """Send nothing, as to a function that is killed while it waits."""
        self.reached.set()
        await asyncio.Event().wait()

    def allow(self, organization: qonto.Organization = qonto.ORGANIZATIONS[0], **query: str) -> str:
        """Let a user allow what the client asks for, with *organization*; return the code."""
        request = {
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "scope": "offline_access organization.read",
            "response_type": "code",
            "state": "a-state-of-enough-characters",
        }
        login = self.server.begin(request | query, "browser")
        scopes = [("scope", scope) for scope in login.request.scopes]
        picked = ("organization", organization.id)
        form = FormData([("decision", "allow"), picked, *scopes])
        return self.server.answer(login, form).parameters["code"]

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


async def _nowhere(_message: Message) -> None:
    """Lose a response."""


def granted(mock_qonto: MockQonto, *, expires_in: int = 600, **data: str | None) -> dict[str, Any]:
    """Return the event of a user who allowed, as callback publishes it; None omits a member."""
    now = time.time()
    members = {
        "environment": "sandbox",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "token_endpoint": mock_qonto.token_endpoint,
        "requested_scope": "offline_access organization.read",
        "context": str(uuid4()),
        "started_at": rfc3339(now - 90),
        "code_expires_at": rfc3339(now + expires_in),
        "granted_scope": "offline_access organization.read",
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


def publish(aws: LocalAws, topic_arn: str, event: dict[str, Any]) -> None:
    """Publish *event* as callback does."""
    aws.sns.publish(
        TopicArn=topic_arn,
        Message=json.dumps(event),
        MessageAttributes={"type": {"DataType": "String", "StringValue": event["type"]}},
    )


def confirmation_of(event: dict[str, Any]) -> dict[str, str]:
    """Return the app's confirmation of *event*."""
    return {"authorization_id": event["subject"], "context": event["data"]["context"]}


class ExampleSubscriber:
    """The stack of examples/subscriber, fed from *topic_arn*, and its real handler."""

    def __init__(
        self, aws: LocalAws, topic_arn: str, mock_qonto: MockQonto, **parameters: str
    ) -> None:
        """Deploy, and put the client secret in."""
        self.aws = aws
        self.topic_arn = topic_arn
        self.stack: Stack = aws.deploy(
            {
                "TopicArn": topic_arn,
                "ClientId": CLIENT_ID,
                "AppRoleArn": APP_ROLE_ARN,
                **parameters,
            },
            infra.load(TEMPLATE),
        )
        aws.secrets.put_secret_value(
            SecretId=self.stack.resources["ClientSecret"], SecretString=SECRET
        )
        self.queue_url = self.stack.resources["Queue"]
        self.environment = {
            **aws.environment(),
            **self.stack.environment["SubscriberFunction"],
            **mock_qonto.environment,
        }
        self.handler = load(self.environment)
        self.tokens_handler = load_tokens(self.environment)

    def set_redrive_policy(self) -> None:
        """Move dead letters as the template says: ministack's CloudFormation leaves that out."""
        arn = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.stack.resources["DeadLetterQueue"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        policy = infra.load(TEMPLATE)["Resources"]["Queue"]["Properties"]["RedrivePolicy"]
        self.aws.sqs.set_queue_attributes(
            QueueUrl=self.queue_url,
            Attributes={"RedrivePolicy": json.dumps(policy | {"deadLetterTargetArn": arn})},
        )

    def publish(self, event: dict[str, Any]) -> None:
        """Publish *event* as callback does."""
        publish(self.aws, self.topic_arn, event)

    def confirm(self, event: dict[str, Any], **changes: str) -> None:
        """Confirm *event* as the app does."""
        self.send(json.dumps(confirmation_of(event) | changes))

    def repudiate(self, event: dict[str, Any], **changes: str) -> None:
        """Repudiate *event* as the app does."""
        self.send(json.dumps(confirmation_of(event) | changes | {"repudiated": True}))

    def connect(self, *events: dict[str, Any]) -> dict[str, Any]:
        """Have *events* handled, then the confirmation of the last one; return the last one."""
        for event in events:
            self.publish(event)
            self.poll()
        self.confirm(events[-1])
        self.poll()
        return events[-1]

    def token(self, event: dict[str, Any], **request: str) -> dict[str, Any]:
        """Return the response of `tokens` to a request for an access token of *event*."""
        return self.invoke(authorization_id=event["subject"], **request)

    def disconnect(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the response of `tokens` to a request that ends the connection of *event*."""
        return self.invoke(authorization_id=event["subject"], disconnect=True)

    def invoke(self, **request: str | bool) -> dict[str, Any]:
        """Return the response of `tokens` to *request*."""
        return dict(self.tokens_handler(request, LambdaContext("tokens")))

    def send(self, body: str) -> None:
        """Put *body* into the queue."""
        self.aws.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def poll(self, handler: Any = None) -> int:  # noqa: ANN401 - a handler
        """Hand the function what waits in the queue, one batch; failed messages wait on."""
        return event_source.poll(
            self.aws.sqs, self.queue_url, handler or self.handler, retry_seconds=0
        )

    @contextmanager
    def delayed_poll(self, operation: str) -> Iterator[None]:
        """Poll meanwhile, by a function that gets a response of DynamoDB after the block.

        It is the response of its first *operation*, which is applied before the block.
        """
        with (
            FaultProxy(self.aws.endpoint_url, microburst="") as proxy,
            ThreadPoolExecutor() as executor,
        ):
            proxy.inject(operation, Fault.HELD, times=1)
            polled = executor.submit(self.poll, load(self.environment | proxy.endpoints))
            proxy.wait_for(operation)
            yield
            proxy.released.set()
            polled.result()

    def waiting(self) -> int:
        """Return how many messages are left in the queue."""
        attributes = self.aws.sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=["All"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(
            attributes["ApproximateNumberOfMessagesNotVisible"]
        )

    def status(self, event: dict[str, Any]) -> str | None:
        """Return the status that the app reads of *event*."""
        item = self.connection(event)
        return item["status"]["S"] if item else None

    def connection(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return the item that the app reads of *event*."""
        return self.aws.dynamodb.get_item(
            TableName=self.stack.resources["ConnectionTable"],
            Key={name: {"S": value} for name, value in confirmation_of(event).items()},
            ConsistentRead=True,
        ).get("Item")

    def organization(self, event: dict[str, Any]) -> str | None:
        """Return the organisation that the app reads of *event*."""
        item = self.connection(event) or {}
        return item["organization"]["S"] if "organization" in item else None

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return up to ten messages of the dead-letter queue."""
        messages = self.aws.sqs.receive_message(
            QueueUrl=self.stack.resources["DeadLetterQueue"], MaxNumberOfMessages=10
        ).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]

    def grant(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the item of *event*, each attribute as text."""
        item = self.aws.dynamodb.get_item(
            TableName=self.stack.resources["GrantTable"], Key=self.key(event), ConsistentRead=True
        )["Item"]
        return {name: next(iter(typed.values())) for name, typed in item.items()}

    def tokens(self, event: dict[str, Any]) -> dict[str, str]:
        """Return the stored tokens of *event*, each member as text."""
        tokens = self.grant(event)["tokens"]
        return {name: next(iter(typed.values())) for name, typed in tokens.items()}

    def change_grant(self, event: dict[str, Any], name: str, value: dict[str, Any]) -> None:
        """Set the attribute *name* of the item of *event*."""
        self._change("GrantTable", self.key(event), name, value)

    def outlive_claim(self, event: dict[str, Any]) -> None:
        """Let the claim of *event* be older than the function runs."""
        self.change_grant(event, "claimed_at", {"N": str(int(time.time()) - LONGEST_RUN - 1)})

    def change_connection(self, event: dict[str, Any], name: str, value: dict[str, str]) -> None:
        """Set the attribute *name* of the item that the app reads of *event*."""
        key = {half: {"S": text} for half, text in confirmation_of(event).items()}
        self._change("ConnectionTable", key, name, value)

    def _change(self, table: str, key: dict[str, Any], name: str, value: dict[str, Any]) -> None:
        self.aws.dynamodb.update_item(
            TableName=self.stack.resources[table],
            Key=key,
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": name},
            ExpressionAttributeValues={":value": value},
        )

    def cold_start(self, **environment: str) -> None:
        """Load the handler with *environment* too, and with a log that the test reads."""
        service = {"POWERTOOLS_SERVICE_NAME": str(uuid4())}  # Powertools keeps a logger for each
        self.handler = load(self.environment | service | environment)
        self.tokens_handler = load_tokens(self.environment | service | environment)

    def key(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the key of *event* in the table of grants."""
        return {"authorization_id": {"S": event["subject"]}, "event_id": {"S": event["id"]}}


def without_app(aws: LocalAws, topic_arn: str, mock_qonto: MockQonto) -> ExampleSubscriber:
    """Deploy the example for those who have no app."""
    return ExampleSubscriber(aws, topic_arn, mock_qonto, RequireConfirmation="false", AppRoleArn="")


@dataclass(frozen=True)
class Output:
    """What the function printed.

    Attributes:
        text: all of it.
        logs: the log lines.
        metrics: how often each metric was counted in the namespace and dimension of the alarms.

    """

    text: str
    logs: list[dict[str, Any]]
    metrics: Counter[str]


def read_output(capsys: pytest.CaptureFixture[str]) -> Output:
    """Return what the function printed since the last time."""
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
