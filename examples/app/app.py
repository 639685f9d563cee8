"""Ledgerly, an app that lets its customers connect their Qonto account: what to copy.

The app itself sees no code and no token. It keeps a random one-time `context` in the session that
asks for a connection; when the browser is back with it, this session did ask, and the app confirms
the pair (authorization_id, context) to the subscriber, which exchanges no other code.
"""

import hmac
import os
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

HERE = Path(__file__).parent
MAX_CONTEXTS = 5  # so many tabs may be connecting at a time

templates = Jinja2Templates(HERE / "templates")


@dataclass(frozen=True)
class Ledgerly:
    """The app's pages; `subscriber` is a client whose base URL is the subscriber's."""

    app_url: str
    pair_url: str
    subscriber: httpx2.AsyncClient

    async def home(self, request: Request) -> Response:
        """Show the button."""
        return self._page(request, "home")

    async def connect(self, request: Request) -> Response:
        """Send the browser to the pair with a fresh context, kept in the session that asks."""
        context = secrets.token_urlsafe(32)
        request.session["contexts"] = [*_contexts(request), context][-MAX_CONTEXTS:]
        query = urlencode({"context": context, "return_to": f"{self.app_url}/connected"})
        return RedirectResponse(f"{self.pair_url}/start?{query}", HTTPStatus.FOUND)

    async def connected(self, request: Request) -> Response:
        """Take the browser back from the pair, and confirm only what this session asked for."""
        authorization_id = request.query_params.get("authorization_id", "")
        context = request.query_params.get("context", "")
        outcome = request.query_params.get("outcome", "")
        if not any(_same(context, asked) for asked in _contexts(request)):
            return self._page(request, "not-asked", HTTPStatus.FORBIDDEN)
        if outcome == "granted":
            pair = {"authorization_id": authorization_id, "context": context}
            try:
                (await self.subscriber.post("/confirmations", json=pair)).raise_for_status()
            except httpx2.HTTPError:
                # The context stays in the session: the same address can be tried again.
                return self._page(request, "unconfirmed", HTTPStatus.SERVICE_UNAVAILABLE)
        request.session["contexts"] = [c for c in _contexts(request) if not _same(context, c)]
        request.session["connection"] = {"id": authorization_id, "outcome": outcome}
        return RedirectResponse("/connection", HTTPStatus.SEE_OTHER)

    async def connection(self, request: Request) -> Response:
        """Say how the connection stands; it stands when the subscriber has the tokens."""
        connection = request.session.get("connection")
        if connection is None:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        if connection["outcome"] != "granted":
            denied_or_expired = connection["outcome"] in {"denied", "expired"}
            return self._page(request, connection["outcome"] if denied_or_expired else "failed")
        try:
            path = f"/connections/{quote(connection['id'], safe='')}"
            answer = (await self.subscriber.get(path)).raise_for_status().json()
        except (httpx2.HTTPError, ValueError):
            answer = {"status": "pending"}
        return self._page(request, answer["status"], organization=answer.get("organization"))

    def _page(
        self,
        request: Request,
        name: str,
        status: HTTPStatus = HTTPStatus.OK,
        organization: str | None = None,
    ) -> Response:
        context = {"page": name, "organization": organization, "live": self.subscriber.base_url}
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


def _contexts(request: Request) -> list[str]:
    contexts: list[str] = request.session.get("contexts", [])
    return contexts


def _same(given: str, kept: str) -> bool:
    return hmac.compare_digest(given.encode(), kept.encode())


app = create_app(
    Ledgerly(
        app_url=os.environ.get("APP_URL", "http://localhost:8000"),
        pair_url=os.environ.get("PAIR_URL", "http://localhost:8001"),
        subscriber=httpx2.AsyncClient(
            base_url=os.environ.get("SUBSCRIBER_URL", "http://localhost:8003")
        ),
    ),
    session_secret=os.environ.get("SESSION_SECRET") or secrets.token_urlsafe(32),
)
