"""Serves the example app, the connector and mock Qonto, with a defence of the examples missing."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from boto3.dynamodb.conditions import Attr
from starlette.types import ASGIApp, Receive, Scope, Send

from demo import event_source, gateway
from demo import template as infra
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, subscribe_queue
from examples.app.app import Ledgerly, create_app
from examples.app.contexts import Contexts
from examples.app.subscriber import Subscriber
from tests.browser.site import wait_until
from tests.careless import forgetting_used_codes
from tests.example_app import without_tokens
from tests.http_server import serving
from tests.integration.connector import PARAMETERS, Connector
from tests.integration.subscription import GRANTED, ExampleSubscriber, MockQonto, confirmation_of


@dataclass(frozen=True)
class Servers:
    """The app, the connector and the local AWS with the subscriber's stack."""

    app: str
    connector: str
    aws: LocalAws
    topic_arn: str
    queue_url: str
    grant_table: str
    connection_table: str

    def table(self, name: str) -> Any:  # noqa: ANN401 - a resource that boto3 makes
        """Return the table *name*."""
        return self.aws.session.resource("dynamodb", endpoint_url=self.aws.endpoint_url).Table(name)

    def ended(self, link: str) -> dict[str, Any]:
        """Return the grant of the start link *link*, once its status is final."""
        grants = self.table(self.grant_table)
        context = dict(parse_qsl(urlsplit(link).query))["context"]
        final = ~Attr("status").is_in(["held", "exchanging"])
        found: list[dict[str, Any]] = []

        def is_found() -> bool:
            found[:] = grants.scan(FilterExpression=final & Attr("context").eq(context))["Items"]
            return bool(found)

        wait_until(is_found)
        return found[0]

    @contextmanager
    def event_comes_last(self) -> Iterator[None]:
        """Hold the block's event back until the subscriber has handled the app's message."""
        queue_url, _ = subscribe_queue(self.aws.sns, self.aws.sqs, self.topic_arn)
        subscriptions = self.aws.sns.list_subscriptions_by_topic(TopicArn=self.topic_arn)
        queue_name = self.queue_url.rpartition("/")[2]
        [arn] = [
            subscription["SubscriptionArn"]
            for subscription in subscriptions["Subscriptions"]
            if subscription["Endpoint"].endswith(queue_name)
        ]
        self._deliver_type(arn, "none")
        yield
        self._deliver_type(arn, GRANTED)
        response = self.aws.sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=5)
        [message] = response["Messages"]
        key = confirmation_of(json.loads(message["Body"]))
        connections = self.table(self.connection_table)
        wait_until(lambda: "Item" in connections.get_item(Key=key))
        self.aws.sqs.send_message(QueueUrl=self.queue_url, MessageBody=message["Body"])

    def _deliver_type(self, subscription_arn: str, event_type: str) -> None:
        self.aws.sns.set_subscription_attributes(
            SubscriptionArn=subscription_arn,
            AttributeName="FilterPolicy",
            AttributeValue=json.dumps({"type": [event_type]}),
        )


@dataclass(frozen=True)
class Careless:
    """An app and a subscriber, of which one lacks one defence."""

    ledgerly: type[Ledgerly] = Ledgerly
    contexts: type[Contexts] = Contexts
    create_app: Callable[[Ledgerly], ASGIApp] = create_app
    forgets_used_codes: bool = False


@dataclass
class CarelessServers:
    """Servers whose app and subscriber are replaced before each test.

    Attributes:
        servers: their addresses.
        app: the app that responds.
        handler: the subscriber's handler.

    """

    servers: Servers
    app: ASGIApp = field(init=False)
    handler: Handler = field(init=False)
    _example: ExampleSubscriber

    def use(self, careless: Careless, database: Path) -> None:
        """Serve the app and the subscriber that *careless* describes."""
        servers = self.servers
        connections = servers.table(servers.connection_table)
        subscriber = Subscriber(servers.aws.sqs, servers.queue_url, connections)
        ledgerly = without_tokens(
            servers.app,
            servers.connector,
            subscriber,
            database,
            ledgerly=careless.ledgerly,
            contexts=careless.contexts,
        )
        self.app = careless.create_app(ledgerly)
        self.handler = self._example.handler
        if careless.forgets_used_codes:
            self.handler = forgetting_used_codes(self.handler, servers.aws, servers.grant_table)


@contextmanager
def serve_careless(aws: LocalAws) -> Iterator[CarelessServers]:
    """Serve the app, connector and mock Qonto, and run the subscriber."""
    stack = aws.deploy(PARAMETERS)
    mock_qonto = MockQonto()
    example = ExampleSubscriber(aws, stack.topic_arn, mock_qonto)
    handlers: dict[str, Handler] = {}
    stopped = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await served.app(scope, receive, send)

    def handle(event: dict[str, Any], context: LambdaContext) -> Any:  # noqa: ANN401 - JSON
        return served.handler(event, context)

    def poll() -> None:
        while not stopped.is_set():
            event_source.poll(aws.sqs, example.queue_url, handle, wait_seconds=1)

    with ExitStack() as running:
        connector = gateway.application(gateway.routes(infra.load()), handlers)
        app_url, connector_url = (
            f"http://localhost:{running.enter_context(serving(server))}"
            for server in (app, connector)
        )
        redirect_uri = f"{connector_url}/callback"
        mock_qonto.server.redirect_uris = [redirect_uri]
        functions = Connector(
            aws,
            stack,
            REDIRECT_URI=redirect_uri,
            OAUTH_BASE_URL=mock_qonto.url,
            RETURN_URLS=f"{app_url}/connected",
        )
        handlers.update(StartFunction=functions.start, CallbackFunction=functions.callback)
        servers = Servers(
            app=app_url,
            connector=connector_url,
            aws=aws,
            topic_arn=stack.topic_arn,
            queue_url=example.queue_url,
            grant_table=example.stack.resources["GrantTable"],
            connection_table=example.stack.resources["ConnectionTable"],
        )
        served = CarelessServers(servers, _example=example)
        running.enter_context(mock_qonto.up())
        polling = threading.Thread(target=poll)
        polling.start()
        running.callback(polling.join)
        running.callback(stopped.set)
        yield served
