"""The example subscriber gives access tokens that work, until a connection ends."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo.gateway import LambdaContext
from demo.local_aws import free_port
from demo.qonto import ORGANIZATIONS, ShownError
from tests.integration.faults import Fault, FaultProxy, Hurry
from tests.integration.subscription import (
    SCOPE,
    Event,
    ExampleSubscriber,
    granted,
    load_tokens,
    read_output,
    rfc3339,
)
from tests.slow import slow

pytestmark = pytest.mark.usefixtures("qonto")

NOWHERE = f"http://127.0.0.1:{free_port()}"
HOUR = 3600
EARLIEST = 600  # seconds before its end, from which a token is refreshed
CLAIM = 22  # seconds, after which another function refreshes
GRACE = 60  # seconds, in which Qonto takes a used refresh token again
REVOKED = {"status": "disconnected", "revoked": True}
UNAVAILABLE = {"status": "unavailable"}
ENDED = {"status": "ended"}
DISCONNECTED = "disconnected", "disconnected", set[str]()


@pytest.fixture
def event(example: ExampleSubscriber) -> Event:
    """The event of a new connection."""
    return example.connect(granted(example.qonto))


@pytest.fixture
def hurry(example: ExampleSubscriber) -> Iterator[Hurry]:
    """Deliver the messages of `tokens` at once."""
    with Hurry(example.aws.endpoint_url) as proxy:
        example.tokens_handler = load_tokens(example.environment | proxy.endpoints)
        yield proxy


def leave(example: ExampleSubscriber, event: Event, seconds: int, lifetime: int = HOUR) -> str:
    """Let the access token of *event* live for another *seconds*; return it."""
    issued_at = int(time.time()) + seconds - lifetime
    example.change_grant(event, "issued_at", {"N": str(issued_at)})
    return example.tokens(event)["access_token"]


def claim(example: ExampleSubscriber, event: Event, *, seconds_ago: int) -> None:
    """Let another function have claimed the refresh of *event*."""
    claimed_at = {"N": str(int(time.time()) - seconds_ago)}
    example.change_grant(event, "refresh", {"M": {"owner": {"S": "x"}, "claimed_at": claimed_at}})


def end(example: ExampleSubscriber, event: Event) -> None:
    """Let the user withdraw the permission, and the connection of *event* end."""
    example.qonto.revoke(leave(example, event, 60))
    example.token(event)


def later_than(example: ExampleSubscriber, event: Event, code: str = "") -> Event:
    """Return the event of a later *code* of the same authorization."""
    code = code or example.qonto.allow()
    later = granted(example.qonto, code=code, context=event["data"]["context"])
    return later | {"subject": event["subject"], "time": rfc3339(time.time() + 60)}


@contextmanager
def second_caller(
    example: ExampleSubscriber,
    **request: Any,  # noqa: ANN401 - JSON
) -> Iterator[list[Future[dict[str, Any]]]]:
    """Let a second function handle *request* while Qonto handles the next refresh.

    That refresh goes on when the second function has found its claim and looks again. The block
    gets a list for its response.
    """
    with (
        FaultProxy(example.aws.endpoint_url, microburst="") as proxy,
        ThreadPoolExecutor() as executor,
    ):
        handler = load_tokens(example.environment | proxy.endpoints)
        proxy.inject("GetItem", Fault.HELD, times=1)
        running: list[Future[dict[str, Any]]] = []

        def call() -> None:
            example.qonto.meanwhile = lambda: None
            running.append(executor.submit(handler, request, LambdaContext("tokens")))
            proxy.wait_for("GetItem")
            proxy.released.set()

        example.qonto.meanwhile = call
        yield running


# ------------------------------------------------------------------ an access token


def test_connection_has_token_of_its_scope(example: ExampleSubscriber, event: Event) -> None:
    response = example.token(event)

    assert response == {
        "status": "connected",
        "access_token": example.tokens(event)["access_token"],
        "expires_at": int(example.grant(event)["issued_at"]) + HOUR,
        "scope": SCOPE,
        "organization": ORGANIZATIONS[0].name,
    }
    assert example.qonto.takes(response["access_token"])
    assert example.qonto.server.refreshes == 0


@pytest.mark.parametrize(
    ("lifetime", "left", "is_refreshed"),
    [
        (HOUR, EARLIEST + 9, False),
        (HOUR, EARLIEST, True),
        (HOUR, -9, True),
        (100, 59, False),
        (100, 50, True),  # half of it
    ],
)
def test_token_near_its_end_is_refreshed(
    example: ExampleSubscriber, event: Event, lifetime: int, left: int, *, is_refreshed: bool
) -> None:
    tokens = example.grant(event)["tokens"] | {"expires_in": {"N": str(lifetime)}}
    example.change_grant(event, "tokens", {"M": tokens})
    leave(example, event, left, lifetime)
    before = example.tokens(event)

    response = example.token(event)

    after = example.tokens(event)
    assert example.qonto.server.refreshes == is_refreshed
    for token in ("access_token", "refresh_token"):
        assert (after[token] != before[token]) == is_refreshed
    assert response["access_token"] == after["access_token"]
    assert example.qonto.takes(response["access_token"])
    assert response["expires_at"] > time.time() + (HOUR if is_refreshed else left) - 9
    assert "refresh" not in example.grant(event)


def test_refused_token_is_refreshed(example: ExampleSubscriber, event: Event) -> None:
    refused = example.tokens(event)["access_token"]

    responses = [example.token(event, refused=refused) for _ in range(2)]

    assert responses[0] == responses[1]
    assert responses[0]["access_token"] not in {refused, ""}
    assert example.qonto.server.refreshes == 1


def test_omitted_members_of_refresh_stay(example: ExampleSubscriber, event: Event) -> None:
    before = example.tokens(event)
    leave(example, event, 60)
    example.qonto.instead = JSONResponse({"access_token": "new"})

    response = example.token(event)

    assert example.tokens(event) == before | {"access_token": "new"}
    assert response["scope"] == SCOPE


def test_refresh_finds_name_of_organization(example: ExampleSubscriber) -> None:
    usual = example.tokens_handler
    example.cold_start(API_URL=NOWHERE)
    event = example.connect(granted(example.qonto))
    example.tokens_handler = usual
    before = example.token(event)
    leave(example, event, 60)

    after = [example.token(event), example.token(event)]

    assert "organization" not in before
    assert [each["organization"] for each in after] == [ORGANIZATIONS[0].name] * 2


@pytest.mark.parametrize("is_refused", [False, True])
def test_connection_without_offline_access_ends(
    example: ExampleSubscriber, *, is_refused: bool
) -> None:
    scope = "organization.read"
    scopes: dict[str, Any] = {"requested_scope": scope, "granted_scope": scope}
    code = example.qonto.allow(scope=scope)
    event = example.connect(granted(example.qonto, code=code, **scopes))
    leave(example, event, 2)
    before = example.token(event)

    leave(example, event, 2 if is_refused else 0)
    after = example.token(event, **({"refused": before["access_token"]} if is_refused else {}))

    assert before["status"] == "connected"
    assert after == ENDED
    assert example.outcome(event) == ("ended", "ended", set())
    assert example.qonto.server.refreshes == 0


def test_stack_of_another_client_sends_no_token(example: ExampleSubscriber, event: Event) -> None:
    access_token = leave(example, event, 60)
    before = example.grant(event)

    for changed in {"QONTO_ENVIRONMENT": "production"}, {"CLIENT_ID": "client-2"}:
        example.cold_start(**changed)
        for call in example.token, example.disconnect:
            with pytest.raises(Exception, match="another environment or client"):
                call(event)

    assert example.grant(event) == before
    assert example.qonto.takes(access_token)


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ("", ""),
        ("confirm", ""),
        ("publish", ""),
        ("publish confirm", "ory_ac_unknown"),
        ("publish confirm repudiate", ""),
    ],
)
def test_authorization_without_connection_has_no_token(
    example: ExampleSubscriber, steps: str, code: str
) -> None:
    event = granted(example.qonto, code=code or example.qonto.allow())
    example.handle(event, steps)

    for call in example.token, example.disconnect:
        assert call(event) == {"status": "not-connected"}


@pytest.mark.parametrize(
    "members",
    [
        {"authorization_id": "no-uuid"},
        {"disconnect": "no-boolean"},
        {"refused": ["no-text"]},
        {"unfinished": "no-request"},
    ],
)
@pytest.mark.claim("S33")
def test_invalid_request_raises_without_quoting(
    example: ExampleSubscriber, members: dict[str, Any]
) -> None:
    request = {"authorization_id": "00000000-0000-4000-8000-000000000000"} | members

    with pytest.raises(Exception, match="authorization_id") as raised:
        example.tokens_handler(request, LambdaContext("tokens"))

    assert type(raised.value).__name__ == "InvalidRequestError"
    assert raised.value.__suppress_context__
    assert raised.value.__cause__ is None
    assert not [each for each in ("no-", "0000-4000") if each in str(raised.value)]


# --------------------------------------------------------------- one refresh at once


@pytest.mark.claim("S32")
def test_two_callers_share_one_refresh(example: ExampleSubscriber, event: Event) -> None:
    leave(example, event, 60)

    with second_caller(example, authorization_id=event["subject"]) as second:
        first = example.token(event)
        assert second[0].result() == first

    assert example.qonto.takes(first["access_token"])
    assert example.qonto.server.refreshes == 1


@pytest.mark.parametrize("left", [HOUR, 60])
@pytest.mark.claim("S32")
def test_refresh_without_response_is_repeated(
    example: ExampleSubscriber, event: Event, capsys: pytest.CaptureFixture[str], left: int
) -> None:
    """At once, then by the next caller, who does not know that Qonto refused the token."""
    example.qonto.lost = 1
    first = example.token(event, refused=leave(example, event, left))
    output = read_output(capsys)
    example.qonto.lost = 2
    second = example.token(event, refused=leave(example, event, left))

    third = example.token(event)

    assert first["status"] == "connected"
    assert output.metrics == Counter()
    assert second == UNAVAILABLE
    assert example.qonto.takes(third["access_token"])
    assert (example.qonto.server.refreshes, example.qonto.server.reuses) == (5, 0)


@pytest.mark.claim("S32")
def test_unsent_refresh_forgets_no_sent_one(example: ExampleSubscriber, event: Event) -> None:
    """The second caller has read the connection before the first one refreshes in vain."""
    refused = example.tokens(event)["access_token"]
    request = {"authorization_id": event["subject"], "refused": refused}

    def second(environment: dict[str, str]) -> None:
        load_tokens(environment | {"TOKEN_ENDPOINT": NOWHERE})(request, LambdaContext("tokens"))

    with example.held("GetSecretValue", second):
        example.qonto.lost = 2
        example.token(event, refused=refused)

    assert example.qonto.takes(example.token(event)["access_token"])


@pytest.mark.parametrize("by", ["caller", "message"])
@pytest.mark.claim("S32")
def test_stopped_refresh_is_finished_within_grace(
    example: ExampleSubscriber, event: Event, by: str
) -> None:
    """A function was stopped after Qonto had refreshed its tokens."""
    example.qonto.refresh(example.tokens(event)["refresh_token"])
    claim(example, event, seconds_ago=CLAIM + 1)

    if by == "message":
        remind(example, event)
    else:
        example.token(event)

    assert example.qonto.takes(example.tokens(event)["access_token"])
    assert "refresh" not in example.grant(event)
    assert (example.qonto.server.refreshes, example.qonto.server.reuses) == (2, 0)
    assert example.waiting() == 0


def test_message_begins_no_refresh(example: ExampleSubscriber, event: Event) -> None:
    """Nothing would finish it, if the function that handles the message were stopped."""
    leave(example, event, 60)

    remind(example, event)

    assert example.qonto.server.refreshes == 0
    assert example.waiting() == 0


def remind(example: ExampleSubscriber, event: Event) -> None:
    """Have a message handled that reminds of unfinished work."""
    example.send(json.dumps({"authorization_id": event["subject"], "unfinished": True}))
    example.poll()


@pytest.mark.parametrize("response", [None, JSONResponse({"error": "invalid_grant"}, 400)])
def test_response_to_lost_claim_changes_nothing(
    example: ExampleSubscriber, event: Event, response: Response | None
) -> None:
    """Another function has claimed the refresh, because Qonto was slow."""
    leave(example, event, 60)
    before = example.tokens(event)
    example.qonto.instead = response
    example.qonto.meanwhile = lambda: claim(example, event, seconds_ago=0)

    example.token(event)

    assert example.tokens(event) == before
    assert example.outcome(event) == ("connected", "connected", {"tokens", "refresh"})


@slow
def test_caller_waits_ten_seconds_for_another(example: ExampleSubscriber, event: Event) -> None:
    leave(example, event, 60)
    claim(example, event, seconds_ago=0)

    assert example.token(event) == UNAVAILABLE
    assert example.qonto.server.refreshes == 0


def test_messages_come_after_claims_within_grace(
    example: ExampleSubscriber, event: Event, hurry: Hurry
) -> None:
    leave(example, event, 60)

    example.token(event)

    first, second = hurry.delays[:2]
    assert first > CLAIM
    assert first + CLAIM < second < GRACE


# -------------------------------------------------------- responses without new tokens


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (JSONResponse({"error": "invalid_client"}, 401), "invalid_client"),
        (PlainTextResponse("slow down", 429), "HTTP 429"),
        (PlainTextResponse("", 500), "HTTP 500"),
        (PlainTextResponse("<html>", 200), "no-tokens"),
        ({"TOKEN_ENDPOINT": NOWHERE}, "not-sent"),
        ({"CLIENT_SECRET_ARN": "without-a-value"}, "no-value"),
        ({"AWS_ENDPOINT_URL_SECRETS_MANAGER": NOWHERE}, "Client secret not read"),
    ],
)
@pytest.mark.claim("S32")
def test_failed_refresh_keeps_living_token(
    example: ExampleSubscriber,
    event: Event,
    capsys: pytest.CaptureFixture[str],
    given: Response | dict[str, str],
    reason: str,
) -> None:
    """If Qonto may have replaced the stored token, it is not given."""
    usual, is_in_doubt = example.tokens_handler, reason in {"HTTP 500", "no-tokens"}
    example.cold_start(**(given if isinstance(given, dict) else {}))
    example.qonto.instead = given if isinstance(given, Response) else None

    access_token = leave(example, event, 65)
    lives = example.token(event)
    leave(example, event, 60)
    is_over = example.token(event)
    output = read_output(capsys)
    is_claimed = "refresh" in example.grant(event)
    example.tokens_handler, example.qonto.instead = usual, None
    after = example.token(event)

    assert lives.get("access_token") == (None if is_in_doubt else access_token)
    assert is_over == UNAVAILABLE
    assert is_claimed == is_in_doubt
    assert example.qonto.takes(after["access_token"])
    is_unusable = reason == "no-value"
    assert output.metrics == Counter({"SecretUnusable" if is_unusable else "RefreshFailed": 2})
    logged = [line.get("reason", line["message"]) for line in output.logs]
    assert len(logged) == (1 if is_unusable else 2)
    assert all(reason in each for each in logged)


@pytest.mark.parametrize("error", ["invalid_grant", "token_inactive"])
@pytest.mark.claim("S32")
def test_refused_refresh_token_ends_connection(
    example: ExampleSubscriber, event: Event, capsys: pytest.CaptureFixture[str], error: str
) -> None:
    leave(example, event, 60)
    example.qonto.instead = JSONResponse({"error": error}, 400)

    first = example.token(event)
    example.change_status(event, "connected")  # the function was stopped before it told the app
    second = example.token(event)

    assert [first, second] == [ENDED, ENDED]
    assert example.outcome(event) == ("ended", "ended", set())
    assert read_output(capsys).metrics == Counter(ConnectionEnded=1)


@pytest.mark.parametrize(("code", "status"), [("", "connected"), ("ory_ac_unknown.", "ended")])
def test_ended_authorization_connects_by_later_code(
    example: ExampleSubscriber, event: Event, code: str, status: str
) -> None:
    end(example, event)

    example.connect(later_than(example, event, code and code + str(uuid4())))

    assert example.status(event) == status
    assert example.token(event)["status"] == status


# ------------------------------------------------------------------- a disconnection


@pytest.mark.parametrize("before", ["new", "expired", "refused", "withdrawn", "ended"])
@pytest.mark.claim("S34")
def test_disconnection_ends_connection_at_qonto(
    example: ExampleSubscriber, event: Event, before: str
) -> None:
    tokens = example.tokens(event)
    match before:
        case "expired":
            leave(example, event, 0)
        case "refused":
            example.qonto.refresh(tokens["refresh_token"])  # the access token stops working
        case "withdrawn":
            example.qonto.revoke(tokens["access_token"])
        case "ended":
            end(example, event)

    responses = [example.disconnect(event), example.disconnect(event), example.token(event)]

    assert responses == [REVOKED] * 3
    assert example.outcome(event) == DISCONNECTED
    assert int(example.grant(event)["expires_at"]) > time.time()
    assert example.qonto.server.refreshes == (before in {"expired", "refused"}) + (
        before == "refused"
    )
    assert not example.qonto.takes(tokens["access_token"])
    with pytest.raises(ShownError, match="invalid_grant"):
        example.qonto.refresh(tokens["refresh_token"])


@pytest.mark.claim("S34")
def test_disconnection_without_scope_keeps_consent(example: ExampleSubscriber) -> None:
    code = example.qonto.allow(scope="offline_access")
    event = example.connect(granted(example.qonto, code=code))

    assert example.disconnect(event) == {"status": "disconnected", "revoked": False}
    assert example.outcome(event) == DISCONNECTED


@pytest.mark.parametrize("by", ["caller", "message"])
@pytest.mark.parametrize("left", [HOUR, 60])
@pytest.mark.claim("S34", "T12")
def test_unfinished_disconnection_is_finished(
    example: ExampleSubscriber, event: Event, hurry: Hurry, left: int, by: str
) -> None:
    """Until Qonto responds, the app gets no token, and the messages stay in the queue."""
    leave(example, event, left)
    example.qonto.lost = 99
    began = [example.disconnect(event), example.token(event)]
    told = example.status(event)
    example.poll()
    assert example.waiting() == len(hurry.delays)
    example.qonto.lost = 0

    if by == "caller":
        assert example.token(event) == REVOKED
    example.poll()

    assert began == [{"status": "disconnecting"}] * 2
    assert told == "disconnected"
    assert example.waiting() == 0
    assert example.outcome(event) == DISCONNECTED


def test_unfinished_disconnection_is_logged(
    example: ExampleSubscriber, event: Event, capsys: pytest.CaptureFixture[str]
) -> None:
    example.cold_start(TOKEN_ENDPOINT=NOWHERE, API_URL=NOWHERE)

    example.disconnect(event)

    [line] = read_output(capsys).logs
    assert line["message"] == "Disconnection unfinished"
    assert (line["reference"], line["reason"]) == (event["subject"][:8], "not-sent")


@pytest.mark.claim("S34")
def test_later_code_is_not_exchanged_after_disconnection(
    example: ExampleSubscriber, event: Event
) -> None:
    """One code comes meanwhile: it has been claimed and not yet sent."""
    crossing = later_than(example, event, example.qonto.allow(ORGANIZATIONS[1]))
    example.publish(crossing)
    with example.delayed_poll("UpdateItem"):
        example.disconnect(event)

    later = example.connect(later_than(example, event))

    assert example.outcome(crossing) == DISCONNECTED
    assert example.grant(later)["status"] == "held"
    assert example.token(event)["status"] == "disconnected"
    assert example.waiting() == 0


def test_disconnection_ends_membership_and_no_other(
    example: ExampleSubscriber, event: Event
) -> None:
    """The same organisation twice, and another one."""
    same = example.connect(granted(example.qonto))
    code = example.qonto.allow(ORGANIZATIONS[1])
    other = example.connect(granted(example.qonto, code=code))
    refused = example.tokens(same)["access_token"]

    example.disconnect(event)

    assert example.token(same, refused=refused) == ENDED
    assert example.status(same) == "ended"
    assert example.qonto.takes(example.token(other)["access_token"])
    assert example.status(other) == "connected"


@pytest.mark.claim("S34")
def test_disconnection_during_refresh_revokes_new_tokens(
    example: ExampleSubscriber, event: Event
) -> None:
    leave(example, event, 60)

    with second_caller(example, authorization_id=event["subject"], disconnect=True) as second:
        first = example.token(event)
        response = second[0].result()

    assert first == {"status": "disconnecting"}
    assert response == REVOKED
    assert example.outcome(event) == DISCONNECTED
    assert example.qonto.server.refreshes == 1


def test_repudiation_during_refresh_keeps_no_tokens(
    example: ExampleSubscriber, event: Event
) -> None:
    leave(example, event, 60)
    example.repudiate(event)
    example.qonto.meanwhile = example.poll

    response = example.token(event)

    assert response == {"status": "not-connected"}
    assert example.outcome(event) == ("repudiated", "repudiated", set())
