"""The event that callback publishes."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest

from callback import authorization_response, events
from tests.support.flow import CODE, STARTED_AT, STATE, pending

TOKEN_ENDPOINT = "https://oauth-sandbox.staging.qonto.co/oauth2/token"


def message(given: dict[str, str], arrived_at: int = STARTED_AT + 90, **asked: object) -> str:
    response = authorization_response.parse(urlencode(given | {"state": STATE}))
    return events.to_message(events.build(pending(**asked), response, TOKEN_ENDPOINT, arrived_at))


@pytest.mark.claim("S25")
def test_event_has_what_was_asked_with_secrets_only_in_data() -> None:
    """docs/examples/, which a real run must equal, has the other members."""
    ids: dict[str, Any] = {"organization_id": "org", "registration_id": "reg"}
    kept: dict[str, Any] = {"context": "ctx", "code_verifier": "v" * 43}
    published = message({"code": CODE}, **ids, **kept)
    assert STATE not in published
    assert pending().browser_hash not in published
    event = json.loads(published)
    data = event.pop("data")
    assert CODE not in str(event)
    assert kept["code_verifier"] not in str(event)
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
    assert data == always | kept | {f"requested_{name}": value for name, value in ids.items()}
    plain = json.loads(message({"code": CODE, "scope": "organization.read"}))
    assert plain["data"] == always | {"granted_scope": "organization.read"}


@pytest.mark.claim("S20")
def test_repeated_authorization_response_has_the_same_event_id() -> None:
    messages = [
        message({"code": CODE}),
        message({"code": CODE}, arrived_at=STARTED_AT + 95),
        message({"code": CODE + "x"}),
        message({"error": CODE}),
        message({"error": "access_denied"}),
        message({"code": CODE}, authorization_id="5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a01"),
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
    message_of_longest_values = message(
        response,
        client_id="c" * 128,
        redirect_uri="https://" + "h" * 495 + "/callback",
        scope="s" * 1024,
        organization_id="o" * 128,
        registration_id="r" * 128,
        context="x" * 256,
        code_verifier="v" * 43,
    )
    assert len(message_of_longest_values.encode()) < 8192
