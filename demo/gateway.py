"""API Gateway's HTTP API on a laptop: requests become payload 2.0 events for the real handlers.

What AWS documents stands in *Create AWS Lambda proxy integrations for HTTP APIs*; how paths are
decoded was captured from live APIs (hotsock/voker, ``vokerhttp/testdata``).
"""

import importlib
import json
import re
import sys
import time
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from demo import template as infra
from demo.template import Json, Template

# "Total combined size of request line and header values"; whole header lines here: the safe side.
MAX_HEAD = 10_240

type Handler = Callable[[dict[str, Json], LambdaContext], Json]


@dataclass(frozen=True)
class LambdaContext:
    """What Lambda tells a handler of its function, as far as Powertools asks."""

    function_name: str
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    log_stream_name: str = "local"
    _deadline: float = field(default_factory=lambda: time.monotonic() + 25)

    @property
    def invoked_function_arn(self) -> str:
        """The function's ARN, of an account that nobody has."""
        return f"arn:aws:lambda:local:000000000000:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """Where CloudWatch would hold its lines."""
        return f"/aws/lambda/{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may still run."""
        return int((self._deadline - time.monotonic()) * 1000)


def routes(template: Template) -> dict[str, str]:
    """Return the function behind each route key, such as ``GET /start``, by its logical id."""
    functions = infra.resources(template, "AWS::Serverless::Function")
    integrations = infra.resources(template, "AWS::ApiGatewayV2::Integration")
    found = {}
    for route in infra.resources(template, "AWS::ApiGatewayV2::Route").values():
        [integration] = infra.references(route["Properties"]["Target"]) & integrations.keys()
        uri = integrations[integration]["Properties"]["IntegrationUri"]
        [function] = infra.references(uri) & functions.keys()
        found[route["Properties"]["RouteKey"]] = function
    return found


def load_handler(
    template: Template, logical_id: str, folder: Path = infra.TEMPLATE.parent
) -> Handler:
    """Import a function's handler from its code root, which stands to *folder*, as Lambda does."""
    function = infra.function(template, logical_id)
    code_root = str((folder / function["CodeUri"]).resolve())
    if code_root not in sys.path:
        sys.path.insert(0, code_root)
    module, _, name = function["Handler"].rpartition(".")
    handler: Handler = getattr(importlib.import_module(module), name)
    return handler


def decoded(path: str) -> str | None:
    """Return a path as HTTP APIs hand it on: decoded twice, cut at a ``?`` that the first bared.

    None if the first leaves a stray ``%``: they answer that with 400.
    """
    once = unquote(path).partition("?")[0]
    return None if re.search("%(?![0-9A-Fa-f]{2})", once) else unquote(once)


def match(route_keys: Iterable[str], method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the route key that *method* and the decoded *path* have, and its path parameters."""
    for key in route_keys:
        route_method, _, route_path = key.partition(" ")
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route_path))
        found = re.fullmatch(pattern, path, re.DOTALL)
        if found and method == route_method:
            return key, found.groupdict()
    return None


def payload_2_0(  # noqa: PLR0913 - the parts of a request
    method: str,
    path: str,
    query: str = "",
    *,
    route_key: str,
    path_parameters: Mapping[str, str] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    source_ip: str = "127.0.0.1",
    protocol: str = "HTTP/1.1",
    now: float | None = None,
) -> dict[str, Json]:
    """Return the event that a Lambda function gets for a request.

    Args:
        method: as in the request line.
        path: decoded, as `decoded` returns it.
        query: what follows the ``?``, just as it was sent.
        route_key: the route that was matched, such as ``GET /callback/{outcome}``.
        path_parameters: what it matched.
        headers: names and values in the order in which they were sent.
        body: the request's.
        source_ip: whence it came.
        protocol: as in the request line.
        now: when it came, in epoch seconds; the present if None.

    """
    now = time.time() if now is None else now
    values: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in headers:
        if name.lower() == "cookie":
            cookies += filter(None, (cookie.strip(" \t") for cookie in value.split(";")))
        else:
            _join(values, name.lower(), value)
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        _join(parameters, name, value)
    domain = re.sub(r":[0-9]*$", "", values.get("host", ""))

    event: dict[str, Json] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": query,
        "cookies": cookies,
        "headers": values,
        "queryStringParameters": parameters,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": method,
                "path": path,
                "protocol": protocol,
                "sourceIp": source_ip,
                "userAgent": values.get("user-agent", ""),
            },
            "requestId": b64encode(uuid4().bytes[:11]).decode(),
            "routeKey": route_key,
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "body": b64encode(body).decode(),
        "pathParameters": dict(path_parameters or {}),
        "isBase64Encoded": bool(body),
    }
    optional = ("cookies", "queryStringParameters", "body", "pathParameters")
    return {name: it for name, it in event.items() if it or name not in optional}


def _join(values: dict[str, str], name: str, value: str) -> None:
    values[name] = f"{values[name]},{value}" if name in values else value


def http_response(answer: Json) -> Response:
    """Return a handler's answer as HTTP.

    Raises:
        TypeError, ValueError, KeyError: it is none that API Gateway takes.

    """
    answer = json.loads(json.dumps(answer))  # as it leaves Lambda
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return JSONResponse(answer)
    body = answer.get("body", "")
    response = Response(
        b64decode(body) if answer.get("isBase64Encoded") else body,
        answer["statusCode"],
        answer.get("headers"),
    )
    for cookie in answer.get("cookies", ()):
        response.headers.append("Set-Cookie", cookie)
    return response


def _message(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)


async def _answer(
    functions: Mapping[str, str], handlers: Mapping[str, Handler], request: Request
) -> Response:
    raw_path: bytes = request.scope["raw_path"]
    raw_query: bytes = request.scope["query_string"]
    protocol = f"HTTP/{request.scope['http_version']}"
    head = len(f"{request.method} ? {protocol}\r\n") + len(raw_path) + len(raw_query)
    head += sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
    if head > MAX_HEAD:
        return _message(431, "Request Header Fields Too Large")

    path = decoded(raw_path.decode("latin-1"))
    if path is None:
        return _message(400, "Bad Request")
    route = match(functions, request.method, path)
    if route is None:
        return _message(404, "Not Found")

    route_key, path_parameters = route
    event = payload_2_0(
        request.method,
        path,
        raw_query.decode("latin-1"),
        route_key=route_key,
        path_parameters=path_parameters,
        headers=request.headers.items(),
        body=await request.body(),
        source_ip=request.client.host if request.client else "",
        protocol=protocol,
    )
    function = functions[route_key]
    try:
        answer = await run_in_threadpool(handlers[function], event, LambdaContext(function))
        return http_response(answer)
    except Exception:  # noqa: BLE001 - whatever a handler may raise, as in Lambda
        traceback.print_exc()
        return _message(500, "Internal Server Error")


def application(functions: Mapping[str, str], handlers: Mapping[str, Handler]) -> ASGIApp:
    """Return the HTTP API: the function of each route key, the handler of each function.

    Handlers run in threads: they wait for AWS.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _answer(functions, handlers, Request(scope, receive))
        await response(scope, receive, send)

    return app


def create() -> ASGIApp:
    """Return infra/template.yaml's HTTP API with its real handlers (a factory for uvicorn)."""
    template = infra.load()
    functions = routes(template)
    return application(
        functions, {it: load_handler(template, it) for it in set(functions.values())}
    )
