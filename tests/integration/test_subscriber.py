"""The example subscriber exchanges the code of each confirmed authorization."""

import json
import logging
import time
from collections import Counter
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo import event_source
from demo.gateway import LambdaContext
from demo.local_aws import LocalAws, Stack, free_port
from demo.qonto import ORGANIZATIONS
from demo.template import ROOT
from tests.integration.subscription import (
    CLIENT_SECRET,
    SCOPE,
    SECRET,
    STAGING_TOKEN,
    Event,
    ExampleSubscriber,
    MockQonto,
    confirmation_of,
    granted,
    load,
    read_output,
    rfc3339,
)

pytestmark = pytest.mark.usefixtures("qonto")

OTHER_ID = "00000000-0000-4000-8000-000000000000"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
HOUR = 3600
# The status of the grant, the one that the app reads, and the secrets that are kept.
HELD = "held", None, {"code"}
CONNECTED = "connected", "connected", {"tokens"}
REPUDIATED = "repudiated", "repudiated", set[str]()
EXPIRED = "held", "expired", {"code"}
REPUDIATIONS = map(" ".join, permutations(["publish", "confirm", "repudiate"]))


@pytest.mark.parametrize(
    ("steps", "expires_in", "outcome", "exchanges"),
    [
        ("publish", 600, HELD, 0),
        ("publish confirm", 600, CONNECTED, 1),
        ("confirm publish", 600, CONNECTED, 1),
        ("publish confirm", 0, EXPIRED, 0),
        ("confirm publish", 0, EXPIRED, 0),
        ("publish confirm repudiate:other-context", 600, CONNECTED, 1),
        *((steps, 600, REPUDIATED, steps.endswith("repudiate")) for steps in REPUDIATIONS),
    ],
)
@pytest.mark.claim("S28", "T1", "T5")
def test_order_of_messages_decides_outcome(
    example: ExampleSubscriber, steps: str, expires_in: int, outcome: object, exchanges: int
) -> None:
    """After the first delivery of each message, and after a second one."""
    event = granted(example.qonto, expires_in=expires_in)

    for _ in range(2):
        example.handle(event, steps)
        assert example.outcome(event) == outcome
        assert example.qonto.exchanges == (exchanges, exchanges)
        assert example.waiting() == 0


@pytest.mark.claim("S28", "T1")
def test_half_a_confirmation_exchanges_nothing(example: ExampleSubscriber) -> None:
    event = granted(example.qonto)
    other = event | {"data": event["data"] | {"context": "other"}}
    example.handle(event, "publish confirm:other")
    example.confirm(event, authorization_id=OTHER_ID)
    example.poll()
    half = example.outcome(event)

    example.handle(event, "confirm confirm:other")

    assert half == HELD
    assert example.outcome(event) == CONNECTED
    assert example.status(other) == "pending"


