"""The example subscriber gives access tokens that work, until a connection ends."""

import time
from collections import Counter

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo.gateway import LambdaContext
from demo.qonto import ORGANIZATIONS, ShownError
from tests.support.faults import Hurry
from tests.support.subscription import (
    NOWHERE,
    SCOPE,
    Capture,
    Event,
    Example,
    confirmation_of,
    granted,
    read_output,
)

pytestmark = pytest.mark.usefixtures("qonto")

HOUR = 3600
EARLIEST = 600  # seconds before its end, from which a token is refreshed
CLAIM = 22  # seconds, after which another function refreshes
GRACE = 60  # seconds, in which Qonto takes a used refresh token again
DISCONNECTED = "disconnected", "disconnected", set[str]()


@pytest.fixture
def event(example: Example) -> Event:
    """The event of a new connection."""
    return example.connect(granted(example.qonto))


def leave(example: Example, event: Event, seconds: int) -> str:
    """Let the access token of *event* live for another *seconds*; return it."""
    tokens = example.grant(event)["tokens"]
    example.change(event, issued_at=int(time.time()) + seconds - int(tokens["expires_in"]))
    return str(tokens["access_token"])


@pytest.mark.parametrize(
    ("lifetime", "left", "refreshes"),
    [
        (HOUR, EARLIEST + 9, 0),
        (HOUR, EARLIEST, 1),
        (HOUR, -9, 1),
        (HOUR, HOUR, 1),  # Qonto refused it
        (100, 59, 0),
        (100, 50, 1),  # half of it
    ],
)
def test_refused_token_or_one_near_its_end_is_refreshed(
    example: Example, event: Event, lifetime: int, left: int, refreshes: int
) -> None:
    before = example.grant(event)["tokens"] | {"expires_in": lifetime}
    example.change(event, tokens=before)
    access_token = leave(example, event, left)
    request = {"refused": access_token} if left == HOUR else {}

    # If its function were stopped, nothing would finish a refresh that a message began.
    example.handle(event, "remind")
    assert (example.qonto.server.refreshes, example.waiting()) == (0, 0)
    first, second = example.token(event, **request), example.token(event, **request)

    grant, tokens = example.grant(event), example.grant(event)["tokens"]
    shown = {"status": "connected", "organization": ORGANIZATIONS[0].name}
    assert first == second
    assert first == {
        **shown,
        "access_token": tokens["access_token"],
        "expires_at": grant["issued_at"] + tokens["expires_in"],
        "scope": SCOPE,
    }
    assert first["expires_at"] > time.time() + (HOUR if refreshes else left) - 9
    assert example.qonto.server.refreshes == refreshes
    assert example.qonto.takes(first["access_token"])
    assert (first["access_token"] == access_token) == (not refreshes)
    assert (tokens["refresh_token"] == before["refresh_token"]) == (not refreshes)
    assert "refresh" not in grant
    told = confirmation_of(event) | shown | {"event_time": grant["event_time"]}
    assert example.connection(event) == told


def test_refresh_adds_organization_and_keeps_omitted_members(
    example: Example, event: Event
) -> None:
    example.change(event, organization=None)
    assert "organization" not in example.token(event)
    leave(example, event, 60)
    for _ in range(2):
        assert example.token(event)["organization"] == ORGANIZATIONS[0].name
    leave(example, event, 60)
    before = example.grant(event)["tokens"]
    example.qonto.instead = JSONResponse({"access_token": "new"})
    assert example.token(event)["scope"] == SCOPE
    assert example.grant(event)["tokens"] == before | {"access_token": "new"}


def test_stack_of_another_client_sends_no_token(example: Example, event: Event) -> None:
    access_token = leave(example, event, 60)
    before = example.grant(event)

    for changed in {"QONTO_ENVIRONMENT": "production"}, {"CLIENT_ID": "client-2"}:
        example.cold_start(**changed)
        for call in example.token, example.disconnect:
            with pytest.raises(Exception, match="another environment or client"):
                call(event)

    assert example.grant(event) == before
    assert example.qonto.takes(access_token)


@pytest.mark.parametrize("steps", ["", "confirm", "publish", "publish confirm repudiate"])
def test_authorization_without_connection_has_no_token(example: Example, steps: str) -> None:
    event = granted(example.qonto)
    example.handle(event, steps)

    for call in example.token, example.disconnect:
        assert call(event) == {"status": "not-connected"}


@pytest.mark.parametrize("name", ["authorization_id", "disconnect", "refused", "unfinished"])
@pytest.mark.claim("S33")
def test_invalid_request_raises_without_quoting(example: Example, name: str) -> None:
    request = {"authorization_id": "00000000-0000-4000-8000-000000000000", name: ["quoted"]}

    with pytest.raises(Exception, match="authorization_id") as raised:
        example.tokens_handler(request, LambdaContext("tokens"))

    assert type(raised.value).__name__ == "InvalidRequestError"
    assert raised.value.__suppress_context__
    assert raised.value.__cause__ is None
    assert not [each for each in ("quoted", "0000-4000") if each in str(raised.value)]


