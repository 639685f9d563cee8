"""Ledgerly without one of its defences. Real apps need them all."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from examples.app.app import Ledgerly


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
