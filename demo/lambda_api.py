"""Lambda's Invoke API on a laptop, for one function: the example's `tokens`.

*Error handling and automatic retries in AWS Lambda* says: "If the function returns an error, Lambda
indicates this by including a header named X-Amz-Function-Error, and a JSON-formatted response with
the error message and other details."
"""

import json
import traceback
from collections.abc import Callable
from functools import cache

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo import template as infra
from demo.gateway import Handler, LambdaContext, load_handler

TOKENS_FUNCTION = "TokensFunction"


def application(name: str, load: Callable[[], Handler]) -> Starlette:
    """Return the API that invokes the handler which *load* returns as the function *name*."""

    async def invoke(request: Request) -> Response:
        event = json.loads(await request.body())
        try:
            response = await run_in_threadpool(lambda: load()(event, LambdaContext(name)))
        except Exception as error:  # noqa: BLE001 - whatever a handler may raise, as in Lambda
            traceback.print_exc()
            body = {"errorMessage": str(error), "errorType": type(error).__name__}
            return JSONResponse(body, headers={"X-Amz-Function-Error": "Unhandled"})
        return JSONResponse(response)

    path = f"/2015-03-31/functions/{name}/invocations"
    return Starlette(routes=[Route(path, invoke, methods=["POST"])])


@cache
def _tokens() -> Handler:
    """Return the real handler; the first invocation loads it, as Lambda's cold start does."""
    return load_handler(infra.load(infra.EXAMPLE), TOKENS_FUNCTION, infra.EXAMPLE.parent)


def create() -> Starlette:
    """Return the API with the real function (a factory for uvicorn)."""
    return application(TOKENS_FUNCTION, _tokens)