@pytest.mark.parametrize(
    "given",
    [
        JSONResponse({"error": "invalid_client"}, 401),
        PlainTextResponse("slow down", 429),
        PlainTextResponse("", 500),
        PlainTextResponse("<html>", 200),
        {"TOKEN_ENDPOINT": NOWHERE},
        {"CLIENT_SECRET_ARN": "without-a-value"},
        {"AWS_ENDPOINT_URL_SECRETS_MANAGER": NOWHERE},
    ],
)
@pytest.mark.claim("S32")
def test_failed_refresh_keeps_living_token(
    example: Example, event: Event, capsys: Capture, given: Response | dict[str, str]
) -> None:
    if isinstance(given, Response):
        example.qonto.instead = given
    else:
        example.cold_start(**given)
    # Qonto may have replaced the stored token.
    is_in_doubt = isinstance(given, Response) and given.status_code in {200, 500}

    access_token = leave(example, event, 65)
    lives = example.token(event)
    leave(example, event, 60)
    is_over = example.token(event)
    metrics, grant = read_output(capsys).metrics, example.grant(event)
    example.cold_start()
    example.qonto.instead = None

    assert example.qonto.takes(example.token(event)["access_token"])
    assert lives.get("access_token") == (None if is_in_doubt else access_token)
    assert is_over == {"status": "unavailable"}
    assert ("refresh" in grant) == is_in_doubt
    is_unusable = given == {"CLIENT_SECRET_ARN": "without-a-value"}
    assert metrics == Counter({"SecretUnusable" if is_unusable else "RefreshFailed": 2})


@pytest.mark.parametrize("reason", ["invalid_grant", "token_inactive", "expired", "refused"])
@pytest.mark.claim("S32")
def test_connection_that_cannot_be_refreshed_ends(
    example: Example, event: Event, capsys: Capture, reason: str
) -> None:
    access_token, request = leave(example, event, 2), {}
    example.qonto.instead = JSONResponse({"error": reason}, 400)
    if reason in {"expired", "refused"}:
        example.change(event, tokens={"access_token": access_token})  # no refresh token
        assert example.token(event)["access_token"] == access_token
    if reason == "expired":
        example.change(event, issued_at=int(time.time()) - HOUR)
    elif reason == "refused":
        request["refused"] = access_token

    assert example.token(event, **request) == {"status": "ended"}
    example.change_status(event, "connected")  # the function was stopped before it told the app
    assert example.token(event) == {"status": "ended"}
    assert example.outcome(event) == ("ended", "ended", set())
    assert example.qonto.server.refreshes == 0
    assert read_output(capsys).metrics == Counter(ConnectionEnded=1)


@pytest.mark.parametrize(
    ("before", "refreshes"),
    [("new", 0), ("expired", 1), ("refused", 2), ("withdrawn", 0), ("ended", 0), ("forbidden", 0)],
)
@pytest.mark.claim("S34")
def test_disconnection_ends_connection_at_qonto(
    example: Example, event: Event, before: str, refreshes: int
) -> None:
    is_allowed = before != "forbidden"
    if not is_allowed:  # without organization.read, it may not revoke itself
        code = example.qonto.allow(scope="offline_access")
        event = example.connect(granted(example.qonto, code=code))
    tokens = example.grant(event)["tokens"]
    if before == "expired":
        leave(example, event, 0)
    if before == "refused":
        example.qonto.refresh(tokens["refresh_token"])  # the access token stops working
    if before in {"withdrawn", "ended"}:
        example.qonto.revoke(tokens["access_token"])
    if before == "ended":
        example.token(event, refused=tokens["access_token"])

    responses = [example.disconnect(event), example.disconnect(event), example.token(event)]

    assert responses == [{"status": "disconnected", "revoked": is_allowed}] * 3
    assert example.outcome(event) == DISCONNECTED
    assert example.grant(event)["expires_at"] > time.time()
    assert example.qonto.server.refreshes == refreshes
    if is_allowed:
        with pytest.raises(ShownError, match="invalid_grant"):
            example.qonto.refresh(tokens["refresh_token"])
        assert not example.qonto.takes(tokens["access_token"])


@pytest.mark.claim("S34", "T12")
def test_unfinished_disconnection_is_finished(example: Example, event: Event) -> None:
    example.qonto.is_lost = True
    with Hurry(example.aws.endpoint_url) as proxy:
        example.cold_start(**proxy.endpoints)
        assert example.disconnect(event) == example.token(event) == {"status": "disconnecting"}
        assert example.connection(event)["status"] == "disconnected"
        example.poll()
        assert example.waiting() == 2
        example.qonto.is_lost = False
        example.poll()

    first, second = proxy.delays  # each message comes after a claim, and within the grace
    assert CLAIM < first < second - CLAIM < GRACE - CLAIM
    assert example.waiting() == 0
    assert example.outcome(event) == DISCONNECTED
