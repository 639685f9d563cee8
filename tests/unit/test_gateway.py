"""The demo's gateway turns requests into API Gateway's events, and results into responses."""

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
    browser = client(lambda event, _: event)
    sent = [("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1; b"), ("Cookie", "c")]
    event = browser.get("/callback/other%20browser?a=1&b=%2C+%FF&a=2", headers=sent).json()
    APIGatewayProxyEventV2Model.model_validate(event)
    assert event["requestContext"]["routeKey"] == event["routeKey"] == "GET /callback/{outcome}"
    assert event["rawPath"] == "/callback/other browser"
    assert event["rawQueryString"] == "a=1&b=%2C+%FF&a=2"
    assert event["headers"] == {"host": "api.example.com:8001", "x-a": "1,2"}
    assert event["cookies"] == ["a=1", "b", "c"]
    assert event["queryStringParameters"] == {"a": "1,2", "b": ", \N{REPLACEMENT CHARACTER}"}
    assert event["pathParameters"] == {"outcome": "other browser"}
    omitted = {"cookies", "queryStringParameters", "pathParameters"}
    assert event.keys() - browser.get("/callback").json().keys() == omitted


NOT_FOUND = (404, {"message": "Not Found"})
RESPONSES = {  # with the path of the event, as captured from live HTTP APIs
    "GET /callback/question%3Fvalue": (200, "/callback/question"),
    "GET /callback/percent%25done": (400, {"message": "Bad Request"}),
    "GET /callback/unicode-%CE%BB": (200, "/callback/unicode-λ"),
    "GET /callback/literal%253Fvalue": (200, "/callback/literal?value"),
    "GET /callback/literal%2525value": (200, "/callback/literal%value"),
    "GET /callback/literal%252Fvalue": NOT_FOUND,  # decoded, it has another segment
    "GET /Callback": NOT_FOUND,
    "GET /callback%0A": NOT_FOUND,
    "HEAD /callback": (404, ""),
    "POST /start": NOT_FOUND,
}


@pytest.mark.parametrize("request_line", RESPONSES)
def test_only_decoded_routes_reach_functions(request_line: str) -> None:
    browser = client(lambda event, _: event["rawPath"])
    response = browser.request(*request_line.split())
    assert (response.status_code, response.text and response.json()) == RESPONSES[request_line]


def test_result_that_is_not_json_becomes_an_error() -> None:
    response = client(lambda *_: {"statusCode": 200, "body": b"bytes"}).get("/callback")
    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})


def test_request_line_and_headers_have_10240_bytes() -> None:
    browser = client(lambda *_: {"statusCode": 200})
    besides = len("GET /start? HTTP/1.1\r\nhost: api.example.com:8001\r\n")
    assert browser.get(f"/start?{'a' * (10_240 - besides)}").status_code == 200
    assert browser.get(f"/start?{'a' * (10_241 - besides)}").status_code == 431
