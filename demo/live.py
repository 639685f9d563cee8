"""The live page: every message of the topic as it comes, and how the example subscriber stands.

Beside the page runs what AWS does with the example's queue and function. The page itself looks on,
by a raw queue of its own and the example's table of grants, and puts the demo's clock forward.
"""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import boto3
from anyio.from_thread import BlockingPortal
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Lifespan

from demo import clock, event_source, gateway
from demo import template as infra
from demo.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

logger = logging.getLogger(__name__)

EXAMPLE = infra.EXAMPLE
# A laptop need not wait for the queue's own visibility time-out.
RETRY_SECONDS = 5
LOOKS_PER_SECOND = 4
OPEN = {"held", "by-hand", "exchanging", "connected", "disconnecting"}  # may change
HOUR = 60 * 60  # seconds
JUMPS = {"An hour later": HOUR, "91 days later": 91 * 24 * HOUR}  # refresh tokens live 90 days
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
}


class Data(BaseModel):
    """What the page shows of an event's data: a code, or an error."""

    code_expires_at: AwareDatetime | None = None
    error: str = ""
    error_description: str = ""


class Event(BaseModel):
    """What the page shows of an event."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: str
    type: str
    subject: str
    time: AwareDatetime
    data: Data


@dataclass
class Entry:
    """A message as it is shown: `message` is without secrets, `grant` is what the example keeps.

    `status` is the grant's, or *by-hand* without a client secret, *expired* when the code died
    unused, *not-granted* where there is none, *invalid* for what is no event.
    """

    status: str
    event: Event | None = None
    message: str = ""
    deliveries: int = 1
    grant: dict[str, Any] = field(default_factory=dict)
    key: str = field(default_factory=lambda: uuid4().hex)


type Looks = Callable[[Event], dict[str, Any]]


class Live:
    """The messages that came, and how they stand."""

    def __init__(self, look: Looks | None, now: Callable[[], float] = time.time) -> None:
        """Take what finds an event's grant; without, codes are shown in full, to try by hand."""
        self.entries: list[Entry] = []
        self._look = look
        self._now = now
        self._by_event_id: dict[str, Entry] = {}
        self._watchers: set[asyncio.Queue[Entry | None]] = set()

    def take_in(self, body: str) -> None:
        """Show a message from the queue; a known event is only counted."""
        try:
            event = Event.model_validate_json(body)
        except ValidationError:
            self.entries.append(Entry("invalid"))
            self._changed(self.entries[-1])
            return
        entry = self._by_event_id.get(event.id)
        if entry:
            entry.deliveries += 1
        else:
            status = "held" if self._look else "by-hand"
            entry = Entry(
                status if event.data.code_expires_at else "not-granted",
                event,
                _readable(body, codes_in_full=self._look is None),
            )
            self._by_event_id[event.id] = entry
            self.entries.append(entry)
        self._changed(entry)

    async def look(self) -> None:
        """See what has become of the messages that were not at their end."""
        for entry in self.entries:
            if not entry.event or entry.status not in OPEN:
                continue
            grant: dict[str, Any] = {}
            if self._look:
                grant = await anyio.to_thread.run_sync(self._look, entry.event)
            status = grant.get("status", entry.status)
            good_until = entry.event.data.code_expires_at
            dead = good_until is not None and self._now() >= good_until.timestamp()
            if dead and status in {"held", "by-hand"}:
                status = "expired"
            if (status, grant) != (entry.status, entry.grant):
                entry.status, entry.grant = status, grant
                self._changed(entry)

    async def watch(self, ending: anyio.Event) -> AsyncGenerator[Entry]:
        """Yield every entry, oldest first, then each one that changes, until the end."""
        changes = asyncio.Queue[Entry | None]()
        end = asyncio.create_task(ending.wait())
        end.add_done_callback(lambda _: changes.put_nowait(None))
        self._watchers.add(changes)
        try:
            for entry in self.entries.copy():
                yield entry
            while changed := await changes.get():
                yield changed
        finally:
            end.cancel()
            self._watchers.remove(changes)

    def _changed(self, entry: Entry) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(entry)


