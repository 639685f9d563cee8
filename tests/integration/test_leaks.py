"""A run of every outcome writes no secret to its logs, metrics, traces and access log."""

import copy
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_urlsafe
from time import time
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest

from demo import template as infra
from demo.gateway import LambdaContext
from demo.local_aws import LocalAws, Stack
from tests.integration.connector import PARAMETERS, REQUESTS, Browser, Connector
from tests.integration.faults import Fault, FaultProxy, fault_proxies
from tests.integration.kills import FUNCTIONS, variables
from tests.lambda_runtime import ExecutionEnvironment, FunctionError, InitError, start_function

MOST_VERBOSE = {
    "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
    "LOG_LEVEL": "DEBUG",
    "POWERTOOLS_DEBUG": "true",
    "POWERTOOLS_DEV": "true",
    "POWERTOOLS_LOGGER_LOG_EVENT": "true",
    "POWERTOOLS_LOGGER_SAMPLE_RATE": "1",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
    "POWERTOOLS_TRACER_CAPTURE_ERROR": "true",
    "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "true",
}
EVERY_OUTCOME = {
    "200 ",
    "302 https://oauth-sandbox.staging.qonto.co/oauth2/auth",
    "303 /callback/invalid-request",
    "303 /callback/other-browser",
    "303 /callback/used",
    "303 https://app.example.com/connected",
    "400 ",
    "409 ",
    "503 ",
}


class Run(Connector):
    """The built packages with all debug output, behind an API Gateway with its access log."""

    def __init__(self, aws: LocalAws, stack: Stack) -> None:
        """Use *stack*; the fixture `run` starts the functions."""
        self.aws, self.stack = aws, stack
        self.processes: dict[str, ExecutionEnvironment] = {}
        self.access_log: list[str] = []
        self.secrets: set[str] = set()
        self.locations: set[str] = set()
        self.visited: list[str] = []
        self.start = self.callback = self._invoke

    def _invoke(self, request: dict[str, Any], _context: object) -> dict[str, Any]:
        function = "StartFunction" if request["routeKey"] == "GET /start" else "CallbackFunction"
        error = "-"
        try:
            response: dict[str, Any] = self.processes[function].invoke(request)
        except FunctionError as failed:
            response = {"statusCode": 500, "headers": {}, "body": ""}
            error = str(failed)
        self.access_log.append(access_log_line(request, response, error))
        location = response["headers"].get("Location", "")
        self.locations |= {location} if "?" in location else set()
        self.visited.append(f"{response['statusCode']} {re.split('[?#]', location)[0]}")
        return response

    def started(self, browser: Browser, now: int) -> str:
        """Follow the link to /start and return the state."""
        state = browser.started(at=now, context=f"context-{token_urlsafe(8)}")
        item = self.item(state)
        assert item
        names = ("authorization_id", "browser_hash", "code_verifier")
        self.secrets |= {state, *(item[name] for name in names)}
        self.secrets |= set(browser.cookies.values())
        return state

    def code(self) -> str:
        """Return a code with characters that URLs, JSON, HTML and Python escape."""
        self.secrets.add(code := f"ory_ac_{token_urlsafe(32)} +/\"\\&%<'>{token_urlsafe(32)}")
        return code

    def written(self) -> str:
        """Return the output of both functions and the access log."""
        processes = self.processes.values()
        return "\n".join([*(each.stdout + each.stderr for each in processes), *self.access_log])


def access_log_line(request: dict[str, Any], response: dict[str, Any], error: str) -> str:
    """Return the line that the template's access log has for *request*."""
    [stage] = infra.resources(infra.load(), "AWS::ApiGatewayV2::Stage").values()
    context = request["requestContext"]
    known = {
        "error.responseType": "-",
        "httpMethod": context["http"]["method"],
        "identity.sourceIp": context["http"]["sourceIp"],
        "identity.userAgent": context["http"]["userAgent"],
        "integration.integrationStatus": "200",
        "integration.latency": "10",
        "integration.requestId": "d0a1b2c3",
        "integrationErrorMessage": error,
        "path": request["rawPath"],
        "protocol": context["http"]["protocol"],
        "requestId": context["requestId"],
        "requestTime": context["time"],
        "responseLatency": "12",
        "responseLength": str(len(response.get("body", ""))),
        "routeKey": request["routeKey"],
        "status": str(response["statusCode"]),
    }
    line: str = stage["Properties"]["AccessLogSettings"]["Format"]
    return re.sub(r"\$context\.([A-Za-z.]+)", lambda found: known[found[1]], line)


