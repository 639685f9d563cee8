"""The live page: every message of the topic as it arrives, and the example subscriber's status.

The process passes the example's queue to its function, as AWS does, and a raw queue to the page.
"""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AwareDatetime, BaseModel, ValidationError
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from demo import clock, event_source, gateway
from demo import template as infra

logger = logging.getLogger(__name__)

FOLDER = infra.ROOT / "demo"
OPEN = {"held", "by-hand", "exchanging", "connected", "disconnecting"}  # may change
JUMPS = {"An hour later": 60 * 60, "91 days later": 91 * 24 * 60 * 60}  # refresh tokens: 90 days
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
}


class Event(BaseModel):
    """An event, as far as the page shows it."""

    class Data(BaseModel):
        """A code, or an error."""

        code_expires_at: AwareDatetime | None = None
        error: str = ""
        error_description: str = ""

    id: str
    type: str
    subject: str
    time: AwareDatetime
    data: Data


@dataclass
class Entry:
    """A message as it is shown: its text without secrets, and the grant that the example keeps."""

    status: str  # the grant's, or one of the page's own: see event.html
    event: Event | None = None
    message: str = ""
    deliveries: int = 1
    grant: dict[str, Any] = field(default_factory=dict)


@dataclass
class Live:
    """The messages that arrived, and their status; codes in full if there is no *find_grant*."""

    find_grant: Callable[[Event], dict[str, Any]] | None = None
    now: Callable[[], float] = time.time
    entries: list[Entry] = field(default_factory=list)

    def take_in(self, body: str) -> None:
        """Add a message from the queue; a known event is only counted."""
        try:
            event = Event.model_validate_json(body)
        except ValidationError:
            self.entries.append(Entry("invalid"))
            return
        for entry in self.entries:
            if entry.event and entry.event.id == event.id:
                entry.deliveries += 1
                return
        message = json.loads(body)
        if self.find_grant:
            for name in {"code", "code_verifier"} & message["data"].keys():
                message["data"][name] = shortened(message["data"][name])
        granted = "held" if self.find_grant else "by-hand"
        status = granted if event.data.code_expires_at else "not-granted"
        self.entries.append(Entry(status, event, json.dumps(message, indent=2, ensure_ascii=False)))

    def look(self) -> None:
        """Read the grant of each event that may still change."""
        for entry in self.entries:
            if entry.event and entry.status in OPEN:
                entry.grant = self.find_grant(entry.event) if self.find_grant else {}
                status = entry.grant.get("status", entry.status)
                end = entry.event.data.code_expires_at
                is_dead = end and self.now() >= end.timestamp() and status in {"held", "by-hand"}
                entry.status = "expired" if is_dead else status

    async def cards(self, render: Callable[..., str]) -> AsyncIterator[dict[str, str]]:
        """Yield the card of every entry, oldest first, then each one that changes."""
        sent: dict[int, str] = {}
        while True:
            with suppress(BotoCoreError, ClientError):  # the next look is soon
                await run_in_threadpool(self.look)
            for number, entry in enumerate(self.entries):
                card = render(number=number, entry=entry)
                if sent.get(number) != card:
                    sent[number] = card
                    yield {"data": card}
            await asyncio.sleep(0.25)  # not in a thread: a page that was left would keep it


def create_app(live: Live, demo_clock: clock.Clock | None = None) -> Starlette:
    """Return the page of the messages of *live*; without *demo_clock* the time is the real one."""
    templates = Jinja2Templates(FOLDER / "templates")
    templates.env.filters["shortened"] = shortened
    templates.env.filters["as_time"] = lambda seconds: datetime.fromtimestamp(int(seconds), UTC)
    render = templates.get_template("event.html").render

    def page(request: Request) -> Response:
        context = {"entries": live.entries, "clock": demo_clock, "jumps": JUMPS}
        return templates.TemplateResponse(request, "live.html", context, headers=HEADERS)

    async def put_clock_forward(request: Request) -> Response:
        # The guard lets no other host through, and browsers name the page that sends a form.
        if request.headers.get("origin") != f"http://{request.headers['host']}":
            return PlainTextResponse("Only the live page does that.\n", 403)
        form = await request.form()
        if demo_clock:
            demo_clock.put_forward(JUMPS.get(str(form.get("jump")), 0))
        return RedirectResponse("/", 303)

    async def events(_request: Request) -> Response:
        return EventSourceResponse(live.cards(render))

    routes = [
        Route("/", page),
        Route("/events", events),
        Route("/clock", put_clock_forward, methods=["POST"]),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]
    return Starlette(routes=routes)


def shortened(secret: str) -> str:
    """Return enough of a secret to recognise it, and not enough to use it."""
    return f"{secret[:10]}…({len(secret)} characters)"


def keep_polling(queue_url: str, handler: gateway.Handler) -> None:
    """Pass the messages of the queue to *handler*, for ever."""
    queue = boto3.client("sqs")
    while True:
        try:  # a laptop need not wait for the queue's own visibility time-out
            event_source.poll(queue, queue_url, handler, wait_seconds=20, retry_seconds=5)
        except (BotoCoreError, ClientError):
            # A message that was not deleted comes again.
            logger.warning("The queue does not respond; trying again", exc_info=True)
            time.sleep(1)


def create() -> Starlette:
    """Return the page, with the example running beside it (a factory for uvicorn)."""
    live = Live()

    def show(event: dict[str, Any], _context: object) -> dict[str, Any]:
        for record in event["Records"]:
            live.take_in(record["body"])
        return {}

    handlers: dict[str, gateway.Handler] = {os.environ["RAW_QUEUE_URL"]: show}
    if "QUEUE_URL" in os.environ:  # without a client secret, the example does not run
        table = boto3.resource("dynamodb").Table(os.environ["GRANT_TABLE_NAME"])

        def find_grant(event: Event) -> dict[str, Any]:
            key = {"authorization_id": event.subject, "event_id": event.id}
            return dict(table.get_item(Key=key, ConsistentRead=True).get("Item", {}))

        live.find_grant = find_grant
        example = gateway.load_handler("SubscriberFunction", infra.EXAMPLE)
        handlers[os.environ["QUEUE_URL"]] = example
    for polled in handlers.items():
        threading.Thread(target=keep_polling, args=polled, daemon=True).start()
    return create_app(live, clock.shared())
