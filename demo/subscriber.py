"""Subscriber: takes the pair's events from a queue and exchanges each confirmed code, once.

A subscriber holds a granted event until the app has confirmed its pair (authorization_id,
context); only then is the person who consented known to be the one who asked. Everything is in
memory here; yours keeps its events and tokens in a database.
"""

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import uuid4

import anyio
import boto3
import httpx2
from anyio.from_thread import BlockingPortal
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Lifespan

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

CODE_LIFETIME = 600
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src data:; frame-ancestors 'none'",
}


class _Received(BaseModel):
    """Something from outside: what it does not name is ignored, and errors quote no secrets."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class GrantedData(_Received):
    """What the exchange needs."""

    client_id: str
    redirect_uri: str
    token_endpoint: str
    code: str
    code_expires_at: AwareDatetime
    code_verifier: str | None = None
    context: str | None = None


class FailedData(_Received):
    """What Qonto said instead of a code: untrusted text."""

    error: str
    error_description: str = ""


class _CloudEvent(_Received):
    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1)]
    subject: Annotated[str, Field(min_length=1)]
    time: AwareDatetime


class Granted(_CloudEvent):
    """Qonto sent a code."""

    type: Literal["qonto-connect.authorization.granted.v1"]
    data: GrantedData


class Failed(_CloudEvent):
    """Qonto sent an error."""

    type: Literal["qonto-connect.authorization.failed.v1"]
    data: FailedData


EVENT: TypeAdapter[Granted | Failed] = TypeAdapter(
    Annotated[Granted | Failed, Field(discriminator="type")]
)


class Confirmation(_Received):
    """The pair that the app confirms: this session asked, and this browser finished."""

    authorization_id: Annotated[str, Field(min_length=1)]
    context: Annotated[str, Field(min_length=1)]


class Tokens(_Received):
    """The token endpoint's answer."""

    access_token: str
    refresh_token: str | None = None
    scope: str = ""


@dataclass(frozen=True)
class Connection:
    """What an exchange brought."""

    tokens: Tokens
    organization: str | None = None


class ExchangeError(Exception):
    """An exchange that brought no tokens; its text says why."""


type ExchangesCodes = Callable[[GrantedData], Awaitable[Connection]]


