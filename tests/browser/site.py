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
    """The URLs of all servers, and the connector that responds."""

    app: str  # each of its pages has a heading, a link and any element of a test
    connector: str
    qonto: str  # to a browser, another site than the connector, as Qonto is
    aws: LocalAws
    stack: Stack
    functions: Connector = field(init=False)
    callback: Handler = field(init=False)  # which a test may replace until the next `use`
    seen: list[dict[str, Json]] = field(default_factory=list)  # requests, each with its `response`
    connection: dict[str, str] = field(default_factory=dict)  # what the example app reads

    def use(self, *, reach_aws: bool = True, **environment: str) -> None:
        """Switch to a connector with *environment*, and forget the requests."""
        environment = {
            "REDIRECT_URI": f"{self.connector}/callback",
            "OAUTH_BASE_URL": self.qonto,
            "RETURN_URLS": f"{self.app}/connected",
        } | environment
        endpoint_url = None if reach_aws else f"http://127.0.0.1:{free_port()}"
        self.functions = Connector(self.aws, self.stack, endpoint_url=endpoint_url, **environment)
        self.callback = self.functions.callback
        self.seen.clear()

    def respond(self, request: Json, context: LambdaContext) -> Json:
        """Return the response of the function to *request*, and remember both."""
        self.seen.append(request)
        is_start = request["routeKey"] == "GET /start"
        handler = self.functions.start if is_start else self.callback
        request["response"] = handler(request, context)
        return request["response"]

    def subscriber(self) -> Subscriber:
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
    port = free_port(3)
    urls = f"{scheme}://localhost:{port}", f"{scheme}://localhost:{port + 1}"
    site = Site(*urls, f"http://127.0.0.1:{port + 2}", aws, aws.deploy(PARAMETERS))
    client = site.stack.environment["StartFunction"]["CLIENT_ID"], "secret"
    server = qonto.AuthorizationServer(*client, [f"{site.connector}/callback"])
    functions = dict.fromkeys(("StartFunction", "CallbackFunction"), site.respond)
    beside_worker = [
        Route("/worker", lambda _: HTMLResponse(WORKER)),
        Route("/worker.js", lambda _: Response(WORKER_JS, media_type="text/javascript")),
        Mount("/", gateway.application(gateway.routes(infra.load()), functions)),
    ]
    with (
        serving(Starlette(routes=[Route("/{path:path}", _app_page)]), port, **tls),
        serving(Starlette(routes=beside_worker), port + 1, **tls),
        serving(qonto.create_app(server), port + 2),
    ):
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
