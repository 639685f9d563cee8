"""The event that callback publishes."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from authorization import PendingAuthorization
from callback import authorization_response, events
from tests.unit.flow import CODE, STARTED_AT, STATE, pending

ARRIVED_AT = STARTED_AT + 90
TOKEN_ENDPOINT = "https://oauth-sandbox.staging.qonto.co/oauth2/token"


def build(
    parameters: dict[str, str],
    authorization: PendingAuthorization | None = None,
    arrived_at: int = ARRIVED_AT,
) -> dict[str, Any]:
    """Return the event, as JSON, of an authorization response with *parameters*."""
    event = events.build(
        authorization or pending(),
        authorization_response.parse(urlencode(parameters | {"state": STATE})),
        TOKEN_ENDPOINT,
        arrived_at,
    )
    published: dict[str, Any] = json.loads(events.to_message(event))
    return published


def test_granted_event_equals_the_contract() -> None:
    authorization = pending(
        organization_id="org", registration_id="reg", context="ctx", code_verifier="v" * 43
    )

    granted = build({"code": CODE, "scope": "organization.read"}, authorization)

    event_id = UUID(granted.pop("id"))
    assert event_id.version == 5
    assert granted == {
        "specversion": "1.0",
        "source": "/qonto-connect/sandbox/client-1",
        "type": "qonto-connect.authorization.granted.v1",
        "subject": "5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a00",
        "time": "2023-11-14T22:14:50Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:qonto-connect:authorization-granted:v1",
        "data": {
            "environment": "sandbox",
            "client_id": "client-1",
            "redirect_uri": "https://connect.example.com/callback",
            "token_endpoint": TOKEN_ENDPOINT,
            "requested_scope": "offline_access organization.read",
            "requested_organization_id": "org",
            "requested_registration_id": "reg",
            "context": "ctx",
            "started_at": "2023-11-14T22:13:20Z",
            "code": CODE,
            "code_expires_at": "2023-11-14T22:24:50Z",
            "granted_scope": "organization.read",
            "code_verifier": "v" * 43,
        },
    }


def test_failed_event_equals_the_contract_without_absent_members() -> None:
    failed = build({"error": "access_denied", "error_description": "a, b"})

    assert UUID(failed.pop("id")).version == 5
    assert failed == {
        "specversion": "1.0",
        "source": "/qonto-connect/sandbox/client-1",
        "type": "qonto-connect.authorization.failed.v1",
        "subject": "5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a00",
        "time": "2023-11-14T22:14:50Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:qonto-connect:authorization-failed:v1",
        "data": {
            "environment": "sandbox",
            "client_id": "client-1",
            "redirect_uri": "https://connect.example.com/callback",
            "token_endpoint": TOKEN_ENDPOINT,
            "requested_scope": "offline_access organization.read",
            "started_at": "2023-11-14T22:13:20Z",
            "error": "access_denied",
            "error_description": "a, b",
        },
    }


def test_repeated_authorization_response_has_the_same_event_id() -> None:
    assert build({"code": CODE})["id"] == build({"code": CODE}, arrived_at=ARRIVED_AT + 5)["id"]


def test_different_authorization_responses_have_different_event_ids() -> None:
    other = pending(authorization_id=UUID("5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a01"))

    ids = {
        build({"code": CODE})["id"],
        build({"code": CODE + "x"})["id"],
        build({"error": CODE})["id"],
        build({"error": "access_denied"})["id"],
        build({"code": CODE}, other)["id"],
    }

    assert len(ids) == 5


def test_event_holds_neither_state_nor_browser_hash() -> None:
    published = json.dumps(build({"code": CODE}))

    assert STATE not in published
    assert pending().browser_hash not in published


def test_code_and_verifier_are_only_in_data() -> None:
    granted = build({"code": CODE}, pending(code_verifier="v" * 43))

    del granted["data"]
    assert CODE not in json.dumps(granted)
    assert "v" * 43 not in json.dumps(granted)


def test_largest_event_stays_under_8_kb() -> None:
    authorization = pending(
        client_id="c" * 128,
        redirect_uri="https://" + "h" * 495 + "/callback",
        scope="s" * 1024,
        organization_id="o" * 128,
        registration_id="r" * 128,
        context="x" * 256,
        code_verifier="v" * 43,
    )
    responses = [
        {"code": '"' * 2048, "scope": "s" * 1024},
        {"error": "\0" * 500, "error_description": "\0" * 5000},
        {"error": "🏦" * 500, "error_description": "🏦" * 5000},
    ]

    for response in responses:
        event = events.build(
            authorization,
            authorization_response.parse(urlencode(response | {"state": STATE})),
            TOKEN_ENDPOINT,
            ARRIVED_AT,
        )
        assert len(events.to_message(event).encode()) < 8192