def test_unconfirmed_code_ends_without_error(
    example: ExampleSubscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    event = granted(example.qonto, context=None)
    example.cold_start()

    example.publish(event)
    example.send(json.dumps({"authorization_id": event["subject"], "context": "made-up"}))
    example.poll()

    grant = example.grant(event)
    assert (grant["status"], example.qonto.exchanges) == ("held", (0, 0))
    assert int(grant["expires_at"]) > int(grant["code_expires_at"])
    assert read_output(capsys).text == ""


def test_optional_confirmation_connects_without_app(
    aws: LocalAws, stack: Stack, qonto: MockQonto
) -> None:
    off = {"RequireConfirmation": "false", "AppRoleArn": ""}
    no_app = ExampleSubscriber(aws, stack.topic_arn, qonto, **off)
    event = granted(qonto, context=None)

    no_app.handle(event, "publish")
    token = no_app.token(event, refused=no_app.tokens(event)["access_token"])
    response = no_app.disconnect(event)

    assert qonto.exchanges == (1, 1)
    assert (token["status"], response["status"]) == ("connected", "disconnected")
    assert qonto.server.refreshes == 1


# --------------------------------------------------------------- two codes, one connection


def two_codes(qonto: MockQonto, **later: str) -> tuple[Event, Event]:
    """Return two events of one authorization; the later one has another organisation."""
    earlier = granted(qonto) | {"time": "2026-01-01T00:00:00Z"}
    code = qonto.allow(ORGANIZATIONS[1], **later)
    event = granted(qonto, code=code, context=earlier["data"]["context"])
    return earlier, event | {"subject": earlier["subject"]}


@pytest.mark.parametrize(
    ("order", "exchanges"),
    [("confirm earlier later", 2), ("confirm later earlier", 1), ("earlier later confirm", 1)],
)
def test_later_code_replaces_earlier_one(
    example: ExampleSubscriber, order: str, exchanges: int
) -> None:
    earlier, later = two_codes(example.qonto)
    steps = {"confirm": (later, "confirm"), "earlier": (earlier, "publish")}

    for step in order.split():
        example.handle(*steps.get(step, (later, "publish")))

    assert example.qonto.exchanges == (exchanges, exchanges)
    assert example.outcome(earlier) == ("superseded", "connected", set())
    assert example.outcome(later) == CONNECTED
    assert example.organization(later) == ORGANIZATIONS[1].name


def test_failed_later_code_leaves_earlier_connected(example: ExampleSubscriber) -> None:
    earlier, later = two_codes(example.qonto)
    later["data"]["code"] = f"ory_ac_{uuid4()}"

    example.connect(earlier, later)

    assert example.qonto.exchanges == (2, 1)
    assert example.outcome(earlier) == CONNECTED
    assert example.organization(earlier) == ORGANIZATIONS[0].name


def test_later_code_removes_unreadable_organization(example: ExampleSubscriber) -> None:
    earlier, later = two_codes(example.qonto, scope="offline_access")

    for event in (earlier, later):
        example.connect(event)

    assert example.outcome(later) == CONNECTED
    assert example.organization(later) is None


@pytest.mark.parametrize("earlier_fails", [True, False])
def test_delayed_status_of_earlier_changes_nothing(
    example: ExampleSubscriber, *, earlier_fails: bool
) -> None:
    """A second delivery of the earlier event reads its grants before the later code connects."""
    earlier, later = two_codes(example.qonto)
    if earlier_fails:
        earlier["data"]["code"] = f"ory_ac_{uuid4()}"
    example.connect(earlier)
    example.publish(earlier)

    with example.delayed_poll("Query"):
        example.connect(later)

    assert example.status(later) == "connected"
    assert example.organization(later) == ORGANIZATIONS[1].name


# ----------------------------------------------------------------- messages and responses


def test_connection_has_tokens_that_app_cannot_read(example: ExampleSubscriber) -> None:
    code = example.qonto.allow(code_challenge=CHALLENGE, code_challenge_method="S256")

    event = example.connect(granted(example.qonto, code=code, code_verifier=VERIFIER))

    grant, tokens = example.grant(event), example.tokens(event)
    assert example.outcome(event) == CONNECTED
    assert tokens["access_token"].startswith("ory_at_")
    assert tokens["refresh_token"].startswith("ory_rt_")
    assert "expires_at" not in grant  # it stays
    assert example.connection(event) == {
        **confirmation_of(event),
        "status": "connected",
        "organization": ORGANIZATIONS[0].name,
        "event_time": grant["event_time"],
    }


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"access_token": "t"}', {}),
        (b'\xef\xbb\xbf{"access_token": "t", "expires_in": 3599.62}', {"expires_in": "3599"}),
        (b'{"access_token": "t", "expires_in": 1e999}', {}),
        (b'{"access_token": "t", "expires_in": 1e40}', {}),  # more digits than DynamoDB keeps
        (b'{"access_token": "t", "expires_in": -1e40}', {}),
        (b'{"access_token": "t", "refresh_token": "\\ud800"}', {}),  # half a character
        (b'{"access_token": "t", "expires_in": "soon", "refresh_token": 1, "scope": 1}', {}),
        (b'{"access_token": "t", "scope": ["organization.read"]}', {"scope": "organization.read"}),
        (b'{"access_token": "t", "scope": "offline_access,organization.read"}', {"scope": SCOPE}),
    ],
)
def test_unusual_token_response_is_connected(
    example: ExampleSubscriber, body: bytes, kept: dict[str, str]
) -> None:
    example.qonto.instead = Response(body, 201, media_type="application/json")

    event = example.connect(granted(example.qonto, granted_scope=None))

    assert example.tokens(event) == {"access_token": "t", **kept}
    assert example.outcome(event) == CONNECTED
    assert example.organization(event) is None  # Qonto does not take this token


