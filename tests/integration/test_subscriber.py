"""The example subscriber exchanges the code of each confirmed authorization, at most once."""

import json
import logging
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo.gateway import LambdaContext
from demo.qonto import ORGANIZATIONS
from demo.template import ROOT
from tests.support.subscription import (
    CLIENT_SECRET,
    NOWHERE,
    SCOPE,
    SECRET,
    STAGING_TOKEN,
    Capture,
    Event,
    Example,
    confirmation_of,
    granted,
    lambda_event,
    later_than,
    read_output,
    rfc3339,
    unknown_code,
)

pytestmark = pytest.mark.usefixtures("qonto")

HOUR = 3600
OTHER = ORGANIZATIONS[1]

type Outcome = tuple[str, str | None, set[str]]
# The status of the grant, the one that the app reads, and the secrets that are kept.
HELD = "held", None, {"code"}
UNCONFIRMED = "held", "pending", {"code"}
CONNECTED = "connected", "connected", {"tokens"}
REPUDIATED = "repudiated", "repudiated", set[str]()
EXPIRED = "held", "expired", {"code"}


@pytest.fixture
def published(example: Example) -> Event:
    """A handled event, without a confirmation."""
    event = granted(example.qonto)
    example.handle(event, "publish")
    return event


@pytest.mark.parametrize(
    ("steps", "data", "outcome"),
    [
        ("publish", {}, HELD),
        ("publish confirm:other", {}, HELD),
        ("publish confirm", {"context": None}, UNCONFIRMED),
        ("confirm publish", {}, CONNECTED),
        ("publish confirm", {"expires_in": 0}, EXPIRED),
        ("publish confirm confirm:other repudiate:other", {}, CONNECTED),
        ("publish confirm repudiate", {}, REPUDIATED),
        ("repudiate confirm publish", {}, REPUDIATED),
    ],
)
@pytest.mark.claim("S28", "T1", "T5")
def test_order_of_messages_decides_outcome(
    example: Example, capsys: Capture, steps: str, data: dict[str, Any], outcome: Outcome
) -> None:
    event = granted(example.qonto, **data)
    example.cold_start()
    is_exchanged = outcome == CONNECTED or (outcome == REPUDIATED and steps.endswith("repudiate"))

    for _ in range(2):  # each message is delivered twice
        example.handle(event, steps)
        assert example.outcome(event) == outcome
        assert example.qonto.exchanges == (is_exchanged, is_exchanged)
        assert example.waiting() == 0
        if outcome == CONNECTED:
            example.change_status(event, "pending")  # as if stopped before it told the app

    expires_at = example.grant(event).get("expires_at", 0)
    assert expires_at == 0 if outcome == CONNECTED else expires_at > time.time() + HOUR
    assert (read_output(capsys).text == "") == (outcome[0] == "held")


def test_optional_confirmation_connects_without_app(example: Example) -> None:
    example.cold_start(REQUIRE_CONFIRMATION="false")
    event = granted(example.qonto, context=None)

    example.handle(event, "publish")

    assert example.token(event)["status"] == "connected"
    assert example.disconnect(event) == {"status": "disconnected", "revoked": True}


@pytest.mark.parametrize(
    ("code", "connected"),
    [("other", OTHER.name), ("nameless", None), ("unknown", ORGANIZATIONS[0].name)],
)
def test_connected_code_replaces_earlier_one(
    example: Example, code: str, connected: str | None
) -> None:
    scope = {"scope": "offline_access"} if code == "nameless" else {}
    later_code = unknown_code() if code == "unknown" else example.qonto.allow(OTHER, **scope)
    earlier = example.connect(granted(example.qonto))
    later = later_than(earlier, example.qonto, code=later_code)

    example.handle(later, "publish")

    outcomes = example.outcome(earlier), example.outcome(later)
    gone = ("failed" if code == "unknown" else "superseded"), "connected", set[str]()
    assert outcomes == ((CONNECTED, gone) if code == "unknown" else (gone, CONNECTED))
    assert example.connection(later).get("organization") == connected


