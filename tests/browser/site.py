"""The pair at a real address, between a stand-in for Qonto and an app, all served by the test run.

The gateway and the handlers are the demo's, so what a browser gets is what API Gateway would send.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from demo import gateway, qonto
from demo import template as infra
from demo.gateway import Handler
from demo.local_aws import LocalAws, Stack, free_port
from tests.http_server import serving
from tests.integration.connector import PARAMETERS, Connector


@dataclass
class Site:
    """Where everything is, what the pair was asked, and which pair answers.

    Attributes:
        app: the app's address; each of its pages says the address that it was asked for.
        pair: the pair's.
        qonto: the stand-in's, to a browser another site than the pair's, as Qonto is.
        asked: the paths that the pair was asked for, in their order.

    """

    app: str
    connector: str
    qonto: str
    asked: list[str]
    _aws: LocalAws
    _stack: Stack
    _handlers: dict[str, Handler]
    _connectors: dict[str, Connector] = field(default_factory=dict)
    _functions: Connector = field(init=False)

    def use(self, *, reach_aws: bool = True, **environment: str) -> None:
        """Let a pair with *environment* answer from now on, and forget what was asked."""
        key = f"{reach_aws} {environment}"
        if key not in self._connectors:
            self._connectors[key] = self._build(reach_aws=reach_aws, **environment)
        self._functions = self._connectors[key]
        self._handlers["StartFunction"] = self._functions.start
        self._handlers["CallbackFunction"] = self._functions.callback
        self.asked.clear()

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
        """Return the address that an app links to."""
        return f"{self.connector}/start?{urlencode(query)}"

    def states(self) -> set[str]:
        """Return the states in the table."""
        return self._functions.states()

    def expire(self, state: str) -> None:
        """Put the end of *state* into the past."""
        self._aws.dynamodb.update_item(
            TableName=self._stack.table_name,
            Key={"state": {"S": state}},
            UpdateExpression="SET expires_at = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )

    def context(self, state: str) -> str | None:
        """Return what the app gave with the flow of *state*."""
        item = self._functions.item(state)
        return None if item is None else item.get("context")


def _recorded(application: ASGIApp, asked: list[str]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await application(scope, receive, send)

    return app


async def _app_page(request: Request) -> Response:
    """Link to the address in ``to``, and fetch ahead what is in ``ahead``."""
    to, ahead = (request.query_params.get(name, "") for name in ("to", "ahead"))
    return HTMLResponse(
        f"<!doctype html><html lang=en><title>App</title>{ahead}<h1>The app</h1>"
        f'<p id="address">{request.url.path}</p><a href="{to}">Connect with Qonto</a>'
    )


@contextmanager
def serve_site(aws: LocalAws, scheme: str = "http", **tls: str) -> Iterator[Site]:
    """Serve app, pair and stand-in; *tls* is uvicorn's, for the ``https`` *scheme*."""
    stack = aws.deploy(PARAMETERS)
    # DynamoDB takes up to two days to remove what has expired, ministack a minute at most.
    aws.dynamodb.update_time_to_live(
        TableName=stack.table_name,
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "expires_at"},
    )
    handlers: dict[str, Handler] = {}
    asked: list[str] = []
    redirect_uris: list[str] = []
    connector = _recorded(gateway.application(gateway.routes(infra.load()), handlers), asked)
    client_id = stack.environment["StartFunction"]["CLIENT_ID"]
    stand_in = qonto.create_app(qonto.AuthorizationServer(client_id, "secret", redirect_uris))
    app = Starlette(routes=[Route("/{path:path}", _app_page)])
    with ExitStack() as servers:
        app_port, connector_port = (
            servers.enter_context(serving(it, **tls)) for it in (app, connector)
        )
        qonto_port = servers.enter_context(serving(stand_in))
        served = Site(
            app=f"{scheme}://localhost:{app_port}",
            connector=f"{scheme}://localhost:{connector_port}",
            qonto=f"http://127.0.0.1:{qonto_port}",
            asked=asked,
            _aws=aws,
            _stack=stack,
            _handlers=handlers,
        )
        redirect_uris.append(f"{served.connector}/callback")
        yield served
