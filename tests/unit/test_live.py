"""The live page shows each event and its status, and shortens their secrets."""

import json

import pytest
from starlette.testclient import TestClient

from demo.live import Live, create_app

CODE = "ory_ac_AbC" + "x" * 84
CONNECTED = {
    "status": "connected",
    "tokens": {"access_token": "ory_at_" + "y" * 87, "refresh_token": "ory_rt_" + "z" * 87},
}


def event(kind: str = "granted", **data: str) -> str:
    code = {"code": CODE, "code_expires_at": "2027-01-15T08:10:00Z"}
    return json.dumps(
        {
            "id": "0a1b2c3d-0000-5000-8000-000000000001",
            "type": f"qonto-connect.authorization.{kind}.v1",
            "subject": "5b0f5a0e-0000-4000-8000-000000000001",
            "time": "2027-01-15T08:00:00Z",
            "data": data if kind == "failed" else code | data,
        }
    )


def shown(message: str, live: Live) -> str:
    """Return the page once *message* has arrived."""
    live.take_in(message)
    live.look()
    return TestClient(create_app(live), "http://localhost:8003").get("/").text


def test_secrets_are_shown_shortened_only_where_one_can_exchange() -> None:
    text = shown(event(code_verifier="v" * 43), Live(lambda _: CONNECTED))

    for secret in ("ory_ac_AbC…(94", "ory_at_yyy…(94", "ory_rt_zzz…(94", "vvvvvvvvvv…(43"):
        assert f"{secret} characters)" in text
    assert CODE not in text
    assert CODE in shown(event(), Live())


def test_error_is_shown_escaped() -> None:
    text = shown(event("failed", error="<b>", error_description="<script>alert(1)"), Live())

    assert "Qonto responded <code>&lt;b&gt;</code>" in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("message", ["not JSON", "[]", event(code_expires_at="soon")])
def test_invalid_event_is_shown_without_its_text(message: str) -> None:
    text = shown(message, Live())

    assert "not an event of the connector" in text
    assert CODE not in text
