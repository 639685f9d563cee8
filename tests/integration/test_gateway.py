"""The demo's gateway over real HTTP, with handlers that only this test has."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo import gateway
from demo import template as infra
from tests.http_server import serving

type Ask = Callable[..., tuple[int, str, str]]


def echo(event: dict[str, Any], context: gateway.LambdaContext) -> dict[str, Any]:
    """Answer with the event and what Powertools asks of a context."""
    seen = {"event": event, "function": context.function_name, "thread": threading.get_ident()}
    assert 0 < context.get_remaining_time_in_millis() <= 25_000
    return {"statusCode": 200, "body": json.dumps(seen)}


def fail(_event: dict[str, Any], _context: gateway.LambdaContext) -> dict[str, Any]:
    """Raise what no handler expects."""
    raise LookupError("a secret of the inside")  # noqa: TRY003 - to be looked for


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """Send a request; return status, content type and body."""
    functions = gateway.routes(infra.load())
    application = gateway.application(functions, {"StartFunction": fail, "CallbackFunction": echo})
    with serving(application) as port:

        def ask(
            method: str, target: str, headers: dict[str, str] | None = None
        ) -> tuple[int, str, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, target, headers=headers or {})
            answer = connection.getresponse()
            body = answer.read().decode()
            connection.close()
            return answer.status, answer.headers["Content-Type"], body

        yield ask


def test_a_request_reaches_the_function_of_its_route_as_it_was_sent(ask: Ask) -> None:
    target = "/callback/other%20browser?error_description=a,%2Cb+%FF"

    status, _, body = ask("GET", target, {"Cookie": "a=1; b=2"})

    assert status == 200
    seen = json.loads(body)
    assert seen["function"] == "CallbackFunction"
    assert seen["event"]["routeKey"] == "GET /callback/{outcome}"
    assert seen["event"]["pathParameters"] == {"outcome": "other browser"}
    assert seen["event"]["rawQueryString"] == "error_description=a,%2Cb+%FF"
    assert seen["event"]["cookies"] == ["a=1", "b=2"]


def test_handlers_run_beside_the_server(ask: Ask) -> None:
    servers = {thread.ident for thread in threading.enumerate() if thread.name.startswith("Thread")}

    _, _, body = ask("GET", "/callback")

    assert json.loads(body)["thread"] not in servers


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("HEAD", "/start"),
        ("POST", "/start"),
        ("OPTIONS", "/callback"),
        ("GET", "/"),
        ("GET", "/start/"),
        ("GET", "/callback/granted/more"),
    ],
)
def test_what_is_no_route_is_the_gateways_own_404(ask: Ask, method: str, target: str) -> None:
    status, content_type, body = ask(method, target)

    assert (status, content_type) == (404, "application/json")
    assert body == ("" if method == "HEAD" else '{"message":"Not Found"}')


def test_an_exception_becomes_500_and_stays_inside(
    ask: Ask, capfd: pytest.CaptureFixture[str]
) -> None:
    status, _, body = ask("GET", "/start")

    assert (status, body) == (500, '{"message":"Internal Server Error"}')
    assert "LookupError: a secret of the inside" in capfd.readouterr().err


def test_request_line_and_headers_have_10240_bytes_at_most(ask: Ask) -> None:
    def status(length: int) -> int:
        return ask("GET", f"/callback?{'a' * length}")[0]

    # What http.client sends besides the filling: GET, Host and Accept-Encoding.
    _, _, body = ask("GET", "/callback?")
    host = json.loads(body)["event"]["headers"]["host"]
    besides = len(f"GET /callback? HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\n")

    assert status(10_240 - besides) == 200
    assert status(10_240 - besides + 1) == 431


def test_a_stray_percent_sign_is_a_bad_request(ask: Ask) -> None:
    assert ask("GET", "/callback/100%25")[0] == 400
