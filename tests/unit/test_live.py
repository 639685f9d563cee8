"""The live page shows each event and its status, and shortens their secrets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from demo.clock import Clock
from demo.live import Live, create_app

ARRIVED_AT = 1_800_000_000.0
CODE = "ory_ac_AbC" + "x" * 84
CONNECTED = {
    "status": "connected",
    "tokens": {"access_token": "ory_at_" + "y" * 87, "refresh_token": "ory_rt_" + "z" * 87},
}
URL = "http://localhost:8003"


def event(**data: str) -> str:
    """Return a granted event, or a failed one if *data* has an error."""
    kind = "failed" if "error" in data else "granted"
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


def page(live: Live) -> str:
    return TestClient(create_app(live), URL).get("/").text


def shown(message: str, *grants: dict[str, Any], after: float = 0) -> str:
    """Return the page once the example's table had *grants*, one after another."""
    left = list(grants)
    live = Live(lambda _: left.pop(0), lambda: ARRIVED_AT + after)
    live.take_in(message)
    for _ in grants:
        live.look()
    assert left == []
    return page(live)


@pytest.mark.parametrize(
    ("grants", "sentence"),
    [
        ([{}], "Waiting for the app to confirm"),
        ([{"status": "held"}], "Waiting for the app to confirm"),
        ([{"status": "exchanging"}], "exchanging the code"),
        ([CONNECTED], "exchanged: connected"),
        ([CONNECTED | {"issued_at": ARRIVED_AT, "refreshes": 1}], "08:00:00 UTC (refresh 1)"),
        ([{"status": "failed", "reason": "<b>"}], "failed: <code>&lt;b&gt;</code>"),
        ([{"status": "lost", "reason": "HTTP 500"}], "not tried again: HTTP 500"),
        ([CONNECTED, {"status": "superseded"}], "Replaced by a later code"),
        ([CONNECTED, {"status": "repudiated"}], "The app repudiated it"),
        ([CONNECTED, {"status": "ended"}], "the user must connect again"),
        ([CONNECTED, {"status": "disconnecting"}], "Qonto is being told"),
        (
            [{"status": "disconnecting"}, {"status": "disconnected", "is_revoked": True}],
            "and revoked at Qonto",
        ),
        ([{"status": "disconnected", "is_revoked": False}], "by the app</p>"),
    ],
)
def test_code_shows_the_status_of_its_grant(grants: list[dict[str, Any]], sentence: str) -> None:
    text = shown(event(), *grants)

    assert sentence in text
    assert ("access token" in text) == ("tokens" in grants[-1])


def test_unconfirmed_code_expires() -> None:
    assert "died unused, which is a normal end" in shown(event(), {}, after=600)


@pytest.mark.parametrize(
    "status", ["failed", "lost", "superseded", "repudiated", "ended", "disconnected"]
)
def test_ended_grant_is_not_read_again(status: str) -> None:
    grants = [{"status": status}]
    live = Live(lambda _: grants.pop())
    for message in (event(), event(error="access_denied").replace("001", "002")):
        live.take_in(message)

    for _ in range(3):
        live.look()  # would fail without a grant

    assert f'<article class="event {status}"' in page(live)


def test_secrets_are_shown_shortened_only_where_one_can_exchange() -> None:
    text = shown(event(code_verifier="v" * 43), CONNECTED)
    for secret in ("ory_ac_AbC…(94", "ory_at_yyy…(94", "ory_rt_zzz…(94", "vvvvvvvvvv…(43"):
        assert f"{secret} characters)" in text
    assert CODE not in text

    by_hand = Live()
    by_hand.take_in(event())
    by_hand.look()
    assert CODE in page(by_hand)


def test_error_is_shown_escaped() -> None:
    text = shown(event(error="<b>", error_description="<script>alert(1)"))

    assert "Qonto responded <code>&lt;b&gt;</code>" in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.mark.parametrize("message", ["not JSON", "[]", event(code_expires_at="soon")])
def test_invalid_event_is_shown_without_its_text(message: str) -> None:
    text = shown(message)

    assert "not an event of the connector" in text
    assert CODE not in text


def test_late_watcher_sees_the_past_and_each_change() -> None:
    grants = [{"status": status} for status in ("exchanging", "exchanging", "connected")]
    live = Live(lambda _: grants.pop(0))
    cards = live.cards(lambda _, entry: f"{entry.status}, {entry.deliveries}")
    live.take_in(event())

    async def watch() -> list[str]:
        seen = [(await anext(cards))["data"] for _ in range(2)]
        live.take_in(event())
        grants.append({"status": "connected"})
        return [*seen, (await anext(cards))["data"]]

    assert asyncio.run(watch()) == ["exchanging, 1", "connected, 1", "connected, 2"]


def test_buttons_put_the_clock_forward(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    browser = TestClient(create_app(Live(), clock), URL, headers={"origin": URL})

    assert " ahead" not in browser.get("/").text
    for jump in ("An hour later", "91 days later", "An hour later", "unknown"):
        response = browser.post("/clock", data={"jump": jump})

    assert clock.ahead == (91 * 24 + 2) * 3600
    assert "<b>91 days and 2 hours</b> ahead" in response.text
    assert "<form" not in page(Live())
