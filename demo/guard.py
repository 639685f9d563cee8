"""Who may talk to the demo's servers: ASGI middleware in front of each of the six.

A port of the loopback is open to every page in the developer's browser and to every user of the
machine. ministack would run code for them, and the function `tokens` would give them access tokens,
so the guard of these two is the stricter one.

Each factory below sets the process's clock before it imports an application.
"""

import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from demo import clock

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# The variables that the factories below read.
ACCESS_KEY = "LOCAL_AWS_ACCESS_KEY"
APPLICATION = "GUARDED_APPLICATION"  # module:factory
URL = "GUARDED_URL"
# The events by which Python announces a new process (PEP 578).
NEW_PROCESS = re.compile(r"os\.(exec|fork|posix_spawn|spawn|system)|pty\.|subprocess\.")

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


def new_access_key() -> str:
    """Return a random AWS access key ID.

    It must not be twelve digits: ministack takes those for the number of an account.
    """
    return f"local-{secrets.token_hex(20)}"


def this_run_alone(application: Application, host: str, access_key: str) -> Application:
    """Return *application* behind a guard that only the AWS clients of this run pass.

    Their requests name *host*, are signed with *access_key*, and have none of the headers that a
    browser adds by itself. Any other request gets a 403.
    """

    async def guarded(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _is_own_client(scope, host, access_key):
            await application(scope, receive, send)
            return
        await _refuse(send, 403, "The local AWS serves the AWS clients of its own run alone.")

    return guarded


def own_address(application: Application, url: str) -> Application:
    """Return *application* at the address *url* (scheme, host and port) and at no other.

    A request to another name of the loopback is sent to *url*, where the cookies are. A request to
    any other name gets a 421: a site can let its own name resolve to this machine.
    """
    own = urlsplit(url)
    other_names = {f"{name}:{own.port}" for name in LOOPBACK}

    async def guarded(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _values(scope, b"host") == [own.netloc]:
            await application(scope, receive, send)
            return
        path, query = scope["raw_path"], scope["query_string"]
        here = other_names.issuperset(_values(scope, b"host"))
        if here and scope["method"] == "GET" and path.startswith(b"/"):
            location = url.encode() + path + (b"?" + query if query else b"")
            await _refuse(send, 307, f"This is {url}.", [(b"location", location)])
            return
        await _refuse(send, 421, f"This is {url}.")

    return guarded


def create() -> Application:
    """Return the application that the environment names (a factory for uvicorn)."""
    return own_address(_application(), os.environ[URL])


def create_for_this_run() -> Application:
    """Return the application that the environment names, for the AWS clients of this run alone."""
    host = urlsplit(os.environ[URL]).netloc
    return this_run_alone(_application(), host, os.environ["AWS_ACCESS_KEY_ID"])


def create_local_aws() -> Application:
    """Return ministack behind its guard (a factory for uvicorn), for the port GATEWAY_PORT.

    From now on this process starts no other: ministack executes functions in processes, and several
    of its services can be made to do so.
    """
    clock.install()
    # It reads the environment when it is imported.
    from ministack.app import app  # type: ignore[import-untyped]  # noqa: PLC0415

    sys.addaudithook(_refuse_processes)
    return this_run_alone(app, f"127.0.0.1:{os.environ['GATEWAY_PORT']}", os.environ[ACCESS_KEY])


def _application() -> Application:
    clock.install()
    module, _, factory = os.environ[APPLICATION].partition(":")
    application: Application = getattr(import_module(module), factory)()
    return application


def _refuse_processes(event: str, _arguments: tuple[object, ...]) -> None:
    if NEW_PROCESS.match(event):
        raise PermissionError(event)


def _is_own_client(scope: Message, host: str, access_key: str) -> bool:
    names = {name.decode("latin-1") for name, _ in scope["headers"]}
    signed = re.match(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/", ",".join(_values(scope, b"authorization"))
    )
    return (
        scope["type"] == "http"
        and _values(scope, b"host") == [host]
        and not any(name == "origin" or name.startswith("sec-fetch-") for name in names)
        and signed is not None
        and secrets.compare_digest(signed[1].encode(), access_key.encode())
    )


def _values(scope: Message, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == header]


async def _refuse(
    send: Send, status: int, reason: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    body = f"{reason}\n".encode()
    start = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
