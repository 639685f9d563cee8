"""Prints a function's responses and its signed AWS requests, byte for byte, as JSON.

This is a program of its own, so that it can run on a package alone. It reads from standard input
the import path, the function's folder, and flows: a request, and the AWS response to each call.
Nothing is sent. The time and all random values are fixed.
"""

import json
import os
import sys
from datetime import datetime
from importlib import import_module
from types import SimpleNamespace
from typing import Any

os.urandom = lambda size: b"r" * size  # before other modules import it
given = json.load(sys.stdin)
sys.path[:0] = given["path"]
printed, sys.stdout = sys.stdout, sys.stderr  # the functions log

auth: Any = import_module("botocore.auth")
awsrequest: Any = import_module("botocore.awsrequest")
httpsession: Any = import_module("botocore.httpsession")
requests: list[dict[str, object]] = []
responses: list[tuple[int, str]] = []


def send(_session: object, request: Any) -> object:  # noqa: ANN401 - botocore's own type
    """Record *request*, and return the next AWS response of the flow."""
    requests.append(
        {
            "method": request.method,
            "url": request.url,
            "headers": [[name, str(value)] for name, value in request.headers.items()],
            "body": str(request.body),
        }
    )
    status, text = responses.pop(0)
    response = awsrequest.AWSResponse(request.url, status, {}, None)
    response._content = text.encode()  # noqa: SLF001 - there is no stream to read
    return response


httpsession.URLLib3Session.send = send
auth.get_current_datetime = lambda: datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001
context = SimpleNamespace(
    function_name="f", memory_limit_in_mb=1, invoked_function_arn="arn", aws_request_id="id"
)
handler = import_module(f"{given['folder']}.handler").handler
flows = []
for flow in given["flows"]:
    requests, responses = [], flow["responses"]
    flows.append({"response": handler(flow["request"], context), "requests": requests})
json.dump(flows, printed)