def test_invalid_messages_alone_stay_in_queue(example: ExampleSubscriber) -> None:
    event = granted(example.qonto)
    not_repudiated = confirmation_of(event) | {"repudiated": False}
    bodies = ["no JSON", "[]", '{"type": "qonto-connect"}', '{"context": "c"}']
    for body in (*bodies, json.dumps(not_repudiated)):
        example.send(body)
    failed = json.loads((ROOT / "docs" / "examples" / "failed.json").read_text("utf-8"))
    example.publish(failed)  # the topic delivers granted events alone

    example.handle(event, "confirm publish")

    assert example.outcome(event) == CONNECTED
    assert example.waiting() == len(bodies) + 1


@pytest.mark.claim("S31", "T10")
def test_foreign_event_becomes_dead_letter(example: ExampleSubscriber) -> None:
    elsewhere = "http://elsewhere/oauth2/token"
    changes: list[dict[str, Any]] = [{"client_id": "client-2"}, {"environment": "production"}]
    events = [granted(example.qonto, **change) for change in changes]
    events.append(granted(example.qonto, token_endpoint=elsewhere))
    events.append(granted(example.qonto) | {"source": "/qonto-connect/production/client-1"})
    example.set_redrive_policy()

    for event in events:
        example.handle(event, "confirm publish")
    for _ in range(9):
        example.poll()

    assert example.qonto.exchanges == (0, 0)
    assert {example.status(event) for event in events} == {"pending"}
    dead = {letter["id"] for letter in example.dead_letters()}
    assert dead == {event["id"] for event in events}


# ------------------------------------------------------------------- failed exchanges

CUT_OFF = "RemoteProtocolError|ReadError"
BY_QONTO = {"invalid_grant", "invalid_client", "unauthorized"}
EXCESS = "offline_access payment.write"
WRONG_SECRET = {"client_secret": "wrong", "staging_token": STAGING_TOKEN}
WRONG_TOKEN = {"client_secret": CLIENT_SECRET, "staging_token": "wrong"}


@pytest.mark.parametrize(
    ("given", "status", "reasons"),
    [
        ({"granted_scope": EXCESS}, "failed", "scope"),
        (JSONResponse({"access_token": "t", "scope": EXCESS}), "failed", "scope"),
        (JSONResponse({"error": "too_many"}, 429), "failed", "too_many"),
        (PlainTextResponse("slow down", 429), "failed", "HTTP 429"),
        (JSONResponse(["?"], 404), "failed", "HTTP 404"),
        ({"code": "ory_ac_unknown"}, "failed", "invalid_grant"),
        (json.dumps(WRONG_SECRET), "failed", "invalid_client"),
        (json.dumps(WRONG_TOKEN), "failed", "unauthorized"),
        (PlainTextResponse("", 500), "lost", "HTTP 500"),
        (PlainTextResponse("", 302, headers={"Location": "/"}), "lost", "HTTP 302"),
        (PlainTextResponse("<html>", 200), "lost", "no-tokens"),
        (JSONResponse({"access_token": ""}), "lost", "no-tokens"),
        (
            PlainTextResponse("{", headers={"Content-Length": "9"}),
            "lost",
            CUT_OFF,
        ),
    ],
)
@pytest.mark.claim("S31")
def test_failed_exchange_is_final(
    example: ExampleSubscriber,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, str] | Response | str,  # data of the event, a response or a client secret
    status: str,
    reasons: str,
) -> None:
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    if isinstance(given, str):
        use_secret(example, SecretString=given)
    elif isinstance(given, Response):
        example.qonto.instead = given
    event = example.connect(granted(example.qonto, **data))
    example.qonto.instead = None

    example.connect(event)

    assert example.outcome(event) == (status, status, set())
    assert example.grant(event)["reason"] in reasons.split("|")
    assert example.qonto.exchanges == (reasons in BY_QONTO, 0)
    assert example.waiting() == 0
    assert read_output(capsys).metrics == Counter(ExchangeFailed=1)


