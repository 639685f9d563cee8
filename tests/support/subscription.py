"""The example subscriber: its stack and its handlers, between a topic and mock Qonto."""

import json
import time
from collections import Counter
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from starlette.datastructures import FormData
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from demo import event_source, qonto
from demo import template as infra
from demo.gateway import LambdaContext
from demo.local_aws import LocalAws, free_port
from tests.support.connector import cold_start
from tests.support.http_server import serving
from tests.support.monitoring import read

CLIENT_ID = "client-1"
CLIENT_SECRET = "of-mock-qonto"
STAGING_TOKEN = "of-the-sandbox"
STAGING = {"x-qonto-staging-token": STAGING_TOKEN}
SECRET = json.dumps({"client_secret": CLIENT_SECRET, "staging_token": STAGING_TOKEN})
REDIRECT_URI = "http://localhost:8001/callback"
SCOPE = "offline_access organization.read"
NOWHERE = f"http://127.0.0.1:{free_port()}"
LONGEST_RUN = 30  # seconds, the function's timeout

type Event = dict[str, Any]
type Capture = pytest.CaptureFixture[str]

_EXAMPLE = (infra.ROOT / "docs" / "examples" / "granted.json").read_text("utf-8")
GRANTED: Event = json.loads(_EXAMPLE)


