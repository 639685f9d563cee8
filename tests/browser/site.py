"""Serves the connector, mock Qonto and an app over HTTP, for browsers to visit.

The gateway and the handlers are the demo's, so a browser gets what API Gateway would send.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from demo import gateway, qonto
from demo import template as infra
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack, free_port
from demo.template import Json
from examples.app.app import Ledgerly, create_app
from examples.app.subscriber import Subscriber as SubscriberStack
from tests.support.connector import PARAMETERS, Connector, Subscriber
from tests.support.example_app import without_tokens
from tests.support.http_server import serving

# A page and a service worker on the connector's own host, where an app may have both.
WORKER = """<!doctype html><title>App</title><script>
navigator.serviceWorker.register("/worker.js" + location.search)
addEventListener("load", async () => { await navigator.serviceWorker.ready; location = "#ready" })
</script>"""
WORKER_JS = """addEventListener("fetch", (event) => {
  const options = location.search === "?options" ? { cache: "no-store" } : undefined
  event.respondWith(fetch(event.request, options))
})"""


def wait_until(condition: Callable[[], bool], *ignored: type[Exception]) -> None:
    """Wait until *condition* holds; exceptions of the *ignored* types mean that it does not yet."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(*ignored):
            if condition():
                return
        time.sleep(0.02)
    raise TimeoutError


@dataclass
class Site:
    """The URLs of all servers, and the connector that responds.

    Attributes:
        app: the app's URL. Each of its pages has a heading, a link and any element of a test.
        connector: the connector's URL.
        qonto: mock Qonto's URL. To a browser it is another site than the connector, as Qonto is.
        functions: the connector.
        callback: the handler of callback, which a test may replace until the next `use`.
        seen: the requests to the functions, in their order, each with its ``response``.
        connection: what the example app reads of a connection that it has confirmed.

    """

    app: str
    connector: str
    qonto: str
    aws: LocalAws
    stack: Stack
    functions: Connector = field(init=False)
    callback: Handler = field(init=False)
    seen: list[dict[str, Json]] = field(default_factory=list)
    connection: dict[str, str] = field(default_factory=dict)

    def use(self, *, reach_aws: bool = True, **environment: str) -> None:
        """Switch to a connector with *environment*, and forget the requests."""
        settings = {
            "REDIRECT_URI": f"{self.connector}/callback",
            "OAUTH_BASE_URL": self.qonto,
            "RETURN_URLS": f"{self.app}/connected",
        }
        endpoint_url = None if reach_aws else f"http://127.0.0.1:{free_port()}"
        self.functions = Connector(
            self.aws, self.stack, endpoint_url=endpoint_url, **(settings | environment)
        )
        self.callback = self.functions.callback
        self.seen.clear()

    def respond(self, request: Json, context: LambdaContext) -> Json:
        """Return the response of the function to *request*, and remember both."""
        self.seen.append(request)
        is_start = request["routeKey"] == "GET /start"
        response = (self.functions.start if is_start else self.callback)(request, context)
        request["response"] = response
        return response

    def subscriber(self) -> Subscriber:
        """Return a new subscriber, which receives what is published from now on."""
        return Subscriber(self.aws, self.stack)

    def start(self, **query: str) -> str:
        """Return the ``/start`` URL that an app links to."""
        return f"{self.connector}/start?{urlencode(query)}"

    def page(self, element: str, **query: str) -> str:
        """Return the URL of an app's page with *element* and with a link to `start`."""
        return f"{self.app}/?{urlencode({'to': self.start(**query), 'element': element})}"


async def _app_page(request: Request) -> Response:
    to, element = (request.query_params.get(name, "") for name in ("to", "element"))
    return HTMLResponse(f'<!doctype html>{element}<h1>The app</h1><a href="{to}">Connect</a>')


@contextmanager
def serve_site(aws: LocalAws, scheme: str, **tls: str) -> Iterator[Site]:
    """Serve the app, connector and mock Qonto; the *scheme* ``https`` needs uvicorn's *tls*."""
    stack, template, redirect_uris = aws.deploy(PARAMETERS), infra.load(), list[str]()
    client_id = stack.environment["StartFunction"]["CLIENT_ID"]
    mock_qonto = qonto.create_app(qonto.AuthorizationServer(client_id, "secret", redirect_uris))

    def respond(request: Json, context: LambdaContext) -> Json:
        return site.respond(request, context)

    functions = dict.fromkeys(("StartFunction", "CallbackFunction"), respond)
    beside_worker = [
        Route("/worker", lambda _: HTMLResponse(WORKER)),
        Route("/worker.js", lambda _: Response(WORKER_JS, media_type="text/javascript")),
        Mount("/", gateway.application(gateway.routes(template), functions)),
    ]
    with (
        serving(Starlette(routes=[Route("/{path:path}", _app_page)]), **tls) as app_port,
        serving(Starlette(routes=beside_worker), **tls) as connector_port,
        serving(mock_qonto) as qonto_port,
    ):
        app, connector = (f"{scheme}://localhost:{port}" for port in (app_port, connector_port))
        site = Site(app, connector, f"http://127.0.0.1:{qonto_port}", aws, stack)
        redirect_uris.append(f"{connector}/callback")
        yield site


@contextmanager
def serve_example_app(
    site: Site, folder: Path, ledgerly: type[Ledgerly] = Ledgerly
) -> Iterator[str]:
    """Serve the example app, or a variant, and let the connector of *site* return to it.

    Yield the app's URL, which is not at localhost: WebKit has learnt to visit that over TLS alone.
    """
    site.connection = {"status": "connected", "organization": "Atelier Martin"}
    sent: list[dict[str, str]] = []
    queue: Any = SimpleNamespace(
        send_message=lambda QueueUrl, MessageBody: sent.append(json.loads(MessageBody))  # noqa: ARG005, N803
    )
    table: Any = SimpleNamespace(
        get_item=lambda Key: {"Item": site.connection} if Key in sent else {}  # noqa: N803
    )
    port = free_port()
    url, subscriber = f"http://127.0.0.1:{port}", SubscriberStack(queue, "", table)
    database = folder / "ledgerly.sqlite"
    app = without_tokens(url, site.connector, subscriber, database, ledgerly=ledgerly)
    site.use(RETURN_URLS=f"{url}/connected")
    with serving(create_app(app), port):
        yield url
