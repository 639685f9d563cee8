"""Ledgerly and its subscriber, each without one of their defences. Real apps need them all."""

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from boto3.dynamodb.conditions import Attr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws
from examples.app.app import Ledgerly, create_app
from examples.app.contexts import Asked, Contexts, opened
from examples.app.web import cookie, redirect


class ConfirmsEveryReturn(Ledgerly):
    """Does not ask whose browser and session the return is."""

    def connected(self, request: Request) -> Response:
        """Confirm whatever comes back."""
        query = request.query_params
        asked = self.contexts.asked(query["context"])
        if asked is None or not self.contexts.use(asked, query["authorization_id"], "granted"):
            return redirect("/not-asked", "_")
        self.subscriber.confirm(asked.confirmation(query["authorization_id"]))
        return redirect("/connection", "_")


class RefusesInPlace(Ledgerly):
    """Refuses another browser's return at the address of the return, and does not repudiate."""

    def _repudiate(self, request: Request, _asked: Asked, _authorization_id: str) -> Response:
        return self.not_asked(request)


class RefusesUnknownReturns(Ledgerly):
    """Takes a return without a known context for a forged one."""

    def connected(self, request: Request) -> Response:
        """Refuse a return without a known context."""
        known = self.contexts.asked(request.query_params.get("context", ""))
        return super().connected(request) if known else self.not_asked(request)


class HandlesEveryRequest(Ledgerly):
    """Does not ask whether the user means the request."""

    def connected(self, request: Request) -> Response:
        """Handle the return as if the user opened it."""
        headers = [
            (name, value)
            for name, value in request.scope["headers"]
            if name in {b"host", b"cookie"}
        ]
        return super().connected(Request({**request.scope, "method": "GET", "headers": headers}))


class UsesFirstCookie(Ledgerly):
    """Uses the first of two cookies of one name, as a web framework may."""

    def connected(self, request: Request) -> Response:
        """Handle the return with one cookie of each name."""
        first: dict[str, str] = {}
        for each in request.headers.get("cookie", "").split("; "):
            first.setdefault(each.partition("=")[0], each)
        headers = [(name, value) for name, value in request.scope["headers"] if name != b"cookie"]
        headers.append((b"cookie", "; ".join(first.values()).encode()))
        return super().connected(Request({**request.scope, "headers": headers}))


class SetsBrowserCookieLate(Ledgerly):
    """Sets the browser's cookie only when the user connects; two tabs do that at one moment."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Ledgerly's own
        """Let requests wait for each other."""
        super().__init__(*arguments)
        self._both = asyncio.Barrier(2)

    def home(self, request: Request) -> Response:
        """Show the button, without the browser's cookie."""
        response = super().home(request)
        late = f"{self.browser_cookie}=".encode()
        response.raw_headers = [
            (name, value) for name, value in response.raw_headers if not value.startswith(late)
        ]
        return response

    async def connect(self, request: Request) -> Response:
        """Connect once both tabs have sent their request."""
        await self._both.wait()
        return await super().connect(request)


class NeedsNoToken(Ledgerly):
    """Starts a flow for any site's request."""

    async def connect(self, request: Request) -> Response:
        """Send the browser to the connector."""
        session, browser = self._session(request), cookie(request, self.browser_cookie)
        if session is None or browser is None:
            return self._page(request, "out-of-date", HTTPStatus.FORBIDDEN)
        query = {
            "context": self.contexts.ask(session.id, browser),
            "return_to": f"{self.app_url}/connected",
        }
        return redirect(f"{self.connector_url}/start?{urlencode(query)}")


class SetsCookiesForAnySite(Ledgerly):
    """Shows in place that a form is out of date, and sets new cookies where it got none."""

    async def connect(self, request: Request) -> Response:
        """Refuse without a redirect."""
        response = await super().connect(request)
        refused = response.headers["location"].startswith("/out-of-date")
        return self.out_of_date(request) if refused else response


class LetsItselfBeFramed(Ledgerly):
    """Does not say who may frame its pages."""

    def _page(self, *arguments: Any, **named: Any) -> Response:  # noqa: ANN401 - Ledgerly's own
        response = super()._page(*arguments, **named)
        policy = response.headers["Content-Security-Policy"].partition("frame-ancestors")[0]
        response.headers["Content-Security-Policy"] = f"{policy}frame-ancestors *"
        return response


class ForgetsUsedContexts(Contexts):
    """Deletes a context at its first use."""

    def asked(self, context: str) -> Asked | None:
        """Find no context that was used."""
        asked = super().asked(context)
        return asked if asked and asked.authorization_id is None else None


class ReusesContexts(Contexts):
    """Uses a context as often as it comes, for any authorization."""

    def asked(self, context: str) -> Asked | None:
        """Find the context as if it had not been used."""
        asked = super().asked(context)
        return asked and asked._replace(confirmed=False)

    def use(self, asked: Asked, authorization_id: str, outcome: str) -> bool:
        """Bind the context to *authorization_id*, whatever it was bound to."""
        with opened(self.path) as database:
            database.execute(
                "UPDATE contexts SET authorization_id = NULL WHERE context = ?", [asked.context]
            )
        return super().use(asked, authorization_id, outcome)


class KeepsOneContext(Contexts):
    """Keeps the latest context of a session, as a session cookie would."""

    def ask(self, session_id: str, browser_cookie: str) -> str:
        """Forget the session's earlier contexts."""
        with opened(self.path) as database:
            database.execute("DELETE FROM contexts WHERE session_id = ?", [session_id])
        return super().ask(session_id, browser_cookie)


def at_every_address(ledgerly: Ledgerly) -> Starlette:
    """Return the app without the guard that sends browsers to the app's own address."""
    return Starlette(routes=create_app(ledgerly).routes)


def connecting_by_get(ledgerly: Ledgerly) -> Starlette:
    """Return the app with a link that connects in the place of a form."""
    app = create_app(ledgerly)
    app.routes.insert(0, Route("/connect", ledgerly.connect))
    return app


def forgetting_used_codes(handler: Handler, aws: LocalAws, grant_table: str) -> Handler:
    """Return a subscriber without its lock on the code; its lock on the event is left."""
    dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
    table = dynamodb.Table(grant_table)

    def handle(event: dict[str, Any], context: LambdaContext) -> Any:  # noqa: ANN401 - JSON
        response = handler(event, context)
        for lock in table.scan(FilterExpression=Attr("event_id").eq("lock"))["Items"]:
            table.delete_item(Key={name: lock[name] for name in ("authorization_id", "event_id")})
        return response

    return handle