@pytest.mark.parametrize(
    ("members", "kept"),
    [
        (b"", {}),
        (b', "expires_in": 3599.62', {"expires_in": 3599}),
        (b', "expires_in": 1e999', {}),
        (b', "expires_in": 1e40', {}),  # more digits than DynamoDB keeps
        (b', "expires_in": -1e40', {}),
        (b', "refresh_token": "\\ud800"', {}),  # half a character
        (b', "expires_in": "soon", "refresh_token": 1, "scope": 1', {}),
        (b', "scope": ["organization.read"]', {"scope": "organization.read"}),
        (b', "scope": "offline_access,organization.read"', {"scope": SCOPE}),
    ],
)
def test_unusual_token_response_is_connected(
    example: Example, members: bytes, kept: dict[str, Any]
) -> None:
    body = b'\xef\xbb\xbf{"access_token": "t"' + members + b"}"
    example.qonto.instead = Response(body, 201, media_type="application/json")

    event = example.connect(granted(example.qonto, granted_scope=None))

    assert example.grant(event)["tokens"] == {"access_token": "t", **kept}
    assert example.outcome(event) == CONNECTED
    assert "organization" not in example.connection(event)  # Qonto does not take this token


@pytest.mark.claim("S31", "T10")
def test_invalid_or_foreign_message_stays_in_queue(example: Example, published: Event) -> None:
    not_repudiated = json.dumps(confirmation_of(published) | {"repudiated": False})
    bodies = ["no JSON", "[]", '{"type": "qonto-connect"}', '{"context": "c"}', not_repudiated]
    changes: list[dict[str, Any]] = [
        {"client_id": "client-2"},
        {"environment": "production"},
        {"token_endpoint": "http://elsewhere/oauth2/token"},
    ]
    events = [granted(example.qonto, **change) for change in changes]
    events.append(granted(example.qonto) | {"source": "/qonto-connect/production/client-1"})
    failed = json.loads((ROOT / "docs" / "examples" / "failed.json").read_text("utf-8"))
    for body in bodies:
        example.send(body)
    for event in (*events, failed):  # the topic delivers granted events alone
        example.publish(event)

    example.cold_start(CLIENT_ID="client-2")  # the stack has changed since it stored the event
    example.handle(published, "confirm confirm")
    assert example.outcome(published) == UNCONFIRMED
    example.cold_start()
    example.handle(published, "confirm confirm")

    assert example.outcome(published) == CONNECTED
    assert example.qonto.exchanges == (1, 1)
    assert [example.grant(event) for event in events] == [{}] * len(events)
    assert example.waiting() == len(bodies) + len(events)


CUT_OFF = "RemoteProtocolError|ReadError"
EXCESS = "offline_access payment.write"


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ({"granted_scope": EXCESS}, "failed: scope"),
        (JSONResponse({"access_token": "t", "scope": EXCESS}), "failed: scope"),
        (JSONResponse({"error": "too_many"}, 429), "failed: too_many"),
        (PlainTextResponse("slow down", 429), "failed: HTTP 429"),
        (JSONResponse(["?"], 404), "failed: HTTP 404"),
        ({"code": unknown_code()}, "failed: invalid_grant"),
        (JSONResponse({"error": "invalid_client"}, 401), "failed: invalid_client"),
        (PlainTextResponse("", 500), "lost: HTTP 500"),
        (PlainTextResponse("", 302, headers={"Location": "/"}), "lost: HTTP 302"),
        (PlainTextResponse("<html>", 200), "lost: no-tokens"),
        (JSONResponse({"access_token": ""}), "lost: no-tokens"),
        (PlainTextResponse("{", headers={"Content-Length": "9"}), f"lost: {CUT_OFF}"),
    ],
)
@pytest.mark.claim("S31")
def test_failed_exchange_is_final(
    example: Example, capsys: Capture, given: dict[str, Any] | Response, end: str
) -> None:
    status, reasons = end.split(": ")
    response, data = (given, {}) if isinstance(given, Response) else (None, given)
    example.qonto.instead = response
    event = example.connect(granted(example.qonto, **data))
    example.qonto.instead = None
    example.change_status(event, "pending")  # as if stopped before it told the app

    example.connect(event)

    assert example.outcome(event) == (status, status, set())
    assert example.grant(event)["reason"] in reasons.split("|")
    assert example.qonto.exchanges == (reasons == "invalid_grant", 0)
    assert example.waiting() == 0
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


