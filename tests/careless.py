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
from examples.app.contexts import Asked
from examples.app.web import cookie, redirect


class ConfirmsEveryReturn(Ledgerly):
    """Does not ask whose browser and session the return is."""

    def connected(self, request: Request) -> Response:
        query = request.query_params
        asked = self.contexts.asked(query["context"])
        assert asked is not None
        assert self.contexts.use(asked, query["authorization_id"], "granted")
        self.subscriber.confirm(asked.confirmation(query["authorization_id"]))
        return redirect("/connection", "_")


class RefusesInPlace(Ledgerly):
    """Refuses another browser's return at the address of the return, and does not repudiate."""

    def _repudiate(self, request: Request, _asked: Asked, _authorization_id: str) -> Response:
        return self.not_asked(request)


class UsesFirstCookie(Ledgerly):
    """Uses the first of two cookies of one name, as a web framework may."""

    def connected(self, request: Request) -> Response:
        sent = request.headers.get("cookie", "").split("; ")
        first = {each.partition("=")[0]: each for each in reversed(sent)}
        headers = [each for each in request.scope["headers"] if each[0] != b"cookie"]
        headers.append((b"cookie", "; ".join(first.values()).encode()))
        return super().connected(Request({**request.scope, "headers": headers}))


class SetsBrowserCookieLate(Ledgerly):
    """Sets the browser's cookie only when the user connects; two tabs do that at one moment."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - Ledgerly's own
        super().__init__(*arguments)
        self._both_tabs = asyncio.Barrier(2)

    def home(self, request: Request) -> Response:
        response, late = super().home(request), f"{self.browser_cookie}=".encode()
        kept = [each for each in response.raw_headers if not each[1].startswith(late)]
        response.raw_headers = kept
        return response

    async def connect(self, request: Request) -> Response:
        await self._both_tabs.wait()
        return await super().connect(request)


class NeedsNoToken(Ledgerly):
    """Starts a flow for any site's request."""

    async def connect(self, request: Request) -> Response:
        session, browser = self._session(request), cookie(request, self.browser_cookie)
        if session is None or browser is None:
            return self._page(request, "out-of-date", HTTPStatus.FORBIDDEN)
        context = self.contexts.ask(session.id, browser)
        query = urlencode({"context": context, "return_to": f"{self.app_url}/connected"})
        return redirect(f"{self.connector_url}/start?{query}")


class SetsCookiesForAnySite(Ledgerly):
    """Shows in place that a form is out of date, and sets new cookies where it got none."""

    async def connect(self, request: Request) -> Response:
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
