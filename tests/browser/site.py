"""Serves the connector, mock Qonto and an app over HTTP, for browsers to visit.

The gateway and the handlers are the demo's, so a browser gets what API Gateway would send.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo import gateway, qonto
from demo import template as infra
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack, free_port
from state_store import StateStore
from tests.http_server import serving
from tests.integration.connector import PARAMETERS, Connector, Subscriber, callback_app

SECONDS = 20  # for an event that a test waits for
# A page and a service worker on the connector's own host, where an app may have both.
WORKER = """<!doctype html><title>App</title><script>
navigator.serviceWorker.register("/worker.js" + location.search)
addEventListener("load", async () => { await navigator.serviceWorker.ready; location = "#ready" })
</script>"""
WORKER_JS = """addEventListener("fetch", (event) => {
  const options = location.search === "?options" ? { cache: "no-store" } : undefined
  event.respondWith(fetch(event.request, options))
})"""


class Calls:
    """The calls of a function, which can wait for each other.

    Attributes:
        arrived: the arrival of each call.
        ended: the end of the function's work in each call.
        begins: the event for which each call waits before the function's work.
        returns: the event for which each call waits after the function's work.

    """

    def __init__(self, handler: Handler) -> None:
        """Call *handler*."""
        self._handler = handler
        self._numbers = count()
        self.arrived = [Event() for _ in range(3)]
        self.ended = [Event() for _ in range(3)]
        self.begins = self.arrived.copy()  # at once
        self.returns = self.ended.copy()

    def __call__(self, request: dict[str, Any], context: LambdaContext) -> Any:  # noqa: ANN401 - JSON
        """Return the handler's response to *request*."""
        number = next(self._numbers)
        self.arrived[number].set()
        wait_for(self.begins[number])
        response = self._handler(request, context)
        self.ended[number].set()
        wait_for(self.returns[number])
        return response


def wait_for(event: Event) -> None:
    """Wait until *event* is set."""
    assert event.wait(SECONDS)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class Seen:
    """A request that the connector has seen, and the status of its response."""

    path: str
    headers: dict[str, str]
    status: int = 0


