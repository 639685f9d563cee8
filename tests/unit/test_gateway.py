"""The demo's gateway turns requests into API Gateway's events, and results into responses."""

from typing import Any

import pytest
from aws_lambda_powertools.utilities.parser.models import APIGatewayProxyEventV2Model
from starlette.testclient import TestClient

from demo import gateway
from demo import template as infra

KEY = "GET /callback/{outcome}"


def client(handler: gateway.Handler) -> TestClient:
    """Return a browser of the template's API, with *handler* for all functions."""
    functions = gateway.routes(infra.load())
    application = gateway.application(functions, dict.fromkeys(functions.values(), handler))
    url, address = "http://api.example.com:8001", ("192.0.2.1", 50_000)
    browser = TestClient(application, url, client=address, follow_redirects=False)
    browser.headers.clear()
    return browser


def test_event_has_documented_parts() -> None:
    browser = client(lambda event, _: event)
    sent = [
        ("User-Agent", "U/1"),
        ("X-A", "1"),
        ("x-a", "2"),
        ("Cookie", "a=1; b"),
        ("Cookie", "c"),
    ]

    url = "/callback/other%20browser?a=1&b=%2C+%FF&a=2"
    event = browser.request("GET", url, headers=sent, content=b"\0\xff").json()
    bare = browser.get("/callback").json()

    request = APIGatewayProxyEventV2Model.model_validate(event)
    assert request.routeKey == request.requestContext.routeKey == KEY
    assert request.rawPath == request.requestContext.http.path == "/callback/other browser"
    assert request.pathParameters == {"outcome": "other browser"}
    assert request.rawQueryString == "a=1&b=%2C+%FF&a=2"
    assert request.queryStringParameters == {"a": "1,2", "b": ", \N{REPLACEMENT CHARACTER}"}
    host = {"host": "api.example.com:8001"}
    assert request.headers == {**host, "user-agent": "U/1", "x-a": "1,2", "content-length": "2"}
    assert request.cookies == ["a=1", "b", "c"]
    assert (request.body, request.isBase64Encoded) == ("AP8=", True)
    assert request.requestContext.domainName == "api.example.com"
    assert request.requestContext.http.userAgent == "U/1"
    assert event["requestContext"]["http"]["sourceIp"] == "192.0.2.1"
    omitted = {"cookies", "queryStringParameters", "pathParameters", "body"}
    assert event.keys() - bare.keys() == omitted
    assert bare["isBase64Encoded"] is False


# As captured from live HTTP APIs: the path that was sent, and the path that the function got.
@pytest.mark.parametrize(
    ("sent", "raw_path"),
    [
        ("/capture/space%20value", "/capture/space value"),
        ("/capture/question%3Fvalue", "/capture/question"),
        ("/capture/percent%25done", None),
        ("/capture/slash%2Fvalue", "/capture/slash/value"),
        ("/capture/unicode-%CE%BB", "/capture/unicode-λ"),
        ("/capture/literal%252Fvalue", "/capture/literal/value"),
        ("/capture/literal%253Fvalue", "/capture/literal?value"),
        ("/capture/literal%2525value", "/capture/literal%value"),
    ],
)
def test_path_is_decoded_as_by_live_apis(sent: str, raw_path: str | None) -> None:
    assert gateway.decoded(sent) == raw_path


@pytest.mark.parametrize(
    ("request_line", "response"),
    [
        ("GET /start", (200, "StartFunction")),
        ("GET /callback", (200, "CallbackFunction")),
        ("GET /callback/a%20b", (200, "CallbackFunction")),
        ("GET /callback/100%25", (400, '{"message":"Bad Request"}')),
        ("GET /callback/", (404, '{"message":"Not Found"}')),
        ("GET /callback/a/b", (404, '{"message":"Not Found"}')),
        ("GET /Callback", (404, '{"message":"Not Found"}')),
        ("GET /callback%0A", (404, '{"message":"Not Found"}')),
        ("HEAD /callback", (404, "")),
        ("POST /start", (404, '{"message":"Not Found"}')),
    ],
)
def test_only_routes_reach_functions(request_line: str, response: tuple[int, str]) -> None:
    browser = client(lambda _, context: {"statusCode": 200, "body": context.function_name})

    received = browser.request(*request_line.split())

    assert (received.status_code, received.text) == response


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ({"statusCode": 303, "headers": {"Location": "/a"}, "cookies": ["a=1", "b=2"]}, 303, b""),
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}, 200, b"\x00\xff"),
        ({"message": "hello"}, 200, b'{"message":"hello"}'),
        ({"statusCode": 200, "body": b"bytes"}, 500, b'{"message":"Internal Server Error"}'),
    ],
)
def test_result_becomes_response(result: dict[str, Any], status: int, body: bytes) -> None:
    response = client(lambda *_: result).get("/callback")

    assert (response.status_code, response.content) == (status, body)
    assert response.headers.get_list("set-cookie") == result.get("cookies", [])
    assert response.headers.get("location") == result.get("headers", {}).get("Location")


def test_request_line_and_headers_have_10240_bytes() -> None:
    browser = client(lambda *_: {"statusCode": 200})
    besides = len("GET /start? HTTP/1.1\r\nhost: api.example.com:8001\r\n")

    assert browser.get(f"/start?{'a' * (10_240 - besides)}").status_code == 200
    assert browser.get(f"/start?{'a' * (10_241 - besides)}").status_code == 431