def encodings(text: str) -> Iterator[str]:
    """Yield *text* in each encoding in which a log may contain it."""
    yield text
    yield quote(text, safe="")
    yield quote_plus(text)
    yield quote(quote(text, safe=""), safe="")
    yield "".join(f"%{byte:02X}" for byte in text.encode())
    yield "".join(f"%{byte:02x}" for byte in text.encode())
    yield text.encode().hex()
    yield json.dumps(text)[1:-1]
    yield json.dumps(json.dumps(text)[1:-1])[1:-1]
    yield "".join(f"\\u{ord(character):04x}" for character in text)
    yield repr(text)[1:-1]
    for before in range(3):
        raw = b"\0" * before + text.encode()
        for encode in (b64encode, urlsafe_b64encode):
            # Drop the characters that also encode bits of the neighbouring bytes.
            yield encode(raw).decode()[-(-before * 8 // 6) : len(raw) * 8 // 6]


def leaks(written: str, secrets: Iterable[str]) -> set[str]:
    """Return those *secrets* that *written* contains in any encoding."""
    return {secret for secret in secrets if any(text in written for text in encodings(secret))}


@pytest.fixture
def run(aws: LocalAws, packages: dict[str, Path], proxy: FaultProxy) -> Iterator[Run]:
    """Both functions, started and not yet invoked."""
    found = Run(aws, aws.deploy({**PARAMETERS, "Pkce": "S256"}))
    with ExitStack() as block:
        for function in FUNCTIONS.values():
            environment = (
                variables(found.aws, found.stack, function) | proxy.endpoints | MOST_VERBOSE
            )
            found.processes[function] = block.enter_context(
                start_function(function, packages[function], environment)
            )
        yield found


@pytest.fixture
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    """A proxy that makes AWS calls fail."""
    with fault_proxies(aws, microburst, 1) as [found]:
        yield found


def test_output_of_every_outcome_contains_no_secret(run: Run, proxy: FaultProxy) -> None:
    now = int(time())  # the local AWS removes expired items every minute
    browser = Browser(run)

    state = run.started(browser, now)
    code = run.code()
    browser.granted(state, code=code, at=now)
    browser.granted(state, code=code, at=now)  # repeated
    browser.granted(state, code=code, at=now + 600)  # used
    browser.failed(run.started(browser, now), error_description="a, b", at=now)
    browser.failed(run.started(browser, now), error="server_error", at=now)
    browser.granted(run.started(browser, now), code=run.code(), at=now + 3600)  # expired
    state = run.started(browser, now)
    run.started(other := Browser(run), now)
    other.granted(state, code=run.code(), at=now)
    Browser(run).granted(state, code=run.code(), at=now)  # no cookie
    browser.request("callback", f"state={state}&code={quote(run.code())}&error=x", at=now)
    browser.request("callback", f"state={state}&state={state}", at=now)
    browser.start(at=now, context=run.code())  # refused
    browser.request("start", f"return_to={quote(run.code())}", at=now)
    browser.request("outcome", "reference=0123abcd", outcome="granted")
    for call in ("PutItem", "UpdateItem", "GetItem", "Publish", "DeleteItem"):
        for fault in (
            Fault.DENIED,
            Fault.LOST,
            Fault.SHORTENED,
            Fault.MALFORMED,
            Fault.FAILED_LATE,
        ):
            state, code = run.started(browser, now), run.code()
            if call == "GetItem":
                browser.granted(state, code=code, at=now)
            proxy.inject(call, fault)
            if call == "PutItem":
                browser.start(at=now)
            browser.granted(state, code=code, at=now)
            proxy.clear()
            browser.granted(state, code=run.code(), at=now)  # repeated or in flight
    # API Gateway always sends timeEpoch; without it, the function raises a KeyError.
    request = copy.deepcopy(REQUESTS["callback"])
    request["rawQueryString"] = f"state={run.started(browser, now)}&code={quote(run.code())}"
    del request["requestContext"]["timeEpoch"]
    request["cookies"] = [f"{name}={value}" for name, value in browser.cookies.items()]
    run.callback(request, LambdaContext("callback"))

    written = run.written()
    assert set(run.visited) >= EVERY_OUTCOME
    assert "Authorization granted" in written
    assert "KeyError" in written
    assert len(run.access_log) == len(run.visited)
    parts = {part for secret in run.secrets for part in (secret, secret[:16], secret[-16:])}
    assert leaks(written, parts | run.locations) == set()


def test_invalid_setting_is_named_without_its_value(
    aws: LocalAws, packages: dict[str, Path]
) -> None:
    stack = aws.deploy(PARAMETERS)
    secret = f"https://user:{token_urlsafe(32)}@app.example/"
    wrong = variables(aws, stack, "StartFunction") | MOST_VERBOSE | {"RETURN_URLS": secret}

    with start_function("StartFunction", packages["StartFunction"], wrong) as process:
        with pytest.raises(InitError) as refused:
            process.wait_until_initialised()
        written = process.stdout + process.stderr + str(refused.value)

    assert "RETURN_URLS" in written
    assert leaks(written, {secret}) == set()


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_secret_inside_encoded_text_is_found(before: str) -> None:
    secret = 'sec+ret "of this" run/0123456789'

    text = f"{before}{secret} and more"

    for written in (
        b64encode(text.encode()).decode(),
        json.dumps({"message": text}),
        urlencode({"code": text}),
        text.encode().hex(),
        repr({"code": text}),
    ):
        assert leaks(written, {secret}) == {secret}
