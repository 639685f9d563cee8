"""Ledgerly, an app that lets its customers connect their Qonto account: what to copy.

The app itself sees no code and no token. It keeps a random one-time `context` in the session that
asks for a connection; when the browser is back with it, this session did ask, and the app confirms
the pair (authorization_id, context) to the subscriber, which exchanges no other code.
"""

import hmac
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_sqs import SQSClient

MAX_CONTEXTS = 5  # so many tabs may be connecting at a time
CODE_LIFETIME = 600  # seconds; after them, nothing can come of a connection that is still pending
AUTHORIZATION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

templates = Jinja2Templates(Path(__file__).parent / "templates")


@dataclass(frozen=True)
class Subscriber:
    """The two things that the app does with the subscriber's stack, and all that it may do."""

    sqs: "SQSClient"
    queue_url: str
    connections: "Table"

    def confirm(self, pair: dict[str, str]) -> None:
        """Confirm that this app's own session asked for what this browser finished."""
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(pair))

    def connection(self, pair: dict[str, str]) -> dict[str, str | None]:
        """Return the pair's `status`, and its `organization` where that is known."""
        item = self.connections.get_item(Key=dict(pair)).get("Item", {})
        return {name: str(item[name]) for name in ("status", "organization") if item.get(name)}


@dataclass(frozen=True)
class Ledgerly:
    """The app's pages; `footer_url` leads to where the demo shows what goes on behind."""

    app_url: str
    pair_url: str
    subscriber: Subscriber
    footer_url: str = ""

    def home(self, request: Request) -> Response:
        """Show the button."""
        return self._page(request, "home")

    def connect(self, request: Request) -> Response:
        """Send the browser to the pair with a fresh context, kept in the session that asks."""
        context = secrets.token_urlsafe(32)
        request.session["contexts"] = [*_contexts(request), context][-MAX_CONTEXTS:]
        query = urlencode({"context": context, "return_to": f"{self.app_url}/connected"})
        # Whatever fragment the browser is at, it must not take it along.
        return RedirectResponse(f"{self.pair_url}/start?{query}#", HTTPStatus.FOUND)

    def connected(self, request: Request) -> Response:
        """Take the browser back from the pair, and confirm only what this session asked for."""
        authorization_id = request.query_params.get("authorization_id", "")
        context = request.query_params.get("context", "")
        outcome = request.query_params.get("outcome", "")
        pair = {"authorization_id": authorization_id, "context": context}
        if request.session.get("connection", {}).get("pair") == pair:
            # A browser that repeats its callback comes back here again.
            return _see_other("/connection")
        asked = any(_same(context, each) for each in _contexts(request))
        if not asked or not AUTHORIZATION_ID.fullmatch(authorization_id):
            return _see_other("/not-asked")
        if outcome == "granted":
            try:
                self.subscriber.confirm(pair)
            except (BotoCoreError, ClientError):
                # The context stays in the session: the same address can be tried again.
                return self._page(request, "unconfirmed", HTTPStatus.SERVICE_UNAVAILABLE)
        request.session["contexts"] = [c for c in _contexts(request) if not _same(context, c)]
        request.session["connection"] = {"pair": pair, "outcome": outcome, "at": int(time.time())}
        return _see_other("/connection")

    def not_asked(self, request: Request) -> Response:
        """Say that this session did not ask for what came back, at an address that says nothing."""
        return self._page(request, "not-asked", HTTPStatus.FORBIDDEN)

    def connection(self, request: Request) -> Response:
        """Say how the connection stands; it stands when the subscriber has the tokens."""
        connection = request.session.get("connection")
        if connection is None:
            return _see_other("/")
        if connection["outcome"] != "granted":
            denied_or_expired = connection["outcome"] in {"denied", "expired"}
            return self._page(request, connection["outcome"] if denied_or_expired else "failed")
        try:
            found = self.subscriber.connection(connection["pair"])
        except (BotoCoreError, ClientError):
            found = {}
        status = found.get("status") or "pending"
        if status == "pending" and time.time() > connection["at"] + CODE_LIFETIME:
            status = "expired"  # the event never came
        return self._page(request, status, organization=found.get("organization"))

    def _page(
        self,
        request: Request,
        name: str,
        status: HTTPStatus = HTTPStatus.OK,
        organization: str | None = None,
    ) -> Response:
        context = {"page": name, "organization": organization, "footer_url": self.footer_url}
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return templates.TemplateResponse(request, "page.html", context, status, headers)


def create_app(ledgerly: Ledgerly, session_secret: str) -> Starlette:
    """Put the pages behind their routes, and a signed session cookie before them."""
    return Starlette(
        routes=[
            Route("/", ledgerly.home),
            Route("/connect", ledgerly.connect),
            Route("/connected", ledgerly.connected),
            Route("/connection", ledgerly.connection),
            Route("/not-asked", ledgerly.not_asked),
        ],
        middleware=[
            Middleware(
                SessionMiddleware,
                secret_key=session_secret,
                session_cookie="ledgerly",
                same_site="lax",  # "strict" would leave it behind on the way back from Qonto
                https_only=ledgerly.app_url.startswith("https:"),
            )
        ],
    )


def _see_other(path: str) -> Response:
    """Send the browser to a page of the app.

    The fragment is the app's own: a browser copies the one that it is at to a redirect without.
    """
    return RedirectResponse(f"{path}#_", HTTPStatus.SEE_OTHER)


def _contexts(request: Request) -> list[str]:
    contexts: list[str] = request.session.get("contexts", [])
    return contexts


def _same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode(), kept.encode())


def create() -> Starlette:
    """Return the app that the environment describes (a factory for uvicorn)."""
    subscriber = Subscriber(
        boto3.client("sqs"),
        os.environ["QUEUE_URL"],
        boto3.resource("dynamodb").Table(os.environ["CONNECTION_TABLE_NAME"]),
    )
    return create_app(
        Ledgerly(
            os.environ["APP_URL"],
            os.environ["PAIR_URL"],
            subscriber,
            os.environ.get("FOOTER_URL", ""),
        ),
        session_secret=os.environ.get("SESSION_SECRET") or secrets.token_urlsafe(32),
    )
