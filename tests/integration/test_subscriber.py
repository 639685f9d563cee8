"""The example subscriber exchanges the code of each confirmed authorization, at most once."""

import json
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo.local_aws import LocalAws, Stack, free_port
from demo.qonto import ORGANIZATIONS
from demo.template import ROOT
from tests.integration.subscription import (
    CHALLENGE,
    CLIENT_SECRET,
    SECRET,
    STAGING_TOKEN,
    VERIFIER,
    ExampleSubscriber,
    MockQonto,
    confirmation_of,
    granted,
    read_output,
    without_app,
)

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


# ------------------------------------------------------------------- confirmation


def test_code_is_held_until_confirmation(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = granted(qonto)

    example.publish(event)
    example.poll()
    before = (qonto.exchanges, example.grant(event)["status"], example.waiting())
    example.confirm(event)
    example.poll()

    assert before == ((0, 0), "held", 0)
    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"
    assert example.waiting() == 0


def test_confirmation_waits_for_its_event(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = granted(qonto)

    example.confirm(event)
    example.poll()
    before = example.status(event)
    example.publish(event)
    example.poll()

    assert before == "pending"
    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"


@pytest.mark.parametrize("change", [{"context": "theirs"}, {"authorization_id": UNKNOWN_ID}])
def test_half_a_confirmation_exchanges_nothing(
    example: ExampleSubscriber, qonto: MockQonto, change: dict[str, str]
) -> None:
    event = granted(qonto)
    example.publish(event)
    example.poll()

    example.confirm(event, **change)
    example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["status"] == "held"


def test_confirmation_of_other_context_stays_pending(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    event = example.connect(granted(qonto))

    example.confirm(event, context="theirs")
    example.poll()

    theirs = event | {"data": event["data"] | {"context": "theirs"}}
    assert example.status(event) == "connected"
    assert example.status(theirs) == "pending"


def test_event_without_context_is_never_exchanged(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    event = granted(qonto, context=None)

    example.publish(event)
    example.send(json.dumps({"authorization_id": event["subject"], "context": "made-up"}))
    example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.waiting() == 0


def test_unconfirmed_code_ends_without_error(
    example: ExampleSubscriber, qonto: MockQonto, capsys: pytest.CaptureFixture[str]
) -> None:
    event = granted(qonto)
    example.cold_start()

    example.publish(event)
    example.poll()

    grant = example.grant(event)
    assert int(grant["expires_at"]) > int(grant["code_expires_at"])
    assert example.waiting() == 0
    assert read_output(capsys).text == ""


@pytest.mark.parametrize("first", ["event", "confirmation"])
def test_late_confirmation_finds_code_expired(
    example: ExampleSubscriber, qonto: MockQonto, first: str
) -> None:
    event = granted(qonto, expires_in=0)
    steps = [example.publish, example.confirm]

    for step in steps if first == "event" else reversed(steps):
        step(event)
        example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.status(event) == "expired"
    assert example.waiting() == 0


def test_optional_confirmation_exchanges_each_code(
    aws: LocalAws, stack: Stack, qonto: MockQonto
) -> None:
    no_app = without_app(aws, stack.topic_arn, qonto)
    event = granted(qonto, context=None)

    no_app.publish(event)
    no_app.poll()

    assert qonto.exchanges == (1, 1)
    assert no_app.grant(event)["status"] == "connected"


# --------------------------------------------------------- one connection for all


def two_codes(qonto: MockQonto, **later: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two events of one authorization; the later one has another organisation."""
    earlier = granted(qonto) | {"time": "2026-01-01T00:00:00Z"}
    code = qonto.allow(ORGANIZATIONS[1], **later)
    event = granted(qonto, code=code, context=earlier["data"]["context"])
    return earlier, event | {"subject": earlier["subject"]}


@pytest.mark.parametrize(("earlier_first", "exchanges"), [(True, (2, 2)), (False, (1, 1))])
def test_later_code_replaces_earlier_one(
    example: ExampleSubscriber, qonto: MockQonto, *, earlier_first: bool, exchanges: tuple[int, int]
) -> None:
    earlier, later = two_codes(qonto)
    example.confirm(earlier)
    example.poll()

    for event in (earlier, later) if earlier_first else (later, earlier):
        example.publish(event)
        example.poll()

    assert qonto.exchanges == exchanges
    assert example.grant(earlier)["status"] == "superseded"
    assert {"tokens", "code"}.isdisjoint(example.grant(earlier))
    assert "tokens" in example.grant(later)
    assert example.status(later) == "connected"
    assert example.organization(later) == ORGANIZATIONS[1].name


def test_confirmation_of_two_codes_exchanges_later(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    earlier, later = two_codes(qonto)

    example.connect(earlier, later)

    assert qonto.exchanges == (1, 1)
    assert "tokens" in example.grant(later)
    assert "code" not in example.grant(earlier)


def test_failed_later_code_leaves_earlier_connected(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    earlier, later = two_codes(qonto)
    later["data"]["code"] = f"ory_ac_{uuid4()}"

    example.connect(earlier, later)

    assert qonto.exchanges == (2, 1)
    assert "tokens" in example.grant(earlier)
    assert example.status(earlier) == "connected"
    assert example.organization(earlier) == ORGANIZATIONS[0].name


def test_later_code_removes_unreadable_organization(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    earlier, later = two_codes(qonto, scope="offline_access")

    for event in (earlier, later):
        example.connect(event)

    assert example.status(later) == "connected"
    assert example.organization(later) is None


@pytest.mark.parametrize("earlier_fails", [True, False])
def test_delayed_status_of_earlier_changes_nothing(
    example: ExampleSubscriber, qonto: MockQonto, *, earlier_fails: bool
) -> None:
    """A second delivery of the earlier event reads its grants before the later code connects."""
    earlier, later = two_codes(qonto)
    if earlier_fails:
        earlier["data"]["code"] = f"ory_ac_{uuid4()}"
    example.connect(earlier)
    example.publish(earlier)

    with example.delayed_poll("Query"):
        example.connect(later)

    assert example.status(later) == "connected"
    assert example.organization(later) == ORGANIZATIONS[1].name


# ------------------------------------------------------------------- the exchange


def test_tokens_replace_the_code(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = example.connect(granted(qonto))

    grant = example.grant(event)
    assert grant["tokens"]["access_token"]["S"].startswith("ory_at_")
    assert grant["tokens"]["refresh_token"]["S"].startswith("ory_rt_")
    assert {"code", "code_verifier", "expires_at"}.isdisjoint(grant)  # and it stays


def test_app_reads_no_secret(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = example.connect(granted(qonto))

    item = example.connection(event)

    assert item == {
        **{name: {"S": value} for name, value in confirmation_of(event).items()},
        "status": {"S": "connected"},
        "organization": {"S": ORGANIZATIONS[0].name},
        "event_time": {"N": example.grant(event)["event_time"]},
    }


def test_code_verifier_is_sent(example: ExampleSubscriber, qonto: MockQonto) -> None:
    code = qonto.allow(code_challenge=CHALLENGE, code_challenge_method="S256")

    event = example.connect(granted(qonto, code=code, code_verifier=VERIFIER))

    assert example.status(event) == "connected"


def test_tokens_without_organization_are_connected(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    code = qonto.allow(scope="offline_access")

    event = example.connect(granted(qonto, code=code, granted_scope=None))

    assert example.status(event) == "connected"
    assert example.organization(event) is None


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"access_token": "t"}', {}),
        (b'\xef\xbb\xbf{"access_token": "t"}', {}),
        (b'{"access_token": "t", "expires_in": 3599.62}', {"expires_in": {"N": "3599"}}),
        (b'{"access_token": "t", "expires_in": 1e999}', {}),
        (b'{"access_token": "t", "expires_in": 1e40}', {}),  # more digits than DynamoDB keeps
        (b'{"access_token": "t", "expires_in": -1e40}', {}),
        (b'{"access_token": "t", "refresh_token": "\\ud800"}', {}),  # half a character
        (b'{"access_token": "t", "expires_in": "soon", "refresh_token": 1, "scope": 1}', {}),
        (
            b'{"access_token": "t", "scope": ["organization.read", "offline_access"]}',
            {"scope": {"S": "organization.read offline_access"}},
        ),
        (
            b'{"access_token": "t", "scope": "organization.read,offline_access"}',
            {"scope": {"S": "organization.read offline_access"}},
        ),
    ],
)
def test_unusual_token_response_is_connected(
    example: ExampleSubscriber, qonto: MockQonto, body: bytes, kept: dict[str, Any]
) -> None:
    qonto.instead = Response(body, 201, media_type="application/json")

    event = example.connect(granted(qonto))

    assert example.grant(event)["tokens"] == {"access_token": {"S": "t"}, **kept}
    assert example.status(event) == "connected"


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        '{"type": "qonto-connect"}',
        '{"context": "c"}',
        json.dumps({"authorization_id": UNKNOWN_ID, "context": "c", "repudiated": False}),
    ],
)
def test_invalid_message_alone_stays_in_queue(
    example: ExampleSubscriber, qonto: MockQonto, body: str
) -> None:
    event = granted(qonto)
    example.send(body)
    example.confirm(event)
    example.publish(event)

    example.poll()

    assert example.status(event) == "connected"
    assert example.waiting() == 1


def test_only_granted_events_reach_queue(example: ExampleSubscriber, qonto: MockQonto) -> None:
    failed = json.loads((ROOT / "docs" / "examples" / "failed.json").read_text("utf-8"))

    example.publish(failed)
    example.publish(granted(qonto))

    assert example.waiting() == 1


# ------------------------------------------------- other clients, and wider scopes


@pytest.mark.parametrize(
    ("event_change", "data_change"),
    [
        ({"source": "/qonto-connect/production/client-1"}, {}),
        ({}, {"client_id": "client-2"}),
        ({}, {"environment": "production"}),
        ({}, {"token_endpoint": "http://elsewhere/oauth2/token"}),
    ],
)
def test_foreign_event_becomes_dead_letter(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event_change: dict[str, str],
    data_change: dict[str, Any],
) -> None:
    event = granted(qonto, **data_change) | event_change
    example.set_redrive_policy()

    example.connect(event)
    for _ in range(8):
        example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.status(event) == "pending"
    assert event["id"] in {each["id"] for each in example.dead_letters()}


def test_excess_granted_scope_sends_no_code(
    example: ExampleSubscriber, qonto: MockQonto, capsys: pytest.CaptureFixture[str]
) -> None:
    event = example.connect(granted(qonto, granted_scope="organization.read payment.write"))

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["reason"] == "scope"
    assert "code" not in example.grant(event)
    assert example.status(event) == "failed"
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_excess_token_scope_keeps_no_tokens(
    example: ExampleSubscriber, qonto: MockQonto, capsys: pytest.CaptureFixture[str]
) -> None:
    qonto.instead = JSONResponse({"access_token": "t", "scope": "offline_access payment.write"})

    event = example.connect(granted(qonto))

    assert example.grant(event)["reason"] == "scope"
    assert {"code", "tokens"}.isdisjoint(example.grant(event))
    assert example.status(event) == "failed"
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


# ----------------------------------------------------- faults of the token endpoint


def test_unsent_request_is_sent_later(example: ExampleSubscriber, down: MockQonto) -> None:
    event = example.connect(granted(down))
    before = (example.grant(event)["status"], example.status(event), example.waiting())

    with down.up():
        example.poll()

    assert before == ("held", "pending", 1)
    assert down.exchanges == (1, 1)
    assert example.status(event) == "connected"
    assert example.waiting() == 0


def test_unresolved_host_leaves_code_held(example: ExampleSubscriber, qonto: MockQonto) -> None:
    nowhere = "http://qonto.invalid/oauth2/token"
    example.cold_start(TOKEN_ENDPOINT=nowhere)

    event = example.connect(granted(qonto, token_endpoint=nowhere))

    assert example.grant(event)["status"] == "held"
    assert example.waiting() == 1


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (JSONResponse({"error": "invalid_grant"}, 400), "invalid_grant"),
        (JSONResponse({"error": "too_many"}, 429), "too_many"),
        (PlainTextResponse("slow down", 429), "HTTP 429"),
        (JSONResponse(["?"], 404), "HTTP 404"),
    ],
)
def test_refused_exchange_fails_for_good(
    example: ExampleSubscriber,
    qonto: MockQonto,
    capsys: pytest.CaptureFixture[str],
    response: Response,
    reason: str,
) -> None:
    qonto.instead = response
    event = example.connect(granted(qonto))

    qonto.instead = None
    example.connect(event)

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["reason"] == reason
    assert "code" not in example.grant(event)
    assert example.status(event) == "failed"
    assert example.waiting() == 0
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


@pytest.mark.parametrize(
    ("response", "reasons"),
    [
        (PlainTextResponse("", 500), "HTTP 500"),
        (PlainTextResponse("", 503), "HTTP 503"),
        (PlainTextResponse("", 302, headers={"Location": "/"}), "HTTP 302"),
        (PlainTextResponse("<html>", 200), "no-tokens"),
        (JSONResponse({"access_token": ""}), "no-tokens"),
        (PlainTextResponse("{", headers={"Content-Length": "9"}), "RemoteProtocolError|ReadError"),
    ],
)
def test_unclear_response_loses_the_code(
    example: ExampleSubscriber,
    qonto: MockQonto,
    capsys: pytest.CaptureFixture[str],
    response: Response,
    reasons: str,
) -> None:
    qonto.instead = response
    event = example.connect(granted(qonto))

    qonto.instead = None
    example.connect(event)

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["reason"] in reasons.split("|")
    assert example.status(event) == "lost"
    assert example.waiting() == 0
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_unknown_code_fails(example: ExampleSubscriber, qonto: MockQonto) -> None:
    event = example.connect(granted(qonto, code=f"ory_ac_{uuid4()}"))

    assert example.grant(event)["reason"] == "invalid_grant"
    assert example.status(event) == "failed"


# --------------------------------------------------------------- the client secret


def use_secret(example: ExampleSubscriber, **value: Any) -> None:  # noqa: ANN401 - text or bytes
    """Load the function with another secret, which has *value*."""
    arn = example.aws.secrets.create_secret(Name=str(uuid4()), **value)["ARN"]
    example.cold_start(CLIENT_SECRET_ARN=arn)


def test_unreachable_secret_leaves_code_held(example: ExampleSubscriber, qonto: MockQonto) -> None:
    usual = example.handler
    nobody = f"http://127.0.0.1:{free_port()}"
    example.cold_start(AWS_ENDPOINT_URL_SECRETS_MANAGER=nobody)
    event = example.connect(granted(qonto))
    before = (example.grant(event)["status"], qonto.exchanges, example.waiting())

    example.poll(usual)

    assert before == ("held", (0, 0), 1)
    assert example.status(event) == "connected"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ({"client_secret": "wrong", "staging_token": STAGING_TOKEN}, "invalid_client"),
        ({"client_secret": CLIENT_SECRET, "staging_token": "wrong"}, "unauthorized"),
    ],
)
def test_wrong_credentials_fail(
    example: ExampleSubscriber, qonto: MockQonto, secret: dict[str, str], reason: str
) -> None:
    use_secret(example, SecretString=json.dumps(secret))

    event = example.connect(granted(qonto))

    assert example.grant(event)["reason"] == reason
    assert example.status(event) == "failed"


@pytest.mark.parametrize(
    "value",
    [
        {"SecretString": "\ufeff" + SECRET},
        {"SecretString": "\u00ef\u00bb\u00bf" + SECRET},  # read as Windows-1252
        {"SecretBinary": b"\xef\xbb\xbf" + SECRET.encode()},
    ],
)
def test_byte_order_mark_is_no_secret(
    example: ExampleSubscriber, qonto: MockQonto, value: dict[str, Any]
) -> None:
    use_secret(example, **value)

    event = example.connect(granted(qonto))

    assert example.status(event) == "connected"


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"SecretString": json.dumps({"secret": CLIENT_SECRET})},
        {"SecretBinary": b"\xff" + CLIENT_SECRET.encode()},
        {"SecretString": json.dumps({"client_secret": CLIENT_SECRET})},  # the sandbox needs more
        {"SecretString": json.dumps(json.loads(SECRET) | {"staging_token": "“pasted”"})},
    ],
)
def test_unusable_secret_is_logged_once(
    example: ExampleSubscriber,
    qonto: MockQonto,
    capsys: pytest.CaptureFixture[str],
    value: dict[str, Any] | None,
) -> None:
    """The messages succeed with the next cold start; without one, a minute after a correction."""
    usual = example.handler
    if value:
        use_secret(example, **value)
    else:  # to AWS, a secret without a value is not found either
        example.cold_start(CLIENT_SECRET_ARN=str(uuid4()))
    events = [granted(qonto) for _ in range(2)]
    for step in (example.publish, example.confirm):
        for event in events:
            step(event)
        example.poll()
    output = read_output(capsys)

    example.poll(usual)

    assert [line["level"] for line in output.logs] == ["ERROR"]
    assert CLIENT_SECRET not in output.text
    assert output.metrics == Counter(SecretUnusable=2)
    assert [example.status(event) for event in events] == ["connected"] * 2


# --------------------------------------------------------------------------- leaks


def test_log_holds_no_secret(
    example: ExampleSubscriber, qonto: MockQonto, capsys: pytest.CaptureFixture[str]
) -> None:
    example.cold_start(POWERTOOLS_LOG_LEVEL="DEBUG", POWERTOOLS_LOGGER_LOG_EVENT="true")
    good = granted(qonto, code_verifier=None)
    bad = granted(qonto, code=f"ory_ac_{uuid4()}")
    foreign = granted(qonto, token_endpoint="http://elsewhere/")
    events = (good, bad, foreign)

    for event in events:
        example.connect(event)
    example.send(json.dumps(good | {"specversion": "0.3"}))
    example.repudiate(good)
    example.poll()

    output = read_output(capsys)
    messages = [line["message"] for line in output.logs]
    assert {"Grant connected", "Grant failed", "Authorization repudiated"} <= set(messages)
    assert {line["reference"] for line in output.logs if "reference" in line} == {
        event["subject"][:8] for event in (good, bad)
    }
    assert "ValidationError" in output.text
    secrets = ("ory_ac_", "ory_at_", CLIENT_SECRET, STAGING_TOKEN, "input_value")
    names = [each for event in events for each in confirmation_of(event).values()]
    assert [each for each in (*secrets, *names) if each in output.text] == []
