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
from urllib.parse import parse_qsl, quote, urlsplit

import atheris
import botocore.handlers
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from demo.gateway import LambdaContext
from demo.local_aws import scrubbed_environment
from demo.template import ROOT
from tests.fake_aws import ConditionFailedError, FakeAws

CODE_ROOT = ROOT / "functions"
sys.path.insert(0, str(CODE_ROOT))
MODULES = sorted(path.stem for path in CODE_ROOT.iterdir())
STATUSES = {"start": {302, 400, 425}, "callback": {303, 425}}
STATUSES["outcome"] = {200, 400, 403, 404, 410, 425}
TABLE_NAME = "table"
CONDITION_FAILED = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
HEADERS = {"Cache-Control", "Referrer-Policy", "Strict-Transport-Security"}


class Services:
    """Responds for DynamoDB and SNS to real clients, without a network, so that fuzzing is fast."""

    def __init__(self) -> None:
        self._aws = FakeAws(TABLE_NAME)
        self.items = self._aws.table
        self.published = self._aws.events
        self.calls = 0

    def respond(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Return the AWS response to *request* (botocore's ``before-send`` handler)."""
        self.calls += 1
        body = _text(request.body)
        operation = _text(request.headers.get("X-Amz-Target", "")).rpartition(".")[2]
        if not operation:
            self._aws.apply("publish", dict(parse_qsl(body)))
            result = "<PublishResult><MessageId>1</MessageId></PublishResult>"
            return _aws_response(request, 200, f"<PublishResponse>{result}</PublishResponse>")
        try:
            response = self._aws.apply(xform_name(operation), json.loads(body))
        except ConditionFailedError as error:
            item = {name: it for name, it in error.response.items() if name == "Item"}
            return _aws_response(request, 400, json.dumps({"__type": CONDITION_FAILED, **item}))
        return _aws_response(request, 200, json.dumps(response))


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
            "TABLE_NAME": TABLE_NAME,
            "TOPIC_ARN": "arn:aws:sns:eu-west-3:000000000000:topic",
        },
    ),
    atheris.instrument_imports(include=MODULES),
):
    import cookies as browser_cookies
    import pages.rendering  # noqa: F401 - else imported with the first page, uninstrumented
    from callback.handler import handler as callback
    from start.handler import handler as start
    from tests.contract.delivered import SQS_TEXT
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
    assert re.fullmatch(r"([!-~]+#_?)?", location), location
    assert SQS_TEXT.fullmatch(json.dumps(services.published, ensure_ascii=False))
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
