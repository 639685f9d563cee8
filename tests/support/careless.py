"""Ledgerly and its subscriber, each without one of their defences. Real apps need them all."""

from typing import Any

from boto3.dynamodb.conditions import Attr
from starlette.requests import Request
from starlette.responses import Response

from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws
from examples.app.app import Ledgerly
from examples.app.web import redirect


class ConfirmsEveryReturn(Ledgerly):
    """Does not ask whose browser and session the return is."""

    def connected(self, request: Request) -> Response:
        query = request.query_params
        asked = self.contexts.asked(query["context"])
        if asked is None or not self.contexts.use(asked, query["authorization_id"], "granted"):
            return redirect("/not-asked", "_")
        self.subscriber.confirm(asked.confirmation(query["authorization_id"]))
        return redirect("/connection", "_")


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
