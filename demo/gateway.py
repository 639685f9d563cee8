"""API Gateway's HTTP API on a laptop, and Lambda's Invoke API: both call the real handlers."""

import importlib
import json
import re
import sys
import time
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, compile_path, request_response
from starlette.types import ASGIApp

from demo import template as infra
from demo.template import Json, Template

MAX_HEAD = 10_240  # bytes of the request line and the headers, all their separators included

type Handler = Callable[[dict[str, Json], LambdaContext], Json]


@dataclass(frozen=True)
class LambdaContext:
    """The properties of a Lambda context that Powertools and the handlers use."""

    function_name: str
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:local:000000000000:function:local"
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    _deadline: float = field(default_factory=lambda: time.monotonic() + 25)

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may still run."""
        return int((self._deadline - time.monotonic()) * 1000)


def routes(template: Template) -> dict[str, str]:
    """Return the function behind each route key, such as ``GET /start``, by its logical id."""
    functions = infra.resources(template, "AWS::Serverless::Function")
    found = {}
    for route in infra.resources(template, "AWS::ApiGatewayV2::Route").values():
        [integration] = infra.references(route["Properties"]["Target"])
        uri = template["Resources"][integration]["Properties"]["IntegrationUri"]
        [function] = infra.references(uri) & functions.keys()
        found[route["Properties"]["RouteKey"]] = function
    return found


def load_handler(name: str, path: Path = infra.TEMPLATE) -> Handler:
    """Import the handler of a function of the template at *path*, as Lambda does."""
    function = infra.function(infra.load(path), name)
    code_root = str((path.parent / function["CodeUri"]).resolve())
    if code_root not in sys.path:
        sys.path.insert(0, code_root)
    module, _, attribute = function["Handler"].rpartition(".")
    handler: Handler = getattr(importlib.import_module(module), attribute)
    return handler


def decoded(path: str) -> str | None:
    """Return a path decoded twice, as HTTP APIs pass it on, or None if they respond with 400."""
    # As captured from live APIs: hotsock/voker, ``vokerhttp/testdata``.
    # The first decoding can produce a "?", which ends the path, or a stray "%", which is refused.
    once = unquote(path).partition("?")[0]
    return None if re.search("%(?![0-9A-Fa-f]{2})", once) else unquote(once)


def payload_2_0(
    request: Request, route_key: str, path: re.Match[str], body: bytes
) -> dict[str, Json]:
    """Return the event of a *request*; *path* is its decoded path, as the route matched it."""
    # AWS documents it in *Create AWS Lambda proxy integrations for HTTP APIs*.
    now = time.time()
    headers = _joined(request.headers)
    headers.pop("cookie", None)
    cookies = ";".join(request.headers.getlist("cookie")).split(";")
    domain = re.sub(r":[0-9]*$", "", headers.get("host", ""))
    optional = {
        "cookies": [cookie.strip(" \t") for cookie in cookies if cookie.strip(" \t")],
        "queryStringParameters": _joined(request.query_params),
        "body": b64encode(body).decode(),
        "pathParameters": path.groupdict(),
    }
    return {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path.string,
        "rawQueryString": request.scope["query_string"].decode("latin-1"),
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": request.method,
                "path": path.string,
                "protocol": f"HTTP/{request.scope['http_version']}",
                "sourceIp": request.client.host if request.client else "",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": b64encode(uuid4().bytes[:11]).decode(),
            "routeKey": route_key,
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": bool(body),
    } | {name: value for name, value in optional.items() if value}


def _joined(values: Headers | QueryParams) -> dict[str, str]:
    """Return the values of each name, joined with commas."""
    return {name: ",".join(values.getlist(name)) for name in values}


def http_response(result: Json) -> Response:
    """Return a handler's result as HTTP; raise if API Gateway does not accept it."""
    result = json.loads(json.dumps(result))  # as it leaves Lambda
    if not isinstance(result, dict) or "statusCode" not in result:
        return JSONResponse(result)
    body = result.get("body", "")
    content = b64decode(body) if result.get("isBase64Encoded") else body
    response = Response(content, result["statusCode"], result.get("headers"))
    for cookie in result.get("cookies", ()):
        response.headers.append("Set-Cookie", cookie)
    return response


def application(functions: Mapping[str, str], handlers: Mapping[str, Handler]) -> ASGIApp:
    """Return the HTTP API: the function of each route key, the handler of each function."""
    paths = {key: compile_path(key.partition(" ")[2])[0] for key in functions}

    async def respond(request: Request) -> Response:
        raw_path, raw_query = request.scope["raw_path"], request.scope["query_string"]
        head = len(f"{request.method} ? HTTP/{request.scope['http_version']}\r\n")
        head += sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
        if head + len(raw_path) + len(raw_query) > MAX_HEAD:
            return JSONResponse({"message": "Request Header Fields Too Large"}, 431)
        path = decoded(raw_path.decode("latin-1"))
        if path is None:
            return JSONResponse({"message": "Bad Request"}, 400)
        matches = [(key, pattern.fullmatch(path)) for key, pattern in paths.items()]
        found = [(key, it) for key, it in matches if it and key.startswith(f"{request.method} ")]
        if not found:
            return JSONResponse({"message": "Not Found"}, 404)
        event = payload_2_0(request, *found[0], await request.body())
        name = functions[found[0][0]]
        try:  # in a thread, because handlers wait for AWS
            result = await run_in_threadpool(handlers[name], event, LambdaContext(name))
            return http_response(result)
        except Exception:  # noqa: BLE001 - a handler may raise anything, as in Lambda
            traceback.print_exc()
            return JSONResponse({"message": "Internal Server Error"}, 500)

    return request_response(respond)


def invoke_api(name: str, handler: Handler) -> Starlette:
    """Return Lambda's Invoke API for one function."""

    async def invoke(request: Request) -> Response:
        event = await request.json()
        try:
            return JSONResponse(await run_in_threadpool(handler, event, LambdaContext(name)))
        except Exception as error:  # noqa: BLE001 - a handler may raise anything, as in Lambda
            traceback.print_exc()
            body = {"errorMessage": str(error), "errorType": type(error).__name__}
            return JSONResponse(body, headers={"X-Amz-Function-Error": "Unhandled"})

    path = f"/2015-03-31/functions/{name}/invocations"
    return Starlette(routes=[Route(path, invoke, methods=["POST"])])


def create() -> ASGIApp:
    """Return infra/template.yaml's HTTP API with its real handlers (a factory for uvicorn)."""
    functions = routes(infra.load())
    return application(functions, {name: load_handler(name) for name in functions.values()})


def create_tokens() -> ASGIApp:
    """Return the Invoke API of the example's function `tokens` (a factory for uvicorn)."""
    return invoke_api("TokensFunction", load_handler("TokensFunction", infra.EXAMPLE))