def test_unsent_request_is_sent_later(example: ExampleSubscriber) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    usual = example.handler
    example.cold_start(TOKEN_ENDPOINT=nowhere)
    event = example.connect(granted(example.qonto, token_endpoint=nowhere))
    before = (example.outcome(event), example.waiting())

    example.poll(usual)

    assert before == (("held", "pending", {"code"}), 1)
    assert example.qonto.exchanges == (1, 1)
    assert example.outcome(event) == CONNECTED
    assert example.waiting() == 0


# ------------------------------------------------------------------ the client secret


def use_secret(example: ExampleSubscriber, **value: Any) -> None:  # noqa: ANN401 - text or bytes
    """Load the functions with another secret, which has *value*."""
    name = str(uuid4())
    if value:  # to AWS, a secret without a value is not found either
        example.aws.secrets.create_secret(Name=name, **value)
    example.cold_start(CLIENT_SECRET_ARN=name)


@pytest.mark.parametrize(
    "value",
    [
        {"SecretString": "\ufeff" + SECRET},
        {"SecretString": "\u00ef\u00bb\u00bf" + SECRET},  # read as Windows-1252
        {"SecretBinary": b"\xef\xbb\xbf" + SECRET.encode()},
    ],
)
def test_byte_order_mark_is_no_secret(example: ExampleSubscriber, value: dict[str, Any]) -> None:
    use_secret(example, **value)

    assert example.outcome(example.connect(granted(example.qonto))) == CONNECTED


@pytest.mark.parametrize(
    "value",
    [
        {},  # not put in yet
        {"SecretString": json.dumps({"secret": CLIENT_SECRET})},
        {"SecretBinary": b"\xff" + CLIENT_SECRET.encode()},
        {"SecretString": json.dumps({"client_secret": CLIENT_SECRET})},  # the sandbox needs more
        {"SecretString": json.dumps(json.loads(SECRET) | {"staging_token": "“pasted”"})},
    ],
)
def test_unusable_secret_is_logged_once(
    example: ExampleSubscriber, capsys: pytest.CaptureFixture[str], value: dict[str, Any]
) -> None:
    """The messages succeed with the next cold start; without one, a minute after a correction."""
    usual = example.handler
    use_secret(example, **value)
    events = [example.connect(granted(example.qonto)) for _ in range(2)]
    output = read_output(capsys)

    example.poll(usual)

    assert [line["level"] for line in output.logs] == ["ERROR"]
    assert CLIENT_SECRET not in output.text
    assert output.metrics == Counter(SecretUnusable=4)  # each time that a message comes
    assert [example.outcome(event) for event in events] == [CONNECTED] * 2


# ---------------------------------------------------------------------- repudiations


@pytest.mark.claim("S28")
def test_repudiation_during_exchange_drops_tokens(example: ExampleSubscriber) -> None:
    event = granted(example.qonto)
    other = load(example.environment)

    def repudiate() -> None:
        example.repudiate(event)
        example.poll(other)

    example.qonto.meanwhile = repudiate
    example.connect(event)

    assert example.qonto.exchanges == (1, 1)
    assert example.outcome(event) == REPUDIATED


