"""Coverage-guided fuzzing of both handlers with raw payload-2.0 requests.

To run it by hand until Ctrl-C: `.venv/bin/python -m tests.fuzz.target tests/fuzz/corpus >/dev/null`
It accepts libFuzzer's options, and adds inputs that reach more code to the folder.

An input is text. Its first line names a request of tests/requests/, its second is the raw query,
its third the cookies; each further line is a header. `{state}` and `{cookie}` become the values of
a live flow.
"""

import copy
import json
import os
import re
import sys
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, quote, urlsplit

import atheris
import botocore.handlers
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from demo.gateway import LambdaContext
from demo.local_aws import scrubbed_environment
from demo.template import ROOT

CODE_ROOT = ROOT / "functions"
sys.path.insert(0, str(CODE_ROOT))
MODULES = sorted(path.stem for path in CODE_ROOT.iterdir())
STATUSES = {"start": {302, 400, 503}, "callback": {303, 503}}
STATUSES["outcome"] = {200, 400, 403, 404, 410, 503}
CONDITION_FAILED = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
HEADERS = {"Cache-Control", "Referrer-Policy", "Strict-Transport-Security"}


class Services:
    """Mocks of DynamoDB and SNS for real clients, without a network, so that fuzzing is fast.

    They support only the connector's calls, which tests/integration makes to the local AWS.
    """

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.published: list[dict[str, Any]] = []
        self.calls = 0

    def respond(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Return the AWS response to *request* (botocore's ``before-send`` handler)."""
        self.calls += 1
        body = _text(request.body)
        operation = _text(request.headers.get("X-Amz-Target", "")).rpartition(".")[2]
        if operation:
            response = self._dynamodb(operation, json.loads(body))
            status = 400 if "__type" in response else 200
            return _aws_response(request, status, json.dumps(response))
        [message] = parse_qs(body)["Message"]
        self.published.append(json.loads(message))
        result = "<PublishResult><MessageId>1</MessageId></PublishResult>"
        return _aws_response(request, 200, f"<PublishResponse>{result}</PublishResponse>")

    def _dynamodb(self, operation: str, call: dict[str, Any]) -> dict[str, Any]:
        key = (call.get("Key") or call["Item"])["state"]["S"]
        item = self.items.get(key, {})
        values = call.get("ExpressionAttributeValues", {})
        stored = {"Item": item} if item else {}
        match operation:
            case "GetItem":
                return stored
            case "PutItem" if not item:
                self.items[key] = call["Item"]
                return {}
            case "UpdateItem" if _can_be_claimed(item, values):
                self.items[key] = item | {"response_hash": values[":response_hash"]}
                return {"Attributes": item}
            case "DeleteItem" if item.get("response_hash") == values[":response_hash"]:
                del self.items[key]
                return {}
        return {"__type": CONDITION_FAILED, **stored}


def _can_be_claimed(item: dict[str, Any], values: dict[str, Any]) -> bool:
    """Tell whether an item that was not claimed before fulfils the condition of the claim."""
    equal = ("browser_hash", "environment", "client_id")
    is_own = all(item.get(name) == values[f":{name}"] for name in equal)
    return is_own and int(item["expires_at"]["N"]) > int(values[":now"]["N"])


def _aws_response(request: AWSPreparedRequest, status: int, body: str) -> AWSResponse:
    class Raw:
        def stream(self, **_: object) -> list[bytes]:
            return [body.encode()]

    return AWSResponse(request.url, status, HTTPHeaders(), Raw())


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


services = Services()
# Each session copies this list when it is created, so the handler must be added before.
botocore.handlers.BUILTIN_HANDLERS.append(("before-send", services.respond))
with atheris.instrument_imports(include=MODULES):
    from tests.integration.connector import PARAMETERS, REDIRECT_URI, REQUESTS
with (
    patch.dict(
        os.environ,
        scrubbed_environment("http://127.0.0.1:9", "local")
        | {
            "QONTO_ENVIRONMENT": PARAMETERS["QontoEnvironment"],
            "CLIENT_ID": PARAMETERS["ClientId"],
            "SCOPE": PARAMETERS["Scope"],
            "RETURN_URLS": PARAMETERS["ReturnUrls"],
            "REDIRECT_URI": REDIRECT_URI,
            "TABLE_NAME": "table",
            "TOPIC_ARN": "arn:aws:sns:eu-west-3:000000000000:topic",
        },
    ),
    atheris.instrument_imports(include=MODULES),
):
    import cookies as browser_cookies
    import pages.rendering  # noqa: F401 - else imported with the first page, uninstrumented
    from callback.handler import handler as callback
    from start.handler import handler as start
HANDLERS = {"start": start, "callback": callback, "outcome": callback}


def _request(name: str, query: str, cookies: str = "", *headers: str) -> dict[str, Any]:
    request: dict[str, Any] = copy.deepcopy(REQUESTS[name])
    request["rawQueryString"] = query
    request["cookies"] = [cookie.strip() for cookie in cookies.split(";")]
    for header in headers:
        field, _, value = header.partition(":")
        request["headers"][field.strip().lower()] = value.strip()
    return request


def _invoke(name: str, request: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = json.loads(json.dumps(HANDLERS[name](request, LambdaContext(name))))
    return response


def check(data: bytes) -> None:
    """Send the request that *data* describes, and check the response."""
    services.__init__()  # type: ignore[misc]
    started = _invoke("start", _request("start", "context=ctx-1"))
    [state] = services.items
    cookie = started["cookies"][0].partition(";")[0]
    text = data.decode("utf-8", "surrogateescape")
    text = text.replace("{state}", state).replace("{cookie}", cookie)
    name, query, cookies, *headers = [*text.split("\n"), "", "", ""][: max(3, text.count("\n") + 1)]
    if name not in HANDLERS:
        name = "callback"
    request = _request(name, query, cookies, *headers)
    before = services.calls

    response = _invoke(name, request)

    assert response["statusCode"] in STATUSES[name], response
    assert response["headers"].keys() >= HEADERS
    assert "Traceback" not in response.get("body", "")
    location = response["headers"].get("Location", "")
    assert re.fullmatch(r"[!-~]*", location), location
    if name == "callback":
        assert state not in location
        owner = browser_cookies.read_browser(request) == cookie.partition("=")[2]
        assert bool(services.published) <= owner
        published = len(services.published)
        assert published == (state not in services.items) == (f"used.{state}" in services.items)
        assert ("outcome=" in location) <= bool(published)
        assert _invoke(name, request) == response
        assert len(services.published) == published
    if name == "start":
        assert services.calls - before == (response["statusCode"] == 302)
        assert bool(response.get("cookies")) == (response["statusCode"] == 302)
        assert quote(REDIRECT_URI, safe="") in location or response["statusCode"] != 302
        assert urlsplit(location).hostname in {"oauth-sandbox.staging.qonto.co", None}
    if name == "outcome":
        assert services.calls == before


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