class Exchange:
    """Exchanges a code for tokens at Qonto, and asks which organisation they open."""

    def __init__(
        self,
        client_secret: str,
        *,
        staging_token: str = "",
        api_url: str = "",
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Keep the credentials; `transport` stands in for the network in tests."""
        self._client_secret = client_secret
        self._headers = {"X-Qonto-Staging-Token": staging_token} if staging_token else {}
        self._api_url = api_url
        self._transport = transport

    async def __call__(self, data: GrantedData) -> Connection:
        """Exchange the code of an event; raises ExchangeError.

        The event may name the token endpoint, because only the callback function is allowed to
        publish to its topic.
        """
        async with AsyncOAuth2Client(
            client_id=data.client_id,
            client_secret=self._client_secret,
            token_endpoint_auth_method="client_secret_post",  # noqa: S106  (a method's name)
            headers=self._headers,
            transport=self._transport,
        ) as client:
            verifier = {"code_verifier": data.code_verifier} if data.code_verifier else {}
            try:
                answer = await client.fetch_token(
                    data.token_endpoint,
                    grant_type="authorization_code",
                    code=data.code,
                    redirect_uri=data.redirect_uri,
                    **verifier,
                )
                tokens = Tokens.model_validate(answer)
            except (OAuthError, httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
                raise ExchangeError(str(error)) from error
            return Connection(tokens, await self._organization(client))

    async def _organization(self, client: httpx2.AsyncClient) -> str | None:
        """Ask for the organisation's name: nice to show, so no failure here undoes the tokens."""
        if not self._api_url:
            return None
        try:
            answer = await client.get(f"{self._api_url}/v2/organization")
            return str(answer.raise_for_status().json()["organization"]["name"])
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            logger.warning("Connected, but the organisation's name could not be read")
            return None


class State(StrEnum):
    """How far an event has come."""

    WAITING = "waiting"
    BY_HAND = "by-hand"
    EXCHANGING = "exchanging"
    CONNECTED = "connected"
    FAILED = "failed"
    EXPIRED = "expired"
    INVALID = "invalid"


# What the app hears of them.
STATUS = {
    State.CONNECTED: "connected",
    State.WAITING: "pending",
    State.EXCHANGING: "pending",
    State.BY_HAND: "failed",  # a person's experiment: the app gets nothing to wait for
    State.FAILED: "failed",
    State.EXPIRED: "expired",
}


@dataclass
class Entry:
    """A message as the subscriber keeps and shows it; `message` is without secrets."""

    state: State
    event: Granted | Failed | None = None
    message: str = ""
    reason: str = ""
    deliveries: int = 1
    connection: Connection | None = None
    key: str = field(default_factory=lambda: uuid4().hex)


class Subscriber:
    """Holds each event until it is confirmed, exchanged at most once, or too old."""

    def __init__(
        self,
        exchange: ExchangesCodes | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Without an exchange, codes are shown in full, to be tried by hand."""
        self.entries: list[Entry] = []
        self._exchange = exchange
        self._now = now
        self._by_event_id: dict[str, Entry] = {}
        self._confirmed_at: dict[tuple[str, str | None], float] = {}
        self._watchers: set[asyncio.Queue[Entry | None]] = set()

    def take_in(self, body: str) -> None:
        """Keep a message from the queue; a known event is only counted."""
        try:
            event = EVENT.validate_json(body)
        except ValidationError as error:
            self.entries.append(Entry(State.INVALID, reason=_reasons(error)))
            self._changed(self.entries[-1])
            return
        known = self._by_event_id.get(event.id)
        if known:
            known.deliveries += 1
            self._changed(known)
            return
        entry = Entry(
            State.WAITING if isinstance(event, Granted) else State.FAILED,
            event,
            _readable(body, codes_in_full=self._exchange is None),
        )
        self._by_event_id[event.id] = entry
        self.entries.append(entry)
        self._changed(entry)

    def confirm(self, confirmation: Confirmation) -> None:
        """Keep a confirmed pair; it may come before its event."""
        pair = (confirmation.authorization_id, confirmation.context)
        self._confirmed_at.setdefault(pair, self._now())

    async def settle(self) -> None:
        """Exchange what is confirmed, and give up what is too old."""
        for entry in self.entries:
            if not isinstance(entry.event, Granted) or entry.state is not State.WAITING:
                continue
            data = entry.event.data
            if self._now() >= data.code_expires_at.timestamp():
                self._move(entry, State.EXPIRED)
            elif (entry.event.subject, data.context) in self._confirmed_at:
                await self._connect(entry, data)

    def status(self, authorization_id: str) -> dict[str, str]:
        """Say how a connection stands, for the app."""
        entries = [e for e in self.entries if e.event and e.event.subject == authorization_id]
        statuses = {STATUS[entry.state]: entry for entry in entries}
        if "connected" in statuses:
            connection = statuses["connected"].connection
            organization = connection.organization if connection else None
            named = {"organization": organization} if organization else {}
            return {"status": "connected"} | named
        if statuses:
            return {"status": "pending" if "pending" in statuses else list(statuses)[-1]}
        # Confirmed, but its event never came: by now no code of it can be good.
        lost = any(
            confirmed_id == authorization_id and self._now() >= confirmed_at + CODE_LIFETIME
            for (confirmed_id, _), confirmed_at in self._confirmed_at.items()
        )
        return {"status": "expired" if lost else "pending"}

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

    async def _connect(self, entry: Entry, data: GrantedData) -> None:
        if self._exchange is None:
            self._move(entry, State.BY_HAND)
            return
        # On record before the request leaves: a second exchange would revoke the tokens of the
        # first, so whatever happens from here, this code is not tried again. In a database this
        # is a conditional write on the event's id.
        self._move(entry, State.EXCHANGING)
        try:
            entry.connection = await self._exchange(data)
        except ExchangeError as error:
            entry.reason = str(error)
            self._move(entry, State.FAILED)
        else:
            self._move(entry, State.CONNECTED)

    def _move(self, entry: Entry, state: State) -> None:
        entry.state = state
        self._changed(entry)

    def _changed(self, entry: Entry) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(entry)


def create_app(subscriber: Subscriber, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """Put the subscriber behind its live page and its two addresses for the app."""
    templates = Jinja2Templates(Path(__file__).parent / "templates")
    templates.env.filters["shortened"] = shortened
    card = templates.get_template("event.html")

    async def live_page(request: Request) -> Response:
        page = {"entries": subscriber.entries[::-1]}
        return templates.TemplateResponse(request, "live.html", page, headers=HEADERS)

    async def events(_request: Request) -> Response:
        ending = anyio.Event()

        async def cards() -> AsyncIterator[ServerSentEvent]:
            async with aclosing(subscriber.watch(ending)) as entries:
                async for entry in entries:
                    yield ServerSentEvent(card.render(entry=entry))

        # An open page must not hold the server up when it stops.
        return EventSourceResponse(cards(), shutdown_event=ending, shutdown_grace_period=0.5)

    async def confirmations(request: Request) -> Response:
        try:
            confirmation = Confirmation.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": _reasons(error)}, HTTPStatus.BAD_REQUEST)
        subscriber.confirm(confirmation)
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def connection(request: Request) -> Response:
        return JSONResponse(subscriber.status(request.path_params["authorization_id"]))

    return Starlette(
        routes=[
            Route("/", live_page),
            Route("/events", events),
            Route("/confirmations", confirmations, methods=["POST"]),
            Route("/connections/{authorization_id}", connection),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        # Another site's name that resolves to this machine must not read the codes from here.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"])],
        lifespan=lifespan,
    )


def shortened(secret: str) -> str:
    """Show enough of a secret to recognise it, and not enough to use it."""
    return f"{secret[:10]}…({len(secret)} characters)"


def consume(
    queue: "SQSClient", queue_url: str, take_in: Callable[[str], None], stopped: threading.Event
) -> None:
    """Take messages from the queue, each deleted only after it was taken in."""
    while not stopped.is_set():
        try:
            answer = queue.receive_message(
                QueueUrl=queue_url, WaitTimeSeconds=20, MaxNumberOfMessages=10
            )
            for message in answer.get("Messages", []):
                if stopped.is_set():
                    return
                take_in(message["Body"])
                queue.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        except (BotoCoreError, ClientError):
            # Whatever was not deleted comes again.
            logger.warning("The queue does not answer; trying again", exc_info=True)
            stopped.wait(1)


def _readable(body: str, *, codes_in_full: bool) -> str:
    event = json.loads(body)
    if not codes_in_full:
        for name in ("code", "code_verifier"):
            if event["data"].get(name):
                event["data"][name] = shortened(event["data"][name])
    return json.dumps(event, indent=2, ensure_ascii=False)


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'message'}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    )


def _subscriber() -> Subscriber:
    client_secret = os.environ.get("CLIENT_SECRET")
    if not client_secret:
        return Subscriber(exchange=None)
    return Subscriber(
        Exchange(
            client_secret,
            staging_token=os.environ.get("STAGING_TOKEN", ""),
            api_url=os.environ.get("QONTO_API_URL", ""),
        )
    )


@asynccontextmanager
async def _consuming(_app: Starlette) -> AsyncIterator[None]:
    """Consume the queue in a thread of its own, which need not be waited for at the end."""
    stopped = threading.Event()

    async def settle_for_ever() -> None:
        while True:
            await _the_subscriber.settle()
            await anyio.sleep(0.25)

    async with BlockingPortal() as portal, anyio.create_task_group() as tasks:
        threading.Thread(
            target=consume,
            args=(
                boto3.client("sqs"),
                os.environ["QUEUE_URL"],
                partial(portal.call, _the_subscriber.take_in),
                stopped,
            ),
            daemon=True,
        ).start()
        tasks.start_soon(settle_for_ever)
        yield
        stopped.set()
        tasks.cancel_scope.cancel()


_the_subscriber = _subscriber()
app = create_app(_the_subscriber, _consuming)
