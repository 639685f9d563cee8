"""A run of every outcome writes no secret to its logs, metrics and traces."""

import copy
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from secrets import token_urlsafe
from time import time
from urllib.parse import quote, quote_plus

import pytest

from demo.gateway import LambdaContext
from demo.local_aws import LocalAws
from tests.support.connector import PARAMETERS, REDIRECT_URI, REQUESTS, Browser, Connector
from tests.support.faults import Fault, FaultProxy
from tests.support.lambda_runtime import ExecutionEnvironment, start_function

MOST_VERBOSE = {
    **dict.fromkeys(("AWS_LAMBDA_LOG_LEVEL", "LOG_LEVEL", "POWERTOOLS_LOG_LEVEL"), "DEBUG"),
    **dict.fromkeys(("POWERTOOLS_DEBUG", "POWERTOOLS_DEV", "POWERTOOLS_LOGGER_LOG_EVENT"), "true"),
    "POWERTOOLS_TRACER_CAPTURE_ERROR": "true",
    "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "true",
}
NOW = int(time())  # the local AWS removes expired items every minute


def encodings(text: str) -> Iterator[str]:
    """Yield *text* in each encoding in which a log may contain it."""
    yield text
    yield quote(text, safe="")
    yield quote_plus(text)
    yield quote(quote(text, safe=""), safe="")
    yield text.encode().hex()
    yield json.dumps(text)[1:-1]
    yield json.dumps(json.dumps(text)[1:-1])[1:-1]
    yield repr(text)[1:-1]
    for before in range(3):
        raw = b"\0" * before + text.encode()
        for encode in (b64encode, urlsafe_b64encode):
            # Drop the characters that also encode bits of the neighbouring bytes.
            yield encode(raw).decode()[-(-before * 8 // 6) : len(raw) * 8 // 6]


class Visitor(Browser):
    """A browser that remembers its secrets, and the statuses of its callbacks."""

    def __init__(self, connector: Connector) -> None:
        super().__init__(connector)
        self.secrets: set[str] = set()
        self.statuses: set[int] = set()

    def begin(self) -> str:
        """Start a flow and return its state."""
        state = self.started(at=NOW, context=f"context-{token_urlsafe(8)}")
        item = self.connector.item(state) or {}
        names = ("state", "authorization_id", "browser_hash", "code_verifier")
        self.secrets.update([item[name] for name in names], self.cookies.values())
        return state

    def code(self) -> str:
        """Return a code with characters that URLs, JSON, HTML and Python escape."""
        self.secrets.add(code := f"ory_ac_{token_urlsafe(32)} +/\"\\&%<'>{token_urlsafe(32)}")
        return code

    def come_back(self, state: str, code: str = "", seconds: int = 0) -> None:
        """Request ``/callback`` with *code* or a new one, *seconds* after the start."""
        response = self.granted(state, code=code or self.code(), at=NOW + seconds)
        self.statuses.add(response.status)
        if "?" in response.headers.get("Location", ""):
            self.secrets.add(response.location)


def visit_every_outcome(visitor: Visitor, stranger: Visitor) -> None:
    """Make requests that end in each outcome without a fault."""
    state, code = visitor.begin(), visitor.code()
    for seconds in (0, 0, 600):  # granted, repeated, used
        visitor.come_back(state, code, seconds)
    visitor.failed(visitor.begin(), error_description="a, b", at=NOW)
    visitor.come_back(visitor.begin(), seconds=3600)  # expired
    state = visitor.begin()
    stranger.come_back(state)  # without a cookie
    stranger.start(at=NOW)
    stranger.come_back(state)
    visitor.request("callback", f"state={state}&code={quote(visitor.code())}&error=x", at=NOW)
    visitor.request("start", f"context={quote(visitor.code())}", at=NOW)
    # API Gateway always sends timeEpoch; without it, the function raises a KeyError.
    request = copy.deepcopy(REQUESTS["callback"])
    request["rawQueryString"] = f"state={visitor.begin()}&code={quote(visitor.code())}"
    request["cookies"] = [f"{name}={value}" for name, value in visitor.cookies.items()]
    del request["requestContext"]["timeEpoch"]
    visitor.connector.callback(request, LambdaContext("callback"))


def visit_every_fault(visitor: Visitor, proxy: FaultProxy) -> None:
    """Let each call fail: AWS refuses it, or its response is lost, cut off or not AWS's own."""
    calls = ("PutItem", "UpdateItem", "GetItem", "Publish", "DeleteItem")
    faults = (Fault.DENIED, Fault.LOST, Fault.SHORTENED, Fault.MALFORMED)
    for call, fault in product(calls, faults):
        state, code = visitor.begin(), visitor.code()
        if call == "GetItem":
            visitor.come_back(state, code)
        proxy.inject(call, fault)
        if call == "PutItem":
            visitor.start(at=NOW)
        visitor.come_back(state, code)
        proxy.clear()
        visitor.come_back(state)  # repeated or in flight


@pytest.mark.claim("S24", "T1", "T9")
def test_output_of_every_outcome_contains_no_secret(
    aws: LocalAws, packages: dict[str, Path]
) -> None:
    stack = aws.deploy({**PARAMETERS, "Pkce": "S256"})
    with FaultProxy(aws.endpoint_url) as proxy, ExitStack() as block:
        connector, processes = Connector(aws, stack), list[ExecutionEnvironment]()
        for name, package in packages.items():
            environment = stack.environment[name] | aws.client_variables | proxy.endpoints
            environment |= {"REDIRECT_URI": REDIRECT_URI} | MOST_VERBOSE
            processes.append(block.enter_context(start_function(name, package, environment)))
        start, callback = processes
        connector.start = lambda request, _context: start.invoke(request)
        connector.callback = lambda request, _context: callback.invoke(request)
        visitor, stranger = Visitor(connector), Visitor(connector)
        visit_every_outcome(visitor, stranger)
        visit_every_fault(visitor, proxy)
        written = "\n".join(each.stdout + each.stderr for each in processes)

    assert visitor.statuses == {303, 409, 503}
    assert stranger.statuses == {303}
    assert "Authorization granted" in written
    assert "KeyError" in written
    secrets = visitor.secrets | stranger.secrets
    parts = {part for secret in secrets for part in (secret, secret[:16], secret[-16:])}
    assert not [part for part in parts if any(text in written for text in encodings(part))]
