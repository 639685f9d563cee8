"""A run of every outcome writes no secret to its logs, metrics and traces."""

import copy
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_urlsafe
from time import time
from urllib.parse import quote, quote_plus

import pytest

from demo.gateway import LambdaContext
from demo.local_aws import LocalAws
from tests.integration.outcomes import Deployed, variables
from tests.support.connector import PARAMETERS, REQUESTS, Browser
from tests.support.faults import Fault, FaultProxy
from tests.support.lambda_runtime import InitError, start_function
from tests.support.packages import VARIABLES

MOST_VERBOSE = dict.fromkeys(
    ("AWS_LAMBDA_LOG_LEVEL", "LOG_LEVEL", "POWERTOOLS_LOG_LEVEL"), "DEBUG"
) | dict.fromkeys(
    (
        "POWERTOOLS_DEBUG",
        "POWERTOOLS_DEV",
        "POWERTOOLS_LOGGER_LOG_EVENT",
        "POWERTOOLS_TRACER_CAPTURE_ERROR",
        "POWERTOOLS_TRACER_CAPTURE_RESPONSE",
    ),
    "true",
)
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


def leaks(written: str, secrets: Iterable[str]) -> set[str]:
    """Return those *secrets* that *written* contains in any encoding."""
    return {secret for secret in secrets if any(text in written for text in encodings(secret))}


class Visits:
    """Requests of two browsers, and the secrets that they hold."""

    def __init__(self, connector: Deployed) -> None:
        self.browser, self.other = Browser(connector), Browser(connector)
        self.secrets: set[str] = set()
        self.statuses: set[int] = set()

    def started(self) -> str:
        """Start a flow and return its state."""
        state = self.browser.started(at=NOW, context=f"context-{token_urlsafe(8)}")
        item = self.browser.connector.item(state) or {}
        names = ("state", "authorization_id", "browser_hash", "code_verifier")
        self.secrets.update([item[name] for name in names], self.browser.cookies.values())
        return state

    def code(self) -> str:
        """Return a code with characters that URLs, JSON, HTML and Python escape."""
        self.secrets.add(code := f"ory_ac_{token_urlsafe(32)} +/\"\\&%<'>{token_urlsafe(32)}")
        return code

    def granted(self, state: str, code: str, at: int = NOW, browser: Browser | None = None) -> None:
        """Request ``/callback``, and remember where the response redirects to."""
        response = (browser or self.browser).granted(state, code=code, at=at)
        self.statuses.add(response.status)
        if "?" in response.headers.get("Location", ""):
            self.secrets.add(response.location)

    def every_outcome(self) -> None:
        """Make requests that end in each outcome without a fault."""
        state, code = self.started(), self.code()
        for seconds in (0, 0, 600):  # granted, repeated, used
            self.granted(state, code, at=NOW + seconds)
        self.browser.failed(self.started(), error_description="a, b", at=NOW)
        self.granted(self.started(), self.code(), at=NOW + 3600)  # expired
        state = self.started()
        self.granted(state, self.code(), browser=self.other)  # without a cookie
        self.other.start(at=NOW)
        self.granted(state, self.code(), browser=self.other)
        self.browser.request("callback", f"state={state}&code={quote(self.code())}&error=x", at=NOW)
        self.browser.request("start", f"context={quote(self.code())}", at=NOW)
        # API Gateway always sends timeEpoch; without it, the function raises a KeyError.
        request = copy.deepcopy(REQUESTS["callback"])
        request["rawQueryString"] = f"state={self.started()}&code={quote(self.code())}"
        request["cookies"] = [f"{name}={value}" for name, value in self.browser.cookies.items()]
        del request["requestContext"]["timeEpoch"]
        self.browser.connector.callback(request, LambdaContext("callback"))

    def every_fault(self, proxy: FaultProxy) -> None:
        """Let each call fail in ways of AWS, of the network and of what is between."""
        for call in ("PutItem", "UpdateItem", "GetItem", "Publish", "DeleteItem"):
            for fault in (Fault.DENIED, Fault.LOST, Fault.SHORTENED, Fault.MALFORMED):
                state, code = self.started(), self.code()
                if call == "GetItem":
                    self.granted(state, code)
                proxy.inject(call, fault)
                if call == "PutItem":
                    self.browser.start(at=NOW)
                self.granted(state, code)
                proxy.clear()
                self.granted(state, self.code())  # repeated or in flight


@pytest.mark.claim("S24", "T1", "T9")
def test_output_of_every_outcome_contains_no_secret(
    aws: LocalAws, microburst: str, packages: dict[str, Path]
) -> None:
    stack = aws.deploy({**PARAMETERS, "Pkce": "S256"})
    with FaultProxy(aws.endpoint_url, microburst) as proxy, ExitStack() as block:
        processes = {}
        for name, package in packages.items():
            environment = variables(aws, stack, name) | proxy.endpoints | MOST_VERBOSE
            processes[name] = block.enter_context(start_function(name, package, environment))
        visits = Visits(Deployed(aws, stack, processes))
        visits.every_outcome()
        visits.every_fault(proxy)
        written = "\n".join(each.stdout + each.stderr for each in processes.values())

    assert visits.statuses == {303, 409, 503}
    assert "Authorization granted" in written
    assert "KeyError" in written
    parts = {part for secret in visits.secrets for part in (secret, secret[:16], secret[-16:])}
    assert leaks(written, parts) == set()


@pytest.mark.claim("S24")
def test_invalid_setting_is_named_without_its_value(packages: dict[str, Path]) -> None:
    secret = f"https://user:{token_urlsafe(32)}@app.example/"
    environment = VARIABLES | MOST_VERBOSE | {"RETURN_URLS": secret}

    with start_function("StartFunction", packages["StartFunction"], environment) as process:
        with pytest.raises(InitError) as refused:
            process.wait_until_initialised()
        written = process.stdout + process.stderr + str(refused.value)

    assert "RETURN_URLS" in written
    assert leaks(written, {secret}) == set()