def create_app(
    live: Live, lifespan: Lifespan[Starlette] | None = None, demo_clock: Clock | None = None
) -> Starlette:
    """Put the messages behind the page; without *demo_clock* the time is the real one."""
    templates = Jinja2Templates(Path(__file__).parent / "templates")
    templates.env.filters["shortened"] = shortened
    templates.env.filters["as_time"] = as_time
    card = templates.get_template("event.html")

    async def page(request: Request) -> Response:
        ahead = in_words(demo_clock.ahead) if demo_clock else None
        context = {"entries": live.entries[::-1], "ahead": ahead, "jumps": JUMPS}
        return templates.TemplateResponse(request, "live.html", context, headers=HEADERS)

    async def put_clock_forward(request: Request) -> Response:
        # The guard lets no other host through, and browsers name the page that sends a form.
        if request.headers.get("origin") != f"http://{request.headers['host']}":
            return PlainTextResponse("Only the live page does that.\n", HTTPStatus.FORBIDDEN)
        async with request.form() as form:
            jump = JUMPS.get(str(form.get("jump")), 0)
        if demo_clock:
            demo_clock.put_forward(jump)
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)

    async def events(_request: Request) -> Response:
        ending = anyio.Event()

        async def cards() -> AsyncIterator[ServerSentEvent]:
            async with aclosing(live.watch(ending)) as entries:
                async for entry in entries:
                    yield ServerSentEvent(card.render(entry=entry))

        # An open page must not hold the server up when it stops.
        return EventSourceResponse(cards(), shutdown_event=ending, shutdown_grace_period=0.5)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/events", events),
            Route("/clock", put_clock_forward, methods=["POST"]),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        lifespan=lifespan,
    )


def shortened(secret: str) -> str:
    """Show enough of a secret to recognise it, and not enough to use it."""
    return f"{secret[:10]}…({len(secret)} characters)"


def as_time(seconds: float) -> str:
    """Return the time of epoch *seconds* as the page shows it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%-d %B, %H:%M:%S UTC")


def in_words(seconds: int) -> str:
    """Return *seconds* in whole days and hours."""
    hours = seconds // HOUR
    units = {"day": hours // 24, "hour": hours % 24}
    words = [f"{number} {unit}{'s' * (number > 1)}" for unit, number in units.items() if number]
    return " and ".join(words)


def _readable(body: str, *, codes_in_full: bool) -> str:
    event = json.loads(body)
    if not codes_in_full:
        for name in ("code", "code_verifier"):
            if event["data"].get(name):
                event["data"][name] = shortened(event["data"][name])
    return json.dumps(event, indent=2, ensure_ascii=False)


def grants_in(table: "Table") -> Looks:
    """Return what finds an event's grant in the example's *table*."""

    def look(event: Event) -> dict[str, Any]:
        key = {"authorization_id": event.subject, "event_id": event.id}
        return dict(table.get_item(Key=key, ConsistentRead=True).get("Item", {}))

    return look


def keep_polling(queue_url: str, handler: gateway.Handler, stopped: threading.Event) -> None:
    """Hand *handler* what comes through the queue until *stopped* is set."""
    queue = boto3.client("sqs")
    while not stopped.is_set():
        try:
            event_source.poll(
                queue, queue_url, handler, wait_seconds=20, retry_seconds=RETRY_SECONDS
            )
        except (BotoCoreError, ClientError):
            # Whatever was not deleted comes again.
            logger.warning("The queue does not answer; trying again", exc_info=True)
            stopped.wait(1)


def create() -> Starlette:
    """Return the page, with the example running beside it (a factory for uvicorn).

    ``RAW_QUEUE_URL`` gets all messages. ``QUEUE_URL`` is the example's queue. Without a client
    secret it is not set, and the example does not run.
    """
    queue_url = os.environ.get("QUEUE_URL")
    look = None
    handlers: dict[str, gateway.Handler] = {}
    if queue_url:
        look = grants_in(boto3.resource("dynamodb").Table(os.environ["GRANT_TABLE_NAME"]))
        example = infra.load(EXAMPLE)
        handlers[queue_url] = gateway.load_handler(example, "SubscriberFunction", EXAMPLE.parent)
    live = Live(look)

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        """Poll each queue in a thread of its own, which need not be waited for at the end."""
        stopped = threading.Event()

        async def keep_looking() -> None:
            while True:
                with suppress(BotoCoreError, ClientError):  # it is looked at again soon
                    await live.look()
                await anyio.sleep(1 / LOOKS_PER_SECOND)

        async with BlockingPortal() as portal, anyio.create_task_group() as tasks:

            def show(event: dict[str, Any], _context: object) -> dict[str, list[str]]:
                for record in event["Records"]:
                    portal.call(partial(live.take_in, record["body"]))
                return {"batchItemFailures": []}

            for each, handler in {os.environ["RAW_QUEUE_URL"]: show, **handlers}.items():
                threading.Thread(
                    target=keep_polling, args=(each, handler, stopped), daemon=True
                ).start()
            tasks.start_soon(keep_looking)
            yield
            stopped.set()
            tasks.cancel_scope.cancel()

    return create_app(live, running, clock.shared())
