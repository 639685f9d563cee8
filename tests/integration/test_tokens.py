"""The example subscriber gives access tokens that work, until a connection ends."""

import json
import logging
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
from demo.local_aws import LocalAws, Stack, free_port
from demo.qonto import ORGANIZATIONS, ShownError
from tests.integration.faults import Fault, FaultProxy, Hurry
from tests.integration.subscription import (
    CLIENT_SECRET,
    STAGING_TOKEN,
    ExampleSubscriber,
    MockQonto,
    granted,
    load_tokens,
    read_output,
    rfc3339,
    without_app,
)
from tests.integration.test_leaks import leaks
from tests.slow import slow

HOUR = 3600
EARLIEST = 600  # seconds before its end, from which a token is refreshed
CLAIM = 22  # seconds, after which another function refreshes
GRACE = 60  # seconds, in which Qonto takes a used refresh token again
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def _up(_mock_qonto: MockQonto) -> Iterator[None]:
    with _mock_qonto.up():
        yield


@pytest.fixture
def qonto(_up: None, _mock_qonto: MockQonto) -> MockQonto:
    """Mock Qonto, up, with nothing counted yet."""
    _mock_qonto.reset()
    return _mock_qonto


@pytest.fixture
def event(example: ExampleSubscriber, qonto: MockQonto) -> dict[str, Any]:
    """The event of a new connection."""
    return example.connect(granted(qonto))


@pytest.fixture
def hurry(example: ExampleSubscriber) -> Iterator[Hurry]:
    """Deliver the messages of `tokens` at once."""
    with Hurry(example.aws.endpoint_url) as proxy:
        example.tokens_handler = load_tokens(example.environment | proxy.endpoints)
        yield proxy


def leave(example: ExampleSubscriber, event: dict[str, Any], seconds: int) -> None:
    """Let the access token of *event* live for another *seconds*."""
    issued_at = int(time.time()) + seconds - HOUR
    example.change_grant(event, "issued_at", {"N": str(issued_at)})


def claim(example: ExampleSubscriber, event: dict[str, Any], *, seconds_ago: int) -> None:
    """Let another function have claimed the refresh of *event*."""
    claimed_at = {"N": str(int(time.time()) - seconds_ago)}
    example.change_grant(event, "refresh", {"M": {"owner": {"S": "x"}, "claimed_at": claimed_at}})


def end(example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]) -> None:
    """Let the user withdraw the permission, and the connection of *event* end."""
    leave(example, event, 60)
    qonto.revoke(example.tokens(event)["access_token"])
    example.token(event)


def later_than(event: dict[str, Any], qonto: MockQonto, code: str = "") -> dict[str, Any]:
    """Return the event of a later code of the same authorization."""
    later = granted(qonto, code=code or qonto.allow(), context=event["data"]["context"])
    return later | {"subject": event["subject"], "time": rfc3339(time.time() + 60)}


