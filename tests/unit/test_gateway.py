"""The demo's gateway makes of a request what API Gateway's HTTP API makes of it."""

import json
from typing import Any

import pytest

from demo import gateway
from demo import template as infra


def event(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any part's own type
    """Return the event of a request for a clean page, with *changes* to the request."""
    request: dict[str, Any] = {
        "method": "GET",
        "path": "/callback/granted",
        "query": "a=1&b=%2C&a=2",
        "route_key": "GET /callback/{outcome}",
        "path_parameters": {"outcome": "granted"},
        "headers": [("Host", "api.example.com:8001"), ("User-Agent", "Browser/1")],
        "now": 1_700_000_000.123,
    }
    return gateway.payload_2_0(**request | changes)


def test_an_event_has_the_parts_that_aws_documents() -> None:
    actual = event()

    assert actual["requestContext"].pop("requestId")
    assert actual == {
        "version": "2.0",
        "routeKey": "GET /callback/{outcome}",
        "rawPath": "/callback/granted",
        "rawQueryString": "a=1&b=%2C&a=2",
        "headers": {"host": "api.example.com:8001", "user-agent": "Browser/1"},
        "queryStringParameters": {"a": "1,2", "b": ","},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": {
                "method": "GET",
                "path": "/callback/granted",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "Browser/1",
            },
            "routeKey": "GET /callback/{outcome}",
            "stage": "$default",
            "time": "14/Nov/2023:22:13:20 +0000",
            "timeEpoch": 1_700_000_000_123,
        },
        "pathParameters": {"outcome": "granted"},
        "isBase64Encoded": False,
    }


def test_what_a_request_has_not_its_event_has_not() -> None:
    bare = event(query="", path_parameters={}, headers=[])

    assert bare["rawQueryString"] == ""
    assert bare["headers"] == {}
    assert not {"cookies", "queryStringParameters", "pathParameters", "body"} & bare.keys()


def test_repeated_headers_are_joined_with_a_comma() -> None:
    assert event(headers=[("X-A", "1"), ("x-a", "2")])["headers"] == {"x-a": "1,2"}


def test_cookies_are_a_list_and_no_header() -> None:
    actual = event(headers=[("Cookie", "a=1; b=2"), ("Cookie", "c=x=y")])

    assert actual["cookies"] == ["a=1", "b=2", "c=x=y"]
    assert "cookie" not in actual["headers"]


def test_a_body_is_sent_as_base64() -> None:
    actual = event(body=b"\x00\xff")

    assert actual["body"] == "AP8="
    assert actual["isBase64Encoded"] is True


# As captured from live HTTP APIs: what was sent, what the function got.
@pytest.mark.parametrize(
    ("sent", "raw_path"),
    [
        ("/capture/plain", "/capture/plain"),
        ("/capture/space%20value", "/capture/space value"),
        ("/capture/question%3Fvalue", "/capture/question"),
        ("/capture/percent%25done", None),
        ("/capture/hash%23value", "/capture/hash#value"),
        ("/capture/slash%2Fvalue", "/capture/slash/value"),
        ("/capture/unicode-%CE%BB", "/capture/unicode-λ"),
        ("/capture/literal%252Fvalue", "/capture/literal/value"),
        ("/capture/literal%253Fvalue", "/capture/literal?value"),
        ("/capture/literal%2525value", "/capture/literal%value"),
    ],
)
def test_a_path_is_decoded_as_live_http_apis_decode_it(sent: str, raw_path: str | None) -> None:
    assert gateway.decoded(sent) == raw_path


def test_routes_are_those_of_the_template() -> None:
    assert gateway.routes(infra.load()) == {
        "GET /start": "StartFunction",
        "GET /callback": "CallbackFunction",
        "GET /callback/{outcome}": "CallbackFunction",
    }


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/callback", ("GET /callback", {})),
        ("GET", "/callback/a b", ("GET /callback/{outcome}", {"outcome": "a b"})),
        ("GET", "/callback/", None),
        ("GET", "/callback/a/b", None),
        ("GET", "/Callback", None),
        ("GET", "/callback\n", None),
        ("HEAD", "/callback", None),
        ("POST", "/callback", None),
    ],
)
def test_only_the_very_method_and_path_of_a_route_match(
    method: str, path: str, route: tuple[str, dict[str, str]] | None
) -> None:
    keys = gateway.routes(infra.load())

    assert gateway.match(keys, method, path) == route


def test_an_answer_becomes_http() -> None:
    response = gateway.http_response(
        {
            "statusCode": 303,
            "headers": {"Location": "/callback/granted"},
            "cookies": ["a=1; Path=/", "b=2"],
        }
    )

    assert response.status_code == 303
    assert response.headers["location"] == "/callback/granted"
    assert response.headers.getlist("set-cookie") == ["a=1; Path=/", "b=2"]
    assert response.body == b""


def test_an_encoded_body_is_decoded() -> None:
    answer = {"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}

    assert gateway.http_response(answer).body == b"\x00\xff"


def test_an_answer_without_a_status_is_the_body_itself() -> None:
    response = gateway.http_response({"message": "hello"})

    assert response.status_code == 200
    assert json.loads(bytes(response.body)) == {"message": "hello"}


def test_an_answer_that_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        gateway.http_response({"statusCode": 200, "body": b"bytes"})
