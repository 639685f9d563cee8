"""The event that callback publishes."""

import json
from urllib.parse import urlencode
from uuid import UUID

import pytest

from authorization import PendingAuthorization
from callback import authorization_response, events
from tests.support.flow import CODE, STARTED_AT, STATE, pending

ARRIVED_AT = STARTED_AT + 90
TOKEN_ENDPOINT = "https://oauth-sandbox.staging.qonto.co/oauth2/token"


def message(
    parameters: dict[str, str],
    authorization: PendingAuthorization | None = None,
    arrived_at: int = ARRIVED_AT,
) -> str:
    response = authorization_response.parse(urlencode(parameters | {"state": STATE}))
    event = events.build(authorization or pending(), response, TOKEN_ENDPOINT, arrived_at)
    return events.to_message(event)


@pytest.mark.claim("S25")
def test_event_has_what_was_asked_with_secrets_only_in_data() -> None:
    """docs/examples/, which a real run must equal, has the other members."""
    asked = {"organization_id": "org", "registration_id": "reg", "context": "ctx"}
    published = message({"code": CODE}, pending(**asked, code_verifier="v" * 43))
    assert STATE not in published
    assert pending().browser_hash not in published
    event = json.loads(published)
    data = event.pop("data")
    assert CODE not in str(event)
    assert "v" * 43 not in str(event)
    assert (UUID(event["id"]).version, event["time"]) == (5, "2023-11-14T22:14:50Z")
    always = {
        "environment": "sandbox",
        "client_id": "client-1",
        "redirect_uri": "https://connect.example.com/callback",
        "token_endpoint": TOKEN_ENDPOINT,
        "requested_scope": "offline_access organization.read",
        "started_at": "2023-11-14T22:13:20Z",
        "code": CODE,
        "code_expires_at": "2023-11-14T22:24:50Z",
    }
    assert data == always | {
        "requested_organization_id": "org",
        "requested_registration_id": "reg",
        "context": "ctx",
        "code_verifier": "v" * 43,
    }
    plain = json.loads(message({"code": CODE, "scope": "organization.read"}))
    assert plain["data"] == always | {"granted_scope": "organization.read"}


@pytest.mark.claim("S20")
def test_repeated_authorization_response_has_the_same_event_id() -> None:
    other = pending(authorization_id=UUID("5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a01"))
    messages = [
        message({"code": CODE}),
        message({"code": CODE}, arrived_at=ARRIVED_AT + 5),
        message({"code": CODE + "x"}),
        message({"error": CODE}),
        message({"error": "access_denied"}),
        message({"code": CODE}, other),
    ]
    first, again, *others = (json.loads(published)["id"] for published in messages)
    assert again == first
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    "response",
    [
        {"code": '"' * 2048, "scope": "s" * 1024},
        {"error": "\0" * 500, "error_description": "\0" * 5000},
        {"error": "🏦" * 500, "error_description": "🏦" * 5000},
    ],
)
@pytest.mark.claim("S14")
def test_largest_event_stays_under_8_kb(response: dict[str, str]) -> None:
    authorization = pending(
        client_id="c" * 128,
        redirect_uri="https://" + "h" * 495 + "/callback",
        scope="s" * 1024,
        organization_id="o" * 128,
        registration_id="r" * 128,
        context="x" * 256,
        code_verifier="v" * 43,
    )
    assert len(message(response, authorization).encode()) < 8192
