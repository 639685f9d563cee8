"""Guards each of the demo's servers: ASGI middleware that refuses the requests of others.

Every page in the developer's browser and every user of the machine can reach a port of the
loopback. ministack would run their code, and `tokens` give them tokens: their guard is stricter.
"""

import os
import re
import secrets
import sys
import tomllib
from collections.abc import Mapping
from functools import partial
from pkgutil import resolve_name
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from demo import clock
from demo.child import Child
from demo.template import ROOT

SERVERS = tomllib.loads((ROOT / "demo" / "servers.toml").read_text("utf-8"))
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# The variables of a guarded process.
ACCESS_KEY, APPLICATION, URL = "GUARDED_ACCESS_KEY", "GUARDED_APPLICATION", "GUARDED_URL"
# The events by which Python announces a new process (PEP 578).
NEW_PROCESS = re.compile(r"os\.(exec|fork|posix_spawn|spawn|system)|pty\.|subprocess\.")


def serve(service: str, environment: dict[str, str], names: Mapping[str, str]) -> Child:
    """Start *service*, as servers.toml says with its *names*, behind its guard."""
    server, url = SERVERS[service], names[service]
    port = urlsplit(url).port or 0
    access_key = names["access_key"] if server.get("this_run_alone") else ""
    variables = server.get("environment", {}).items()
    own = {name: value.format(port=port, **names) for name, value in variables}
    own |= {APPLICATION: server["application"], URL: url, ACCESS_KEY: access_key}
    return Child(
        server["name"],
        port,
        *("uvicorn", "--factory", "demo.guard:create", "--host=127.0.0.1", f"--port={port}"),
        # A log of requests would print codes and states.
        *("--log-level=warning", "--no-access-log", "--no-proxy-headers", "--ws=none"),
        *server.get("arguments", []),
        environment=environment | own,
    )


def create() -> ASGIApp:
    """Return the application that the environment names, behind its guard."""
    clock.install()  # before an import that keeps time.time in a variable
    application: ASGIApp = resolve_name(os.environ[APPLICATION])()
    url, access_key = os.environ[URL], os.environ[ACCESS_KEY]
    refusal = partial(this_run_alone, access_key) if access_key else own_address

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        response = None if scope["type"] == "lifespan" else refusal(url, Request(scope))
        await (response or application)(scope, receive, send)

    return guarded


def this_run_alone(access_key: str, url: str, request: Request) -> Response | None:
    """Return a 403 unless an AWS client that signs with *access_key* sends the *request*."""
    headers, signed = request.headers, f"AWS4-HMAC-SHA256 Credential={access_key}/".encode()
    given = ",".join(headers.getlist("authorization")).encode()[: len(signed)]
    is_own_host = headers.getlist("host") == [urlsplit(url).netloc]
    # A browser adds such headers by itself.
    is_of_browser = any(re.fullmatch("origin|sec-fetch-.*", name) for name in headers)
    if is_own_host and not is_of_browser and secrets.compare_digest(given, signed):
        return None
    return PlainTextResponse("The local AWS serves the AWS clients of its own run alone.\n", 403)


def own_address(url: str, request: Request) -> Response | None:
    """Return a response to a *request* to any other address than *url*."""
    own, hosts = urlsplit(url), request.headers.getlist("host")
    if hosts == [own.netloc]:
        return None
    path, query = request.scope["raw_path"], request.scope["query_string"]
    is_loopback = hosts in [[f"{name}:{own.port}"] for name in LOOPBACK]
    # The cookies are at *url*.
    if is_loopback and request.method == "GET" and path.startswith(b"/"):
        target = (path + (b"?" + query if query else b"")).decode("latin-1")
        return PlainTextResponse(f"This is {url}.\n", 307, {"Location": url + target})
    # A site can let its own name resolve to this machine.
    return PlainTextResponse(f"This is {url}.\n", 421)


def ministack() -> ASGIApp:
    """Return ministack, and forbid this process to start others: they would execute functions."""
    # It reads the environment when it is imported.
    from ministack.app import app  # type: ignore[import-untyped]  # noqa: PLC0415

    sys.addaudithook(_refuse_processes)
    application: ASGIApp = app
    return application


def _refuse_processes(event: str, _arguments: tuple[object, ...]) -> None:
    if NEW_PROCESS.match(event):
        raise PermissionError(event)
