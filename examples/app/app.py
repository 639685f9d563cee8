"""Ledgerly, an app that lets its users connect their Qonto account: code to copy.

The app makes a random `context` for the session that asks. When the browser is back with it, in
that session, the app confirms (authorization_id, context) to the subscriber, which exchanges no
other code. If another browser comes back, somebody forwarded their link: the app then repudiates
the authorization.

The app sees no code and no refresh token. To read from Qonto it asks for an access token, once for
each page, and stores none.
"""

import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from examples.app.browser import cookie, is_users
from examples.app.contexts import Asked, Contexts, sha256
from examples.app.qonto import Qonto, ReadError
from examples.app.sessions import LIFETIME, Session, Sessions
from examples.app.subscriber import Subscriber
from examples.app.tokens import CLIENT_CONFIG, Access, Tokens
from examples.app.web import Guard, content_security_policy, origin, redirect

CODE_LIFETIME = 600  # seconds; a connection that is still pending then has failed
# The statuses in the subscriber's table that are final.
STATUSES = {"connected", "failed", "expired", "lost", "repudiated", "ended", "disconnected"}
AUTHORIZATION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

HERE = Path(__file__).parent
logger = logging.getLogger(__name__)
templates = Jinja2Templates(HERE / "templates")


class Ledgerly:
    """The app's pages."""

    footer_url = ""  # the demo's live page

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators
        self,
        app_url: str,
        connector_url: str,
        subscriber: Subscriber,
        tokens: Tokens,
        qonto: Qonto,
        sessions: Sessions,
        contexts: Contexts,
    ) -> None:
        """Use the addresses at which browsers reach the app and the connector."""
        self.app_url = origin(app_url)
        self.connector_url = origin(re.sub(r"/start/?\s*$", "", connector_url))
        self.subscriber = subscriber
        self.tokens = tokens
        self.qonto = qonto
        self.sessions = sessions
        self.contexts = contexts
        self._secure = self.app_url.startswith("https:")
        # With this prefix, another host of the domain cannot set the cookies. Browsers require
        # https for it.
        prefix = "__Host-" if self._secure else ""
        self.session_cookie, self.browser_cookie = f"{prefix}ledgerly", f"{prefix}ledgerly-browser"

    def home(self, request: Request) -> Response:
        """Show the button, or the connection if this session has one."""
        asked = self._latest(request)
        if asked and asked.confirmed:
            return redirect("/connection", "_")
        return self._page(request, "home")

    async def connect(self, request: Request) -> Response:
        """Send the browser to the connector, with a new context of the session that asks."""
        session = self._session(request)
        if session is None or not _has_token(await _form(request), session):
            # a request from another site must not set a cookie
            return redirect("/out-of-date", "_")
        browser = cookie(request, self.browser_cookie) or secrets.token_urlsafe(32)
        context = self.contexts.ask(session.id, browser)
        query = urlencode({"context": context, "return_to": f"{self.app_url}/connected"})
        response = redirect(f"{self.connector_url}/start?{query}")
        self._set_cookie(response, self.browser_cookie, browser)
        return response

    def connected(self, request: Request) -> Response:
        """Handle the browser's return; confirm an authorization if this session asked for it."""
        if not is_users(request):
            return Response(status_code=HTTPStatus.TOO_EARLY)
        authorization_id = request.query_params.get("authorization_id", "")
        outcome = request.query_params.get("outcome", "")
        asked = self.contexts.asked(request.query_params.get("context", ""))
        if asked is None:
            return redirect("/", "_")  # for example a link back without parameters
        if not AUTHORIZATION_ID.fullmatch(authorization_id):
            return redirect("/not-asked", "_")
        if sha256(cookie(request, self.browser_cookie) or "") != asked.browser:
            return self._repudiate(request, asked, authorization_id)
        if asked.is_over:
            return redirect("/", "_")
        session = self._session(request)
        if session is None or session.id != asked.session_id:
            return redirect("/signed-out", "_")
        if not self.contexts.use(asked, authorization_id, outcome):
            return redirect("/not-asked", "_")
        if outcome == "granted" and not asked.confirmed:
            try:
                self.subscriber.confirm(asked.confirmation(authorization_id))
            except (BotoCoreError, ClientError) as error:
                logger.warning("Not confirmed: %s", error)
                return self._page(request, "unconfirmed", HTTPStatus.SERVICE_UNAVAILABLE)
            self.contexts.set_confirmed(asked)
        return redirect("/connection", "_")

    def _repudiate(self, request: Request, asked: Asked, authorization_id: str) -> Response:
        """Repudiate the authorization that this browser has shown, here and at the subscriber."""
        self.contexts.repudiate(asked)
        try:
            self.subscriber.repudiate(asked.confirmation(authorization_id))
        except (BotoCoreError, ClientError) as error:
            logger.warning("Not repudiated: %s", error)
            return self._page(request, "unrepudiated", HTTPStatus.SERVICE_UNAVAILABLE)
        return redirect("/not-asked", "_")

    def out_of_date(self, request: Request) -> Response:
        """Return the page for a button of another session."""
        return self._page(request, "out-of-date", HTTPStatus.FORBIDDEN)

    def not_asked(self, request: Request) -> Response:
        """Return the page for a browser that did not ask, at an address without parameters."""
        return self._page(request, "not-asked", HTTPStatus.FORBIDDEN)

    def signed_out(self, request: Request) -> Response:
        """Return the page for a session that has ended since it asked."""
        return self._page(request, "signed-out", HTTPStatus.FORBIDDEN)

    def connection(self, request: Request) -> Response:
        """Show the session's latest connection, with accounts once the subscriber has tokens."""
        asked = self._latest(request)
        if asked is None:
            return redirect("/", "_")
        if asked.outcome != "granted":
            known = asked.outcome in {"denied", "expired"}
            return self._page(request, str(asked.outcome) if known else "failed")
        found = self._found(asked)
        status = found["status"]
        if status == "unknown":
            return self._page(request, status, HTTPStatus.SERVICE_UNAVAILABLE)
        if status not in {"connected", "disconnected"}:
            return self._page(request, status)
        access, read = self._read(asked) if status == "connected" else (self._access(asked), {})
        # The subscriber forgets a disconnection after a day. If there was none, tokens were lost or
        # deleted.
        gone = "ended" if status == "connected" else status
        page = {"unavailable": status, "not-connected": gone}.get(access.status, access.status)
        shown = found | read | {"connection": asked.reference, "is_revoked": access.revoked}
        return self._page(request, page, shown=shown)

    def _found(self, asked: Asked) -> dict[str, str]:
        """Return the connection's `status`, and its `organization` if known."""
        is_late = time.time() > (asked.returned_at or 0) + CODE_LIFETIME
        try:
            found = self.subscriber.connection(asked.confirmation(str(asked.authorization_id)))
        except (BotoCoreError, ClientError) as error:
            logger.warning("Status not read: %s", error)
            return {"status": "unknown" if is_late else "pending"}
        if found.get("status") in STATUSES:
            return found
        # the event has not arrived, and may never
        return {"status": "expired" if is_late else "pending"}

    def _read(self, asked: Asked) -> tuple[Access, dict[str, Any]]:
        """Read the accounts of a connection; a token that Qonto refuses is replaced, once."""
        refused = ""
        for _ in range(2):
            access = self._access(asked, refused)
            if access.status != "connected":
                break
            try:
                return access, {"accounts": self.qonto.accounts(access.access_token)}
            except ReadError as error:
                logger.warning("Accounts not read: %s", error)
                if error.reason != HTTPStatus.UNAUTHORIZED:
                    return access, {"is_forbidden": error.reason == HTTPStatus.FORBIDDEN}
            refused = access.access_token
        return access, {}

    def _access(self, asked: Asked, refused: str = "") -> Access:
        try:
            return self.tokens.access(str(asked.authorization_id), refused)
        except (BotoCoreError, ClientError) as error:
            logger.warning("No token: %s", error)
            return Access("unavailable")

    async def disconnect(self, request: Request) -> Response:
        """End the connection that the page with the button shows."""
        session, form = self._session(request), await _form(request)
        if session is None or not _has_token(form, session):
            return redirect("/out-of-date", "_")
        asked = self.contexts.latest(session.id)
        if asked is None or asked.reference != form.get("connection"):
            return redirect("/connection", "_")  # another tab has connected in the meantime
        return await run_in_threadpool(self._disconnect, request, asked)

    def _disconnect(self, request: Request, asked: Asked) -> Response:
        authorization_id = str(asked.authorization_id)
        try:
            # As in `connection`, an authorization_id alone does not show whose connection it is.
            found = self.subscriber.connection(asked.confirmation(authorization_id))
            if found.get("status") != "connected":
                return redirect("/connection", "_")
            access = self.tokens.disconnect(authorization_id)
        except (BotoCoreError, ClientError) as error:
            logger.warning("Not disconnected: %s", error)
            access = Access("unavailable")
        if access.status == "unavailable":
            status = HTTPStatus.SERVICE_UNAVAILABLE
            return self._page(request, "not-disconnected", status, {"connection": asked.reference})
        return redirect("/connection", "_")

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        session = self._session(request)
        if session and _has_token(await _form(request), session):
            self.sessions.end(session)
        return redirect("/", "_")

    def _session(self, request: Request) -> Session | None:
        value = cookie(request, self.session_cookie)
        return self.sessions.find(value) if value else None

    def _latest(self, request: Request) -> Asked | None:
        session = self._session(request)
        return self.contexts.latest(session.id) if session else None

    def _page(
        self,
        request: Request,
        name: str,
        status: HTTPStatus = HTTPStatus.OK,
        shown: Mapping[str, Any] = MappingProxyType({}),
    ) -> Response:
        new_cookie, session = "", self._session(request)
        if session is None:
            if not is_users(request):
                return Response(status_code=HTTPStatus.TOO_EARLY)
            new_cookie, session = self.sessions.new()
        nonce = secrets.token_urlsafe(16)
        context = {
            **shown,
            "page": name,
            "session": session,
            "footer_url": self.footer_url,
            "nonce": nonce,
        }
        response = templates.TemplateResponse(request, "page.html", context, status)
        response.headers["Content-Security-Policy"] = content_security_policy(nonce)
        if new_cookie:
            self._set_cookie(response, self.session_cookie, new_cookie)
        if cookie(request, self.browser_cookie) is None:  # here too: two tabs may connect at once
            self._set_cookie(response, self.browser_cookie, secrets.token_urlsafe(32))
        return response

    def _set_cookie(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(
            name,
            value,
            max_age=LIFETIME,
            secure=self._secure,
            httponly=True,
            samesite="lax",  # "strict" would not be sent on the way back from Qonto
        )


async def _form(request: Request) -> dict[str, str]:
    async with request.form() as form:
        return {name: str(value) for name, value in form.items()}


def _has_token(form: Mapping[str, str], session: Session) -> bool:
    """Tell whether *form* has the token of *session*."""
    return hmac.compare_digest(form.get("token", "").encode(), session.token.encode())


def create_app(ledgerly: Ledgerly) -> Starlette:
    """Return the app with its routes."""
    app = Starlette(
        routes=[
            Route("/", ledgerly.home),
            Route("/connect", lambda _request: redirect("/", "_")),
            Route("/connect", ledgerly.connect, methods=["POST"]),
            Route("/connected", ledgerly.connected),
            Route("/connection", ledgerly.connection),
            Route("/disconnect", lambda _request: redirect("/connection", "_")),
            Route("/disconnect", ledgerly.disconnect, methods=["POST"]),
            Route("/not-asked", ledgerly.not_asked),
            Route("/out-of-date", ledgerly.out_of_date),
            Route("/signed-out", ledgerly.signed_out),
            Route("/sign-out", ledgerly.sign_out, methods=["POST"]),
            Route("/style.css", lambda _request: FileResponse(HERE / "style.css")),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=Guard(ledgerly.app_url))],
    )
    app.router.redirect_slashes = False  # Starlette's own redirect has no fragment
    return app


def create() -> Starlette:
    """Return the app that the environment describes (a factory for uvicorn)."""
    subscriber = Subscriber(
        boto3.client("sqs"),
        os.environ["QUEUE_URL"],
        boto3.resource("dynamodb").Table(os.environ["CONNECTION_TABLE_NAME"]),
    )
    tokens = Tokens(
        boto3.client("lambda", config=CLIENT_CONFIG), os.environ["TOKENS_FUNCTION_NAME"]
    )
    database = Path(os.environ["DATABASE"])
    ledgerly = Ledgerly(
        os.environ["APP_URL"],
        os.environ["CONNECTOR_URL"],
        subscriber,
        tokens,
        Qonto(os.environ["API_URL"], os.environ.get("STAGING_TOKEN", "")),
        Sessions(database),
        Contexts(database),
    )
    ledgerly.footer_url = os.environ.get("FOOTER_URL", "")
    return create_app(ledgerly)
