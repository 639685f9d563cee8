"""The demo's gateway turns requests into API Gateway's events, and results into responses."""

from typing import Any

import pytest
from aws_lambda_powertools.utilities.parser.models import APIGatewayProxyEventV2Model
from starlette.testclient import TestClient

from demo import gateway
from demo import template as infra


def client(handler: gateway.Handler) -> TestClient:
    """Return a browser of the template's API, with *handler* for all functions."""
    functions = gateway.routes(infra.load())
    application = gateway.application(functions, dict.fromkeys(functions.values(), handler))
    url, address = "http://api.example.com:8001", ("192.0.2.1", 50_000)
    browser = TestClient(application, url, client=address, follow_redirects=False)
    browser.headers.clear()
    return browser


def test_event_has_documented_parts() -> None:
    browser, agent = client(lambda event, _: event), ("User-Agent", "U/1")
    sent = [agent, ("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1; b"), ("Cookie", "c")]
    url = "/callback/other%20browser?a=1&b=%2C+%FF&a=2"
    event = browser.request("GET", url, headers=sent, content=b"\0\xff").json()
    bare = browser.get("/callback").json()

    request = APIGatewayProxyEventV2Model.model_validate(event)
    http = request.requestContext.http
    assert request.routeKey == request.requestContext.routeKey == "GET /callback/{outcome}"
    assert request.rawPath == http.path == "/callback/other browser"
    assert request.pathParameters == {"outcome": "other browser"}
    assert request.rawQueryString == "a=1&b=%2C+%FF&a=2"
    assert request.queryStringParameters == {"a": "1,2", "b": ", \N{REPLACEMENT CHARACTER}"}
    host = {"host": "api.example.com:8001"}
    assert request.headers == {**host, "user-agent": "U/1", "x-a": "1,2", "content-length": "2"}
    assert request.cookies == ["a=1", "b", "c"]
    assert (request.body, request.isBase64Encoded, bare["isBase64Encoded"]) == ("AP8=", True, False)
    assert (request.requestContext.domainName, http.userAgent) == ("api.example.com", "U/1")
    assert event["requestContext"]["http"]["sourceIp"] == "192.0.2.1"
    omitted = {"cookies", "queryStringParameters", "pathParameters", "body"}
    assert event.keys() - bare.keys() == omitted


NOT_FOUND = (404, {"message": "Not Found"})
# In the first eight, as captured from live HTTP APIs: the path of the event.
RESPONSES = {
    "GET /callback/space%20value": (200, ["CallbackFunction", "/callback/space value"]),
    "GET /callback/question%3Fvalue": (200, ["CallbackFunction", "/callback/question"]),
    "GET /callback/percent%25done": (400, {"message": "Bad Request"}),
    "GET /callback/unicode-%CE%BB": (200, ["CallbackFunction", "/callback/unicode-λ"]),
    "GET /callback/literal%253Fvalue": (200, ["CallbackFunction", "/callback/literal?value"]),
    "GET /callback/literal%2525value": (200, ["CallbackFunction", "/callback/literal%value"]),
    "GET /callback/slash%2Fvalue": NOT_FOUND,  # decoded, it has another segment
    "GET /callback/literal%252Fvalue": NOT_FOUND,
    "GET /start": (200, ["StartFunction", "/start"]),
    "GET /callback": (200, ["CallbackFunction", "/callback"]),
    "GET /callback/": NOT_FOUND,
    "GET /Callback": NOT_FOUND,
    "GET /callback%0A": NOT_FOUND,
    "HEAD /callback": (404, ""),
    "POST /start": NOT_FOUND,
}


@pytest.mark.parametrize("request_line", RESPONSES)
def test_only_decoded_routes_reach_functions(request_line: str) -> None:
    browser = client(lambda event, context: [context.function_name, event["rawPath"]])
    response = browser.request(*request_line.split())
    assert (response.status_code, response.text and response.json()) == RESPONSES[request_line]


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