@pytest.mark.parametrize(
    ("value", "is_usable"),
    [
        ({"SecretString": "\ufeff" + SECRET}, True),
        ({"SecretString": "\u00ef\u00bb\u00bf" + SECRET}, True),  # read as Windows-1252
        ({"SecretBinary": b"\xef\xbb\xbf" + SECRET.encode()}, True),
        ({}, False),  # not put in yet
        ({"SecretString": json.dumps({"secret": CLIENT_SECRET})}, False),
        ({"SecretBinary": b"\xff" + CLIENT_SECRET.encode()}, False),
        ({"SecretString": json.dumps({"client_secret": CLIENT_SECRET})}, False),  # in the sandbox
        ({"SecretString": SECRET.replace("of-the", "“pasted”")}, False),
    ],
)
def test_unusable_secret_is_logged_once(
    example: Example, capsys: Capture, value: dict[str, Any], *, is_usable: bool
) -> None:
    usual, name = example.handler, str(uuid4())
    if value:  # to AWS, a secret without a value is not found either
        example.aws.secrets.create_secret(Name=name, **value)
    example.cold_start(CLIENT_SECRET_ARN=name)
    events = [example.connect(granted(example.qonto)) for _ in range(2)]
    output = read_output(capsys)

    example.poll(usual)  # with a corrected secret

    levels = Counter(line["level"] for line in output.logs)
    assert levels == Counter(INFO=2 * is_usable, ERROR=not is_usable)
    assert CLIENT_SECRET not in output.text
    assert output.metrics == Counter(SecretUnusable=4 * (not is_usable))
    assert [example.outcome(event) for event in events] == [CONNECTED] * 2


@pytest.mark.parametrize("form", ["{0}.{1}", "ory_ac_changed.{1}", "{1}"])
@pytest.mark.claim("S27", "T5")
def test_used_code_in_other_authorization_fails(
    example: Example, capsys: Capture, form: str
) -> None:
    first = example.connect(granted(example.qonto))

    code = form.format(*first["data"]["code"].split("."))  # Qonto knows it by its second part
    second = example.connect(granted(example.qonto, code=code))

    assert example.qonto.exchanges == (1, 1)
    assert example.grant(second)["reason"] == "code-used"
    assert example.outcome(second) == ("failed", "failed", set())
    assert example.outcome(first) == CONNECTED
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


@pytest.mark.claim("S27")
def test_code_that_was_not_sent_is_sent_later(example: Example, published: Event) -> None:
    usual = example.handler
    example.cold_start(TOKEN_ENDPOINT=NOWHERE)
    example.handle(published, "confirm")
    assert example.outcome(published) == UNCONFIRMED
    example.poll(usual)
    assert example.outcome(published) == CONNECTED


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.claim("S28")
def test_repudiation_counts_for_an_hour(
    example: Example, capsys: Capture, *, is_late: bool
) -> None:
    granted_at = int(time.time()) - 2 * HOUR
    event = example.connect(granted(example.qonto) | {"time": rfc3339(granted_at)})
    message = confirmation_of(event) | {"repudiated": True, "reason": "an unknown member"}
    sent = lambda_event(json.dumps(message), granted_at + HOUR + is_late)

    response = example.handler(sent, LambdaContext("subscriber"))

    assert response == {"batchItemFailures": []}
    assert example.outcome(event) == (CONNECTED if is_late else REPUDIATED)
    assert read_output(capsys).metrics == Counter(RepudiatedTooLate=is_late)


@pytest.mark.claim("S33")
def test_log_holds_no_secret(
    example: Example, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)  # of all libraries, as AWS_LAMBDA_LOG_LEVEL sets it
    example.cold_start(POWERTOOLS_LOG_LEVEL="DEBUG", POWERTOOLS_LOGGER_LOG_EVENT="true")
    good, ending, disconnected = [granted(example.qonto) for _ in range(3)]
    bad = granted(example.qonto, code=unknown_code())
    foreign = granted(example.qonto, token_endpoint="http://elsewhere/")
    events = (good, ending, disconnected, bad, foreign)

    for event in events:
        example.connect(event)
    for error, event in {"rate_limited": good, "invalid_grant": ending, "": good}.items():
        example.qonto.instead = JSONResponse({"error": error}, 400) if error else None
        example.token(event, refused=example.grant(event)["tokens"]["access_token"])
    example.disconnect(disconnected)
    example.send(json.dumps(good | {"specversion": "0.3"}))
    example.send(json.dumps({"authorization_id": good["subject"], "unfinished": "no-boolean"}))
    items = [example.connection(event) for event in events]
    example.handle(good, "repudiate")

    output = read_output(capsys)
    assert len({line["message"] for line in output.logs}) == 8  # from "connected" to "repudiated"
    references = {line["reference"] for line in output.logs if "reference" in line}
    assert references == {event["subject"][:8] for event in events if event is not foreign}
    assert "ValidationError" in output.text
    secrets = ("ory_ac_", "ory_at_", "ory_rt_", CLIENT_SECRET, STAGING_TOKEN, "input_value")
    names = [each for event in events for each in confirmation_of(event).values()]
    written = output.text + caplog.text
    assert [each for each in (*secrets, *names) if each in written] == []
    assert [each for each in secrets if each in str(items)] == []