def test_repudiation_outlasts_a_status_underway(example: ExampleSubscriber) -> None:
    """A second delivery has read that the grant is connected, and tells the app afterwards."""
    event = example.connect(granted(example.qonto))
    example.publish(event)

    with example.delayed_poll("Query"):
        example.handle(event, "repudiate")

    assert example.status(event) == "repudiated"
    assert example.organization(event) is None


@pytest.mark.parametrize(("seconds", "is_late"), [(HOUR, False), (HOUR + 1, True)])
@pytest.mark.claim("S28")
def test_repudiation_counts_for_an_hour(
    example: ExampleSubscriber,
    capsys: pytest.CaptureFixture[str],
    seconds: int,
    *,
    is_late: bool,
) -> None:
    """The queue's time of sending counts, and not when the message is handled."""
    granted_at = int(time.time()) - 2 * HOUR
    event = example.connect(granted(example.qonto) | {"time": rfc3339(granted_at)})
    example.cold_start()
    example.repudiate(event, reason="a member that the subscriber does not know")
    messages = example.aws.sqs.receive_message(QueueUrl=example.queue_url)["Messages"]
    messages[0]["Attributes"] = {"SentTimestamp": str((granted_at + seconds) * 1000)}
    batch = event_source.lambda_event(messages, example.queue_url)

    response = example.handler(batch, LambdaContext("subscriber"))

    output = read_output(capsys)
    assert response["batchItemFailures"] == []
    assert example.outcome(event) == (CONNECTED if is_late else REPUDIATED)
    assert output.metrics == Counter(RepudiatedTooLate=1 if is_late else 0)
    [line] = output.logs
    assert line["level"] == ("ERROR" if is_late else "WARNING")
    assert line["reference"] == event["subject"][:8]


# ----------------------------------------------------------------------------- leaks


@pytest.mark.claim("S33")
def test_log_holds_no_secret(
    example: ExampleSubscriber,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither does an item that the app reads, nor an exception."""
    caplog.set_level(logging.DEBUG)  # of all libraries, as AWS_LAMBDA_LOG_LEVEL sets it
    example.cold_start(POWERTOOLS_LOG_LEVEL="DEBUG", POWERTOOLS_LOGGER_LOG_EVENT="true")
    good, ending, disconnected = [granted(example.qonto) for _ in range(3)]
    bad = granted(example.qonto, code=f"ory_ac_{uuid4()}")
    foreign = granted(example.qonto, token_endpoint="http://elsewhere/")
    events = (good, ending, disconnected, bad, foreign)

    for event in events:
        example.connect(event)
    for error, event in {"rate_limited": good, "invalid_grant": ending}.items():
        example.qonto.instead = JSONResponse({"error": error}, 400)
        example.token(event, refused=example.tokens(event)["access_token"])
    example.qonto.instead = None
    example.token(good, refused=example.tokens(good)["access_token"])
    example.disconnect(disconnected)
    example.send(json.dumps(good | {"specversion": "0.3"}))
    example.send(json.dumps({"authorization_id": good["subject"], "unfinished": "no-boolean"}))
    items = [example.connection(event) for event in events]
    example.handle(good, "repudiate")

    output = read_output(capsys)
    assert {line["message"] for line in output.logs} >= {
        "Grant connected",
        "Grant failed",
        "Refresh failed",
        "Tokens refreshed",
        "Connection ended",
        "Connection disconnected",
        "Authorization repudiated",
        "Message failed: it comes again",
    }
    references = {line["reference"] for line in output.logs if "reference" in line}
    assert references == {event["subject"][:8] for event in events if event is not foreign}
    assert "ValidationError" in output.text
    secrets = ("ory_ac_", "ory_at_", "ory_rt_", CLIENT_SECRET, STAGING_TOKEN, "input_value")
    names = [each for event in events for each in confirmation_of(event).values()]
    written = output.text + caplog.text
    assert [each for each in (*secrets, *names) if each in written] == []
    assert [each for each in secrets if each in str(items)] == []
