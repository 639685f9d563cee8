"""Coverage-guided fuzzing of both handlers: raw payload-2.0 events, and what must hold of answers.

By hand, for as long as one likes (it takes libFuzzer's options, and writes what reaches more code
into the folder): `.venv/bin/python -m tests.fuzz.target tests/fuzz/corpus >/dev/null`

An input is text. Its first line names an event of tests/requests/, its second is the raw query, its
third the cookies; each further line is a header. `{state}` and `{cookie}` stand for what a live
flow has.
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
MODULES = sorted(it.stem for it in CODE_ROOT.iterdir())
STATUSES = {"start": {302, 400, 503}, "callback": {303, 503}}
STATUSES["outcome"] = {200, 400, 403, 404, 410, 503}
HEADERS = {"Cache-Control", "Referrer-Policy", "Strict-Transport-Security"}


class Services:
    """What DynamoDB and SNS answer real clients, without a network: a fuzzer needs many a second.

    Only what the pair asks of them; tests/integration asks a whole AWS the same.
    """

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.published: list[dict[str, Any]] = []
        self.calls = 0

    def respond(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Answer *request* in the place of a network (botocore's ``before-send``)."""
        self.calls += 1
        body = _text(request.body)
        operation = _text(request.headers.get("X-Amz-Target", "")).rpartition(".")[2]
        if operation == "PutItem":
            item = json.loads(body)["Item"]
            self.items[item["state"]["S"]] = item
            return _answer(request, 200, "{}")
        if operation == "DeleteItem":
            return self._delete(request, json.loads(body))
        [message] = parse_qs(body)["Message"]
        self.published.append(json.loads(message))
        result = "<PublishResult><MessageId>1</MessageId></PublishResult>"
        return _answer(request, 200, f"<PublishResponse>{result}</PublishResponse>")

    def _delete(self, request: AWSPreparedRequest, call: dict[str, Any]) -> AWSResponse:
        item = self.items.get(call["Key"]["state"]["S"])
        values = call["ExpressionAttributeValues"]
        refused = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}
        if item is None:
            return _answer(request, 400, json.dumps(refused))
        equal = ("browser_hash", "environment", "client_id")
        alive = int(item["expires_at"]["N"]) > int(values[":now"]["N"])
        if not alive or any(item[name] != values[f":{name}"] for name in equal):
            return _answer(request, 400, json.dumps(refused | {"Item": item}))
        del self.items[call["Key"]["state"]["S"]]
        return _answer(request, 200, json.dumps({"Attributes": item}))


def _answer(request: AWSPreparedRequest, status: int, body: str) -> AWSResponse:
    class Raw:
        def stream(self, **_: object) -> list[bytes]:
            return [body.encode()]

    return AWSResponse(request.url, status, HTTPHeaders(), Raw())


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


services = Services()
# Before any session is made: each takes what is listed there.
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
    import pages.rendering  # noqa: F401 - imported when the first page is due, which is too late
    from callback.handler import handler as callback
    from start.handler import handler as start
HANDLERS = {"start": start, "callback": callback, "outcome": callback}


def _event(name: str, query: str, cookies: str = "", *headers: str) -> dict[str, Any]:
    event: dict[str, Any] = copy.deepcopy(REQUESTS[name])
    event["rawQueryString"] = query
    event["cookies"] = [it.strip() for it in cookies.split(";")]
    for header in headers:
        field, _, value = header.partition(":")
        event["headers"][field.strip().lower()] = value.strip()
    return event


def _invoke(name: str, event: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = json.loads(json.dumps(HANDLERS[name](event, LambdaContext(name))))
    return response


def check(data: bytes) -> None:
    """Send the event that *data* describes, and assert what must hold of any answer."""
    services.__init__()  # type: ignore[misc]
    started = _invoke("start", _event("start", "context=ctx-1"))
    [state] = services.items
    cookie = started["cookies"][0].partition(";")[0]
    text = data.decode("utf-8", "surrogateescape")
    text = text.replace("{state}", state).replace("{cookie}", cookie)
    name, query, cookies, *headers = [*text.split("\n"), "", "", ""][: max(3, text.count("\n") + 1)]
    if name not in HANDLERS:
        name = "callback"
    event = _event(name, query, cookies, *headers)
    before = services.calls

    response = _invoke(name, event)

    assert response["statusCode"] in STATUSES[name], response
    assert response["headers"].keys() >= HEADERS
    assert "Traceback" not in response.get("body", "")
    location = response["headers"].get("Location", "")
    assert re.fullmatch(r"[!-~]*", location), location
    if name == "callback":
        assert state not in location
        owner = browser_cookies.read_browser(event) == cookie.partition("=")[2]
        assert bool(services.published) <= owner
        assert len(services.published) == (state not in services.items)
        assert ("outcome=" in location) <= bool(services.published)
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