class MockQonto:
    """Mock Qonto over HTTP, with a user who always allows.

    Its clients send *environment*. Each of their requests gets the response *instead*, if there is
    one, or a 500 after its work if *is_lost*.
    """

    def __init__(self) -> None:
        client = CLIENT_ID, CLIENT_SECRET
        self.server = qonto.AuthorizationServer(*client, [REDIRECT_URI], STAGING_TOKEN)
        self._app = qonto.create_app(self.server)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.environment = qonto_at(self.url)
        self.reset()

    def reset(self) -> None:
        self.instead: Response | None = None
        self.is_lost = False
        self.server.exchanges_attempted = self.server.exchanges_succeeded = 0
        self.server.refreshes = self.server.reuses = 0

    def up(self) -> AbstractContextManager[int]:
        quiet = {"log_level": "critical", "timeout_graceful_shutdown": 0}
        return serving(self, self._port, **quiet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v2/organization":  # without faults
            await self._app(scope, receive, send)
            return
        if self.is_lost:
            await self._app(scope, receive, _nowhere)
            await Response(status_code=500)(scope, receive, send)
        else:
            await (self.instead or self._app)(scope, receive, send)

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
        try:
            self.server.organization(STAGING | {"authorization": f"Bearer {access_token}"})
        except qonto.ShownError:
            return False
        return True

    def refresh(self, refresh_token: str) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        self.server.refresh(form | client, STAGING)

    def revoke(self, access_token: str) -> None:
        """End the connections of the user and organisation of *access_token*, as the user can."""
        self.server.revoke_consents(STAGING | {"authorization": f"Bearer {access_token}"})

    @property
    def exchanges(self) -> tuple[int, int]:
        """How many exchanges were attempted, and how many of them succeeded."""
        return self.server.exchanges_attempted, self.server.exchanges_succeeded


def qonto_at(url: str) -> dict[str, str]:
    return {"TOKEN_ENDPOINT": f"{url}/oauth2/token", "API_URL": url}


async def _nowhere(_message: Message) -> None:
    """Lose it."""


def granted(mock_qonto: MockQonto, *, expires_in: int = 600, **data: str | None) -> Event:
    """Return the event of a user who allowed, as callback publishes it; None omits a member."""
    now = time.time()
    members = GRANTED["data"] | {
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "token_endpoint": mock_qonto.environment["TOKEN_ENDPOINT"],
        "context": str(uuid4()),
        "code": mock_qonto.allow(),
        "code_expires_at": rfc3339(now + expires_in),
        **data,
    }
    return GRANTED | {
        "id": str(uuid4()),
        "source": f"/qonto-connect/sandbox/{CLIENT_ID}",
        "subject": str(uuid4()),
        "time": rfc3339(now),
        "data": {name: value for name, value in members.items() if value is not None},
    }


def unknown_code() -> str:
    """Return a code that Qonto did not issue; the subscriber sends each only once."""
    return f"ory_ac_unknown.{uuid4()}"


def later_than(earlier: Event, mock_qonto: MockQonto, **data: str | None) -> Event:
    """Return the event of another code, a minute after *earlier* in the same authorization."""
    later = granted(mock_qonto, **{"context": earlier["data"]["context"], **data})
    a_minute_later = datetime.fromisoformat(earlier["time"]).timestamp() + 60
    return later | {"subject": earlier["subject"], "time": rfc3339(a_minute_later)}


def publish(aws: LocalAws, topic_arn: str, event: Event) -> None:
    attributes: Any = {"type": {"DataType": "String", "StringValue": event["type"]}}
    aws.sns.publish(TopicArn=topic_arn, Message=json.dumps(event), MessageAttributes=attributes)


def confirmation_of(event: Event) -> dict[str, str]:
    """Return the app's confirmation of *event*; it makes up a context that is missing."""
    context = event["data"].get("context", "made-up")
    return {"authorization_id": event["subject"], "context": context}


def lambda_event(body: str, sent_at: float | None = None) -> dict[str, Any]:
    """Return the event with which Lambda delivers a message with *body*, *sent_at* or now."""
    attributes = {"SentTimestamp": str(int((sent_at or time.time()) * 1000))}
    message = {"MessageId": str(uuid4()), "Body": body, "Attributes": attributes}
    return event_source.lambda_event([message], "queue")


class Example:
    """The stack of examples/subscriber, fed from *topic_arn*, and its real handlers."""

    def __init__(self, aws: LocalAws, topic_arn: str, mock_qonto: MockQonto) -> None:
        self.aws, self.topic_arn, self.qonto = aws, topic_arn, mock_qonto
        app = "arn:aws:iam::000000000000:role/app"
        given = {"TopicArn": topic_arn, "ClientId": CLIENT_ID, "AppRoleArn": app}
        self.stack = aws.deploy(given, infra.load(infra.EXAMPLE))
        resources = self.stack.resources
        aws.secrets.put_secret_value(SecretId=resources["ClientSecret"], SecretString=SECRET)
        self.queue_url = resources["Queue"]
        dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
        self._grants = dynamodb.Table(resources["GrantTable"])
        self._connections = dynamodb.Table(resources["ConnectionTable"])
        self.environment = aws.environment() | self.stack.environment["SubscriberFunction"]
        self.environment |= mock_qonto.environment
        self.cold_start()

    def cold_start(self, **environment: str) -> None:
        """Load both handlers with *environment* too, and with a log that the test reads."""
        service = {"POWERTOOLS_SERVICE_NAME": str(uuid4())}  # Powertools keeps a logger for each
        settings = self.environment | service | environment
        self.handler, self.tokens_handler = (
            cold_start(f"subscriber.{module}", settings, infra.EXAMPLE.parent)
            for module in ("handler", "tokens_handler")
        )

    def publish(self, event: Event) -> None:
        publish(self.aws, self.topic_arn, event)

    def confirm(self, event: Event, **changes: str) -> None:
        self.send(json.dumps(confirmation_of(event) | changes))

    def repudiate(self, event: Event, **changes: str) -> None:
        self.send(json.dumps(confirmation_of(event) | changes | {"repudiated": True}))

    def remind(self, event: Event) -> None:
        self.send(json.dumps({"authorization_id": event["subject"], "unfinished": True}))

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

    def connect(self, event: Event) -> Event:
        self.handle(event, "publish confirm")
        return event

    def token(self, event: Event, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        request = {"authorization_id": event["subject"], **request}
        return dict(self.tokens_handler(request, LambdaContext("tokens")))

    def disconnect(self, event: Event) -> dict[str, Any]:
        return self.token(event, disconnect=True)

    def waiting(self) -> int:
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        request = {"QueueUrl": self.queue_url, "AttributeNames": names}
        return sum(map(int, self.aws.sqs.get_queue_attributes(**request)["Attributes"].values()))

    def outcome(self, event: Event) -> tuple[str, str | None, set[str]]:
        """Return the status of *event*, the one that the app reads, and which secrets are kept."""
        grant = self.grant(event)
        kept = grant.keys() & {"code", "code_verifier", "tokens", "refresh"}
        return grant["status"], self.connection(event).get("status"), kept

    def grant(self, event: Event) -> dict[str, Any]:
        key = {"authorization_id": event["subject"], "event_id": event["id"]}
        return self._grants.get_item(Key=key, ConsistentRead=True).get("Item", {})

    def connection(self, event: Event) -> dict[str, Any]:
        """Return what the app reads."""
        key = confirmation_of(event)
        return self._connections.get_item(Key=key, ConsistentRead=True).get("Item", {})

    def change(self, event: Event, **attributes: Any) -> None:  # noqa: ANN401 - DynamoDB's types
        self._grants.put_item(Item=self.grant(event) | attributes)

    def change_status(self, event: Event, status: str) -> None:
        self._connections.put_item(Item=self.connection(event) | {"status": status})

    def outlive_claim(self, event: Event) -> None:
        """Let the claim of *event* be older than the function runs."""
        self.change(event, claimed_at=int(time.time()) - LONGEST_RUN - 1)


class Output(NamedTuple):
    """What the functions printed: all of it, the log lines, and how often each metric counted."""

    text: str
    logs: list[dict[str, Any]]
    metrics: Counter[str]


def read_output(capsys: Capture) -> Output:
    text = "".join(capsys.readouterr())
    logs, metrics = read(text)
    for each in metrics:
        assert (each.namespace, [*dict(each.dimensions)]) == ("qonto-connect", ["service"])
    return Output(text, logs, Counter(each.name for each in metrics))


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
