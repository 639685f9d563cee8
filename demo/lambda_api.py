"""Lambda's Invoke API on a laptop, for one function: the example's `tokens`."""

import traceback
from collections.abc import Callable
from functools import cache, partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.gateway import Handler, LambdaContext, load_handler
from demo.template import EXAMPLE, load


def application(name: str, loaded: Callable[[], Handler]) -> Starlette:
    """Return the API that invokes the handler which *loaded* returns as the function *name*."""

    async def invoke(request: Request) -> Response:
        event = await request.json()
        try:
            result = await run_in_threadpool(lambda: loaded()(event, LambdaContext(name)))
            return JSONResponse(result)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything, as in Lambda
            traceback.print_exc()
            body = {"errorMessage": str(error), "errorType": type(error).__name__}
            return JSONResponse(body, headers={"X-Amz-Function-Error": "Unhandled"})

    path = f"/2015-03-31/functions/{name}/invocations"
    return Starlette(routes=[Route(path, invoke, methods=["POST"])])


def create() -> Starlette:
    """Return the API with the real function (a factory for uvicorn)."""
    name = "TokensFunction"
    load_tokens = partial(load_handler, load(EXAMPLE), name, EXAMPLE.parent)
    return application(name, cache(load_tokens))  # the first invocation loads it