@dataclass
class Site:
    """The URLs of all servers, and the connector that responds.

    Attributes:
        app: the app's URL. Each of its pages shows its own path.
        connector: the connector's URL.
        qonto: mock Qonto's URL. To a browser it is another site than the connector, as Qonto is.
        seen: the requests to the connector, in their order.

    """

    app: str
    connector: str
    qonto: str
    seen: list[Seen]
    _aws: LocalAws
    _stack: Stack
    _handlers: dict[str, Handler]
    _connectors: dict[str, Connector] = field(default_factory=dict)
    _functions: Connector = field(init=False)

    @property
    def requested_paths(self) -> list[str]:
        """The paths of the requests to the connector, in their order."""
        return [request.path for request in self.seen]

    def use(self, *, reach_aws: bool = True, **environment: str) -> None:
        """Switch to a connector with *environment*, and forget the requests."""
        key = f"{reach_aws} {environment}"
        if key not in self._connectors:
            self._connectors[key] = self._build(reach_aws=reach_aws, **environment)
        self._functions = self._connectors[key]
        self._handlers["StartFunction"] = self._functions.start
        self._handlers["CallbackFunction"] = self._functions.callback
        self.seen.clear()

    def use_state_store(self, state_store: type[StateStore]) -> None:
        """Switch callback to *state_store*, until the next `use`."""
        app = callback_app(self._functions.callback_environment, state_store)
        self._handlers["CallbackFunction"] = lambda request, _context: app.handle(request)

    def omit_fragments(self) -> None:
        """Let callback redirect to addresses without a fragment, until the next `use`."""
        callback = self._functions.callback

        def without_fragment(request: dict[str, Any], context: LambdaContext) -> Any:  # noqa: ANN401
            response: Any = callback(request, context)
            headers = response["headers"]
            if "Location" in headers:
                headers["Location"] = headers["Location"].partition("#")[0]
            return response

        self._handlers["CallbackFunction"] = without_fragment

    def watch_callback(self) -> Calls:
        """Return the calls of callback from now on, until the next `use`."""
        calls = self._handlers["CallbackFunction"] = Calls(self._handlers["CallbackFunction"])
        return calls

    def subscriber(self) -> Subscriber:
        """Return a new subscriber, which receives what is published from now on."""
        return Subscriber(self._aws, self._stack)

    def _build(self, *, reach_aws: bool, **environment: str) -> Connector:
        return Connector(
            self._aws,
            self._stack,
            endpoint_url=None if reach_aws else f"http://127.0.0.1:{free_port()}",
            **{
                "REDIRECT_URI": f"{self.connector}/callback",
                "OAUTH_BASE_URL": self.qonto,
                "RETURN_URLS": f"{self.app}/connected",
                "APP_NAME": "Ledgerly",
                "SUPPORT_URL": f"{self.app}/help",
                **environment,
            },
        )

    def start(self, **query: str) -> str:
        """Return the ``/start`` URL that an app links to."""
        return f"{self.connector}/start?{urlencode(query)}"

    def worker(self, passes_on: str) -> str:
        """Return the URL of a page whose service worker *passes_on* navigations.

        It passes on the ``request`` itself, or with ``options``. When it does so, the page's
        fragment is ``#ready``.
        """
        return f"{self.connector}/worker?{passes_on}"

    def states(self) -> set[str]:
        """Return the states in the table."""
        return self._functions.states()

    def expire(self, state: str) -> None:
        """Move the expiry of *state* into the past."""
        self._aws.dynamodb.update_item(
            TableName=self._stack.table_name,
            Key={"state": {"S": state}},
            UpdateExpression="SET expires_at = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )

    def claim(self, state: str) -> None:
        """Claim *state* for a response that stays in flight until the state expires."""
        self._aws.dynamodb.update_item(
            TableName=self._stack.table_name,
            Key={"state": {"S": state}},
            UpdateExpression="SET response_hash = :other, claimed_at = expires_at",
            ExpressionAttributeValues={":other": {"S": "another response"}},
        )

    def context(self, state: str) -> str | None:
        """Return the context that the app passed with the flow of *state*."""
        item = self._functions.item(state)
        return None if item is None else item.get("context")


def _recorded(application: ASGIApp, seen: list[Seen]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        request = Seen(scope["path"], headers)
        seen.append(request)

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        await application(scope, receive, send_recorded)

    return app


def _beside_worker(connector: ASGIApp) -> ASGIApp:
    return Starlette(
        routes=[
            Route("/worker", lambda _: HTMLResponse(WORKER)),
            Route("/worker.js", lambda _: Response(WORKER_JS, media_type="text/javascript")),
            Mount("/", connector),
        ]
    )


async def _app_page(request: Request) -> Response:
    """Return a page with a link to ``to`` and with the elements in ``ahead``."""
    to, ahead = (request.query_params.get(name, "") for name in ("to", "ahead"))
    return HTMLResponse(
        f"<!doctype html><html lang=en><title>App</title>{ahead}<h1>The app</h1>"
        f'<p id="address">{request.url.path}</p><a href="{to}">Connect with Qonto</a>'
    )


@contextmanager
def serve_site(aws: LocalAws, scheme: str = "http", **tls: str) -> Iterator[Site]:
    """Serve the app, connector and mock Qonto; the *scheme* ``https`` needs uvicorn's *tls*."""
    stack = aws.deploy(PARAMETERS)
    # ministack's TTL removes expired items within a minute, but DynamoDB's may take two days.
    aws.dynamodb.update_time_to_live(
        TableName=stack.table_name,
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
    )
    handlers: dict[str, Handler] = {}
    seen: list[Seen] = []
    redirect_uris: list[str] = []
    connector = _recorded(gateway.application(gateway.routes(infra.load()), handlers), seen)
    client_id = stack.environment["StartFunction"]["CLIENT_ID"]
    mock_qonto = qonto.create_app(qonto.AuthorizationServer(client_id, "secret", redirect_uris))
    app = Starlette(routes=[Route("/{path:path}", _app_page)])
    with ExitStack() as servers:
        app_port, connector_port = (
            servers.enter_context(serving(server, **tls))
            for server in (app, _beside_worker(connector))
        )
        qonto_port = servers.enter_context(serving(mock_qonto))
        served = Site(
            app=f"{scheme}://localhost:{app_port}",
            connector=f"{scheme}://localhost:{connector_port}",
            qonto=f"http://127.0.0.1:{qonto_port}",
            seen=seen,
            _aws=aws,
            _stack=stack,
            _handlers=handlers,
        )
        redirect_uris.append(f"{served.connector}/callback")
        yield served
