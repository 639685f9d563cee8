"""The demo's Invoke API, called by the example app's own client of the function `tokens`."""

import logging
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from demo import gateway
from examples.app.tokens import CLIENT_CONFIG, Access, Tokens
from tests.support.http_server import serving

SESSION = boto3.Session("local", "local", region_name="eu-west-3")
REFUSED, NEXT = "ory_at_refused", "ory_at_next"


def function(event: dict[str, Any], _context: object) -> dict[str, Any]:
    if event["authorization_id"] == "unknown":
        raise ValueError(event["authorization_id"])
    assert event["refused"] == REFUSED
    return {"status": "connected", "access_token": NEXT, "expires_at": 1}


def tokens(port: int, name: str = "function") -> Tokens:
    url = f"http://127.0.0.1:{port}"
    return Tokens(SESSION.client("lambda", endpoint_url=url, config=CLIENT_CONFIG), name)


def test_response_and_error_come_back_without_token_in_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(gateway.invoke_api("function", function)) as port:
        assert tokens(port).access("known", REFUSED) == Access("connected", NEXT)
        assert tokens(port).access("unknown") == Access("unavailable")
        with pytest.raises(ClientError):
            tokens(port, "another").access("known")

    assert REFUSED not in caplog.text
    assert NEXT not in f"{caplog.text}{Access('connected', NEXT)}"


def test_failed_invocation_is_not_repeated() -> None:
    """The user tries again: so they wait no longer than the function runs."""
    requests = []

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        requests.append(scope["path"])
        await Response(status_code=503)(scope, receive, send)

    with serving(failing) as port, pytest.raises(ClientError):
        tokens(port).disconnect("known")

    assert requests == ["/2015-03-31/functions/function/invocations"]