def cut_off(example: ExampleSubscriber) -> None:
    """Load `tokens` with a Qonto that refuses connections."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    urls = {"TOKEN_ENDPOINT": f"{nowhere}/oauth2/token", "API_URL": nowhere}
    example.tokens_handler = load_tokens(example.environment | urls)


@contextmanager
def second_caller(
    example: ExampleSubscriber, qonto: MockQonto, **request: str | bool
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
            qonto.meanwhile = lambda: None
            running.append(executor.submit(handler, request, LambdaContext("tokens")))
            proxy.wait_for("GetItem")
            proxy.released.set()

        qonto.meanwhile = call
        yield running


# ----------------------------------------------------------------- an access token


def test_connection_has_token_of_its_scope(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    response = example.token(event)

    assert response == {
        "status": "connected",
        "access_token": example.tokens(event)["access_token"],
        "expires_at": int(example.grant(event)["issued_at"]) + HOUR,
        "scope": "offline_access organization.read",
        "organization": ORGANIZATIONS[0].name,
    }
    assert qonto.takes(response["access_token"])
    assert qonto.server.refreshes == 0


@pytest.mark.parametrize(
    ("left", "is_refreshed"), [(EARLIEST + 9, False), (EARLIEST, True), (-9, True)]
)
def test_token_near_its_end_is_refreshed(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event: dict[str, Any],
    left: int,
    *,
    is_refreshed: bool,
) -> None:
    before = example.tokens(event)
    leave(example, event, left)

    response = example.token(event)

    after = example.tokens(event)
    assert qonto.server.refreshes == is_refreshed
    assert (response["access_token"] != before["access_token"]) == is_refreshed
    assert (after["refresh_token"] != before["refresh_token"]) == is_refreshed
    assert qonto.takes(response["access_token"])
    assert response["expires_at"] > time.time() + (HOUR if is_refreshed else left) - 9
    assert "refresh" not in example.grant(event)


def test_short_lived_token_is_refreshed_halfway(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    qonto.instead = JSONResponse({"access_token": "short", "expires_in": 100})
    leave(example, event, 60)
    example.token(event)
    qonto.instead = None

    leave(example, event, 59 + HOUR - 100)
    before = example.token(event)
    leave(example, event, 50 + HOUR - 100)
    after = example.token(event)

    assert before["access_token"] == "short"
    assert qonto.takes(after["access_token"])


def test_refused_token_is_refreshed(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    refused = example.tokens(event)["access_token"]

    first = example.token(event, refused=refused)
    second = example.token(event, refused=refused)

    assert first == second
    assert first["access_token"] not in {refused, ""}
    assert qonto.server.refreshes == 1


def test_omitted_members_of_refresh_stay(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    before = example.tokens(event)
    leave(example, event, 60)
    qonto.instead = JSONResponse({"access_token": "new"})

    response = example.token(event)

    assert example.tokens(event) == before | {"access_token": "new"}
    assert response["scope"] == "offline_access organization.read"


def test_refresh_finds_name_of_organization(example: ExampleSubscriber, qonto: MockQonto) -> None:
    usual = example.tokens_handler
    example.cold_start(API_URL=f"http://127.0.0.1:{free_port()}")
    event = example.connect(granted(qonto))
    example.tokens_handler = usual
    before = example.token(event)
    leave(example, event, 60)

    after = [example.token(event), example.token(event)]

    assert "organization" not in before
    assert [each["organization"] for each in after] == [ORGANIZATIONS[0].name] * 2


@pytest.mark.parametrize("refused", [False, True])
def test_connection_without_offline_access_ends(
    example: ExampleSubscriber, qonto: MockQonto, *, refused: bool
) -> None:
    scope = "organization.read"
    code = qonto.allow(scope=scope)
    event = example.connect(granted(qonto, code=code, requested_scope=scope, granted_scope=scope))
    leave(example, event, 2)
    before = example.token(event)

    if refused:
        after = example.token(event, refused=before["access_token"])
    else:
        leave(example, event, 0)
        after = example.token(event)

    assert before["status"] == "connected"
    assert after == {"status": "ended"}
    assert example.status(event) == "ended"
    assert qonto.server.refreshes == 0


@pytest.mark.parametrize(
    "changed", [{"QONTO_ENVIRONMENT": "production"}, {"CLIENT_ID": "client-2"}]
)
def test_stack_of_another_client_sends_no_token(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any], changed: dict[str, str]
) -> None:
    leave(example, event, 60)
    before = example.grant(event)
    example.cold_start(**changed)

    for call in example.token, example.disconnect:
        with pytest.raises(Exception, match="another environment or client"):
            call(event)

    assert example.grant(event) == before
    assert qonto.takes(example.tokens(event)["access_token"])


@pytest.mark.parametrize("given", ["unknown", "pending", "held", "failed", "repudiated"])
def test_authorization_without_connection_has_no_token(
    example: ExampleSubscriber, qonto: MockQonto, given: str
) -> None:
    code = f"ory_ac_{uuid4()}" if given == "failed" else qonto.allow()
    event = granted(qonto, code=code)
    if given == "pending":
        example.confirm(event)
    elif given == "held":
        example.publish(event)
    elif given in {"failed", "repudiated"}:
        example.connect(event)
    if given == "repudiated":
        example.repudiate(event)
    example.poll()

    assert example.token(event) == {"status": "not-connected"}
    assert example.disconnect(event) == {"status": "not-connected"}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"authorization_id": "no-uuid"},
        {"authorization_id": UNKNOWN_ID, "disconnect": "no-boolean"},
        {"authorization_id": UNKNOWN_ID, "refused": ["no-text"]},
        {"authorization_id": UNKNOWN_ID, "unfinished": "no-request"},
    ],
)
def test_invalid_request_raises_without_quoting(
    example: ExampleSubscriber, request_: dict[str, Any]
) -> None:
    with pytest.raises(Exception, match="authorization_id") as raised:
        example.invoke(**request_)

    assert type(raised.value).__name__ == "InvalidRequestError"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert not [each for each in ("no-", UNKNOWN_ID) if each in str(raised.value)]


# --------------------------------------------------------------- one refresh at once


def test_two_callers_share_one_refresh(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    leave(example, event, 60)

    with second_caller(example, qonto, authorization_id=event["subject"]) as second:
        first = example.token(event)
        assert second[0].result() == first

    assert qonto.takes(first["access_token"])
    assert qonto.server.refreshes == 1


def test_lost_response_is_repeated_at_once(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    leave(example, event, 60)
    qonto.lost = 1

    response = example.token(event)

    assert qonto.takes(response["access_token"])
    assert qonto.server.refreshes == 2
    assert read_output(capsys).metrics == Counter()


@pytest.mark.parametrize("left", [HOUR, 60])
def test_caller_repeats_refresh_without_response(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any], left: int
) -> None:
    """The first caller had a token that Qonto refused; the other one does not know that."""
    refused = example.tokens(event)["access_token"]
    leave(example, event, left)
    qonto.lost = 2

    first = example.token(event, refused=refused)
    second = example.token(event)

    assert first == {"status": "unavailable"}
    assert qonto.takes(second["access_token"])
    assert qonto.server.reuses == 0


def test_unsent_refresh_forgets_no_sent_one(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    """The second caller has read the connection before the first one refreshes in vain."""
    refused = example.tokens(event)["access_token"]
    request = {"authorization_id": event["subject"], "refused": refused}
    nowhere = {"TOKEN_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with (
        FaultProxy(example.aws.endpoint_url, microburst="") as proxy,
        ThreadPoolExecutor() as executor,
    ):
        proxy.inject("GetSecretValue", Fault.HELD, times=1)
        handler = load_tokens(example.environment | proxy.endpoints | nowhere)
        second = executor.submit(handler, request, LambdaContext("tokens"))
        proxy.wait_for("GetSecretValue")
        qonto.lost = 2
        example.token(event, refused=refused)
        proxy.released.set()
        second.result()

    assert qonto.takes(example.token(event)["access_token"])


# -------------------------------------------------------------- a stopped function


@pytest.mark.parametrize("by", ["caller", "message"])
def test_stopped_refresh_is_finished_within_grace(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any], by: str
) -> None:
    """A function was stopped after Qonto had refreshed its tokens."""
    qonto.refresh(example.tokens(event)["refresh_token"])  # the access token stops working
    claim(example, event, seconds_ago=CLAIM + 1)

    if by == "message":
        message = {"authorization_id": event["subject"], "unfinished": True}
        example.send(json.dumps(message))
        example.poll()
    else:
        example.token(event)

    assert qonto.takes(example.tokens(event)["access_token"])
    assert "refresh" not in example.grant(event)
    assert (qonto.server.refreshes, qonto.server.reuses) == (2, 0)
    assert example.waiting() == 0


def test_message_begins_no_refresh(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    """Nobody would finish it, if the function that handles the message were stopped."""
    leave(example, event, 60)

    example.send(json.dumps({"authorization_id": event["subject"], "unfinished": True}))
    example.poll()

    assert qonto.server.refreshes == 0
    assert example.waiting() == 0


@pytest.mark.parametrize("response", [None, JSONResponse({"error": "invalid_grant"}, 400)])
def test_response_to_lost_claim_changes_nothing(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any], response: Response | None
) -> None:
    """Another function has claimed the refresh, because Qonto was slow."""
    before = example.tokens(event)
    leave(example, event, 60)
    qonto.instead = response
    qonto.meanwhile = lambda: claim(example, event, seconds_ago=0)

    example.token(event)

    assert example.tokens(event) == before
    assert example.grant(event)["status"] == "connected"
    assert "refresh" in example.grant(event)


@slow
def test_caller_waits_ten_seconds_for_another(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    leave(example, event, 60)
    claim(example, event, seconds_ago=0)

    response = example.token(event)

    assert response == {"status": "unavailable"}
    assert qonto.server.refreshes == 0


def test_messages_come_after_claims_within_grace(
    example: ExampleSubscriber, event: dict[str, Any], hurry: Hurry
) -> None:
    leave(example, event, 60)
    example.token(event)

    first, second = hurry.delays[:2]

    assert first > CLAIM
    assert first + CLAIM < second < GRACE


# ------------------------------------------------------- responses without new tokens


REFUSED = {
    "invalid_client": JSONResponse({"error": "invalid_client"}, 401),
    "HTTP 429": PlainTextResponse("slow down", 429),
}
UNCLEAR = {"HTTP 500": PlainTextResponse("", 500), "no-tokens": PlainTextResponse("<html>", 200)}


@pytest.mark.parametrize("response", REFUSED.values(), ids=REFUSED)
def test_refused_refresh_keeps_living_token(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    response: Response,
) -> None:
    before = example.tokens(event)
    qonto.instead = response

    leave(example, event, 65)
    lives = example.token(event)
    output = read_output(capsys)
    leave(example, event, 60)
    is_over = example.token(event)
    qonto.instead = None
    after = example.token(event)

    assert lives["access_token"] == before["access_token"]
    assert is_over == {"status": "unavailable"}
    assert qonto.takes(after["access_token"])
    assert output.metrics == Counter(RefreshFailed=1)


@pytest.mark.parametrize("response", UNCLEAR.values(), ids=UNCLEAR)
def test_unclear_response_leaves_token_in_doubt(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    response: Response,
) -> None:
    """Qonto may have replaced the stored token, so it is not given."""
    leave(example, event, EARLIEST)
    qonto.instead = response

    before = example.token(event)
    output = read_output(capsys)
    qonto.instead = None
    after = example.token(event)

    assert before == {"status": "unavailable"}
    assert qonto.takes(after["access_token"])
    assert output.metrics == Counter(RefreshFailed=1)


def test_unreachable_qonto_leaves_no_claim(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    leave(example, event, 60)
    cut_off(example)

    response = example.token(event)

    assert response == {"status": "unavailable"}
    assert "refresh" not in example.grant(event)
    assert qonto.server.refreshes == 0


def test_unusable_secret_gives_living_token(
    example: ExampleSubscriber, event: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    example.cold_start(CLIENT_SECRET_ARN=str(uuid4()))  # without a value
    leave(example, event, 65)
    lives = example.token(event)
    leave(example, event, 60)
    is_over = example.token(event)

    assert lives["status"] == "connected"
    assert is_over == {"status": "unavailable"}
    output = read_output(capsys)
    assert output.metrics == Counter(SecretUnusable=2)
    assert [line["level"] for line in output.logs] == ["ERROR"]


def test_unread_secret_is_logged_and_counted(
    example: ExampleSubscriber, event: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    example.cold_start(AWS_ENDPOINT_URL_SECRETS_MANAGER=f"http://127.0.0.1:{free_port()}")
    leave(example, event, 60)

    response = example.token(event)

    output = read_output(capsys)
    assert response == {"status": "unavailable"}
    assert output.metrics == Counter(RefreshFailed=1)
    assert [line["message"] for line in output.logs] == ["Client secret not read"]


@pytest.mark.parametrize("error", ["invalid_grant", "token_inactive"])
def test_refused_refresh_token_ends_connection(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    error: str,
) -> None:
    leave(example, event, 60)
    qonto.instead = JSONResponse({"error": error}, 400)

    responses = [example.token(event), example.token(event)]

    assert responses == [{"status": "ended"}] * 2
    assert example.status(event) == "ended"
    assert {"tokens", "refresh"}.isdisjoint(example.grant(event))
    assert read_output(capsys).metrics == Counter(ConnectionEnded=1)


def test_connection_is_told_again_as_ended(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    """The function was stopped before it told the app."""
    end(example, qonto, event)
    example.change_connection(event, "status", {"S": "connected"})

    example.token(event)

    assert example.status(event) == "ended"


def test_ended_authorization_connects_by_later_code(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    end(example, qonto, event)

    later = example.connect(later_than(event, qonto))

    assert qonto.takes(example.token(event)["access_token"])
    assert example.status(later) == "connected"


def test_failed_later_code_leaves_connection_ended(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    end(example, qonto, event)

    example.connect(later_than(event, qonto, code=f"ory_ac_{uuid4()}"))

    assert example.status(event) == "ended"
    assert example.token(event) == {"status": "ended"}


# ------------------------------------------------------------------ a disconnection


def test_disconnection_ends_connection_at_qonto(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    before = example.tokens(event)

    responses = [example.disconnect(event), example.disconnect(event), example.token(event)]

    assert responses == [{"status": "disconnected", "revoked": True}] * 3
    assert example.status(event) == "disconnected"
    assert {"tokens", "code"}.isdisjoint(example.grant(event))
    assert int(example.grant(event)["expires_at"]) > time.time()
    assert not qonto.takes(before["access_token"])
    with pytest.raises(ShownError, match="invalid_grant"):
        qonto.refresh(before["refresh_token"])


def test_disconnection_without_scope_keeps_consent(
    example: ExampleSubscriber, qonto: MockQonto
) -> None:
    event = example.connect(granted(qonto, code=qonto.allow(scope="offline_access")))

    response = example.disconnect(event)

    assert response == {"status": "disconnected", "revoked": False}
    assert "tokens" not in example.grant(event)
    assert example.status(event) == "disconnected"


@pytest.mark.parametrize("left", [HOUR, 60])
def test_message_finishes_disconnection(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any], hurry: Hurry, left: int
) -> None:
    """Until Qonto responds, the app gets no token, and the messages stay in the queue."""
    leave(example, event, left)
    qonto.lost = 99
    began = [example.disconnect(event), example.token(event)]
    told = example.status(event)
    example.poll()
    waiting = example.waiting()
    qonto.lost = 0

    example.poll()

    assert began == [{"status": "disconnecting"}] * 2
    assert told == "disconnected"
    assert waiting == len(hurry.delays)
    assert example.waiting() == 0
    assert example.grant(event)["status"] == "disconnected"
    assert "tokens" not in example.grant(event)


def test_unfinished_disconnection_is_logged(
    example: ExampleSubscriber,
    qonto: MockQonto,
    event: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    example.cold_start()
    qonto.lost = 99

    example.disconnect(event)

    [line] = read_output(capsys).logs
    assert line["message"] == "Disconnection unfinished"
    assert (line["reference"], line["reason"]) == (event["subject"][:8], "HTTP 500")


def test_next_caller_finishes_disconnection(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    tokens, usual = example.tokens(event), example.tokens_handler
    cut_off(example)
    began = example.disconnect(event)
    example.tokens_handler = usual

    response = example.token(event)

    assert began == {"status": "disconnecting"}
    assert response == {"status": "disconnected", "revoked": True}
    assert not qonto.takes(tokens["access_token"])


def test_disconnection_refreshes_expired_token_first(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    leave(example, event, 0)

    response = example.disconnect(event)

    assert response == {"status": "disconnected", "revoked": True}
    assert qonto.server.refreshes == 1


def test_disconnection_refreshes_refused_token(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    qonto.refresh(example.tokens(event)["refresh_token"])  # the access token stops working

    response = example.disconnect(event)

    assert response == {"status": "disconnected", "revoked": True}


@pytest.mark.parametrize("known", [False, True])
def test_ended_connection_can_be_disconnected(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any], *, known: bool
) -> None:
    qonto.revoke(example.tokens(event)["access_token"])
    if known:
        leave(example, event, 60)
        example.token(event)

    response = example.disconnect(event)

    assert response == {"status": "disconnected", "revoked": True}
    assert "tokens" not in example.grant(event)
    assert example.status(event) == "disconnected"


def test_later_code_is_not_exchanged_after_disconnection(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    example.disconnect(event)

    example.connect(later_than(event, qonto))

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "disconnected"
    assert example.token(event)["status"] == "disconnected"


def test_disconnection_during_exchange_keeps_no_tokens(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    """A later code, of another organisation, has been claimed and not yet sent."""
    later = later_than(event, qonto, code=qonto.allow(ORGANIZATIONS[1]))
    example.publish(later)

    with example.delayed_poll("UpdateItem"):
        example.disconnect(event)

    assert {"tokens", "code"}.isdisjoint(example.grant(later))
    assert example.status(event) == "disconnected"
    assert example.waiting() == 0


def test_disconnection_ends_membership_and_no_other(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    """The same organisation twice, and another one."""
    same = example.connect(granted(qonto))
    other = example.connect(granted(qonto, code=qonto.allow(ORGANIZATIONS[1])))
    refused = example.tokens(same)["access_token"]

    example.disconnect(event)

    assert example.token(same, refused=refused) == {"status": "ended"}
    assert example.status(same) == "ended"
    assert qonto.takes(example.token(other)["access_token"])
    assert example.status(other) == "connected"


def test_disconnection_during_refresh_revokes_new_tokens(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    leave(example, event, 60)

    request = {"authorization_id": event["subject"], "disconnect": True}
    with second_caller(example, qonto, **request) as second:
        first = example.token(event)
        response = second[0].result()

    assert first == {"status": "disconnecting"}
    assert response == {"status": "disconnected", "revoked": True}
    assert "tokens" not in example.grant(event)
    assert qonto.server.refreshes == 1


def test_repudiation_during_refresh_keeps_no_tokens(
    example: ExampleSubscriber, qonto: MockQonto, event: dict[str, Any]
) -> None:
    leave(example, event, 60)
    example.repudiate(event)
    qonto.meanwhile = example.poll

    response = example.token(event)

    assert response == {"status": "not-connected"}
    assert "tokens" not in example.grant(event)
    assert example.status(event) == "repudiated"


def test_optional_confirmation_refreshes_and_disconnects(
    aws: LocalAws, stack: Stack, qonto: MockQonto
) -> None:
    no_app = without_app(aws, stack.topic_arn, qonto)
    event = granted(qonto, context=None)
    no_app.publish(event)
    no_app.poll()
    leave(no_app, event, 60)

    responses = [no_app.token(event), no_app.disconnect(event)]

    assert [each["status"] for each in responses] == ["connected", "disconnected"]
    assert qonto.server.refreshes == 1


# --------------------------------------------------------------------------- leaks


def test_output_of_tokens_contains_no_secret(
    example: ExampleSubscriber,
    qonto: MockQonto,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)  # of all libraries, as AWS_LAMBDA_LOG_LEVEL sets it
    example.cold_start(POWERTOOLS_LOG_LEVEL="DEBUG", POWERTOOLS_LOGGER_LOG_EVENT="true")
    events = [example.connect(granted(qonto)) for _ in range(3)]
    failing, ending, disconnected = events
    ids = {event["subject"] for event in events}
    secrets = {CLIENT_SECRET, STAGING_TOKEN}
    for event in events:
        tokens = example.tokens(event)
        secrets |= {tokens["access_token"], tokens["refresh_token"]}
        leave(example, event, 60)
    for qonto.instead in (REFUSED | UNCLEAR).values():
        example.token(failing)
    qonto.instead = JSONResponse({"error": "invalid_grant"}, 400)
    example.token(ending)
    qonto.instead = None
    secrets.add(example.token(failing)["access_token"])
    secrets.add(example.tokens(failing)["refresh_token"])
    example.disconnect(disconnected)
    example.send(json.dumps({"authorization_id": failing["subject"], "unfinished": "no-boolean"}))
    example.poll()

    output = read_output(capsys)
    items = json.dumps([example.connection(event) for event in events])
    assert {line["reason"] for line in output.logs if "reason" in line} == {
        *REFUSED,
        *UNCLEAR,
        "invalid_grant",
    }
    assert {"Connection ended", "Connection disconnected", "Message failed: it comes again"} <= {
        line["message"] for line in output.logs
    }
    assert leaks(output.text + caplog.text, secrets | ids) == set()
    assert leaks(items, secrets) == set()
