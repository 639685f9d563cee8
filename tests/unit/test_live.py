"""The live page shows each event and its status, and shortens their secrets."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from demo.clock import Clock as DemoClock
from demo.live import Event, Live, create_app

ARRIVED_AT = 1_800_000_000.0
CODE = "ory_ac_AbC" + "x" * 84


class Grants:
    """The example's table, as a test fills it."""

    def __init__(self) -> None:
        self.item: dict[str, Any] = {}
        self.asked: list[str] = []

    def __call__(self, event: Event) -> dict[str, Any]:
        self.asked.append(event.id)
        return self.item


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = ARRIVED_AT

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def grants() -> Grants:
    return Grants()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(grants: Grants, clock: Clock) -> Live:
    return Live(grants, clock)


def granted(**data: str) -> str:
    members = {"code": CODE, "code_expires_at": _rfc3339(ARRIVED_AT + 600), "context": "ours"}
    return event("granted", members | data)


def event(kind: str, data: dict[str, str]) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": "0a1b2c3d-0000-5000-8000-000000000001",
            "type": f"qonto-connect.authorization.{kind}.v1",
            "subject": "5b0f5a0e-0000-4000-8000-000000000001",
            "time": _rfc3339(ARRIVED_AT),
            "data": data,
        }
    )


def page(live: Live) -> str:
    return TestClient(create_app(live), "http://localhost:8003").get("/").text


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("grant", "sentence"),
    [
        ({}, "Waiting for the app to confirm"),
        ({"status": "held"}, "Waiting for the app to confirm"),
        ({"status": "exchanging"}, "exchanging the code"),
        ({"status": "connected", "tokens": {"access_token": "a" * 94}}, "exchanged: connected"),
        ({"status": "failed", "reason": "<b>"}, "exchange failed: <code>&lt;b&gt;</code>"),
        ({"status": "lost", "reason": "HTTP 500"}, "not tried again: HTTP 500"),
        ({"status": "superseded"}, "Replaced by a later code"),
        ({"status": "repudiated"}, "The app repudiated it"),
        ({"status": "disconnecting"}, "Qonto is being told"),
        ({"status": "disconnected", "is_revoked": True}, "and revoked at Qonto"),
        ({"status": "disconnected", "is_revoked": False}, "by the app</p>"),
        ({"status": "ended"}, "the user must connect again"),
    ],
)
def test_code_shows_the_status_of_its_grant(
    live: Live, grants: Grants, grant: dict[str, Any], sentence: str
) -> None:
    live.take_in(granted())

    grants.item = grant
    asyncio.run(live.look())

    assert sentence in page(live)


def test_code_that_nobody_confirmed_expires(live: Live, clock: Clock) -> None:
    live.take_in(granted())

    clock.seconds += 600
    asyncio.run(live.look())

    assert "died unused, which is a normal end" in page(live)


def test_refresh_shows_when_tokens_were_issued(live: Live, grants: Grants) -> None:
    live.take_in(granted())
    connected = {"status": "connected", "tokens": {"access_token": "a" * 94}}
    for number in range(2):
        grants.item = connected | {"issued_at": ARRIVED_AT + number, "refreshes": number}
        asyncio.run(live.look())

    assert "15 January, 08:00:01 UTC (refresh 1)" in page(live)


@pytest.mark.parametrize(
    "end", [["superseded"], ["repudiated"], ["ended"], ["disconnecting", "disconnected"]]
)
def test_connected_grant_can_still_end(live: Live, grants: Grants, end: list[str]) -> None:
    live.take_in(granted())
    grants.item = {"status": "connected", "tokens": {"access_token": "a" * 94}}
    asyncio.run(live.look())

    for status in end:
        grants.item = {"status": status}
        asyncio.run(live.look())

    assert f'<article class="event {end[-1]}"' in page(live)
    assert "access token" not in page(live)


ENDS = ["failed", "lost", "superseded", "repudiated", "ended", "disconnected"]


@pytest.mark.parametrize("status", ENDS)
def test_ended_grant_is_not_read_again(live: Live, grants: Grants, status: str) -> None:
    live.take_in(granted())
    live.take_in(event("failed", {"error": "access_denied"}) + " ")
    grants.item = {"status": status}

    for _ in range(3):
        asyncio.run(live.look())

    assert len(grants.asked) == 1


def test_secrets_are_shown_shortened(live: Live, grants: Grants) -> None:
    live.take_in(granted(code_verifier="v" * 43))
    grants.item = {
        "status": "connected",
        "tokens": {"access_token": "ory_at_" + "y" * 87, "refresh_token": "ory_rt_" + "z" * 87},
    }
    asyncio.run(live.look())

    text = page(live)

    for shown in ("ory_ac_AbC…(94", "ory_at_yyy…(94", "ory_rt_zzz…(94", "vvvvvvvvvv…(43"):
        assert f"{shown} characters)" in text
    assert CODE not in text


def test_code_without_client_secret_is_shown_in_full(clock: Clock) -> None:
    live = Live(None, clock)

    live.take_in(granted())
    asyncio.run(live.look())

    assert CODE in page(live)
    assert "yours to try by hand" in page(live)


def test_an_error_is_shown_escaped(live: Live) -> None:
    live.take_in(event("failed", {"error": "<b>", "error_description": "<script>alert(1)"}))

    text = page(live)

    assert "Qonto answered <code>&lt;b&gt;</code>" in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_second_delivery_is_counted(live: Live) -> None:
    for _ in range(2):
        live.take_in(granted())

    assert page(live).count("<article") == 1
    assert "2 times, shown once" in page(live)


@pytest.mark.parametrize(
    "message", ["not JSON", "[]", granted(code_expires_at="soon"), '{"data": {}}']
)
def test_invalid_event_is_shown_without_its_text(live: Live, message: str) -> None:
    live.take_in(message)

    assert "not an event of the connector" in page(live)
    assert CODE not in page(live)


def test_late_watcher_sees_the_past_and_each_change(live: Live, grants: Grants) -> None:
    async def watch() -> list[str]:
        ending = anyio.Event()
        entries = live.watch(ending)
        statuses = [(await anext(entries)).status]
        for status in ("exchanging", "connected"):
            grants.item = {"status": status}
            await live.look()
            statuses.append((await anext(entries)).status)
        ending.set()
        return statuses + [entry.status async for entry in entries]

    live.take_in(granted())

    assert asyncio.run(watch()) == ["held", "exchanging", "connected"]


def test_buttons_put_the_clock_forward(live: Live, tmp_path: Path) -> None:
    url = "http://localhost:8003"
    clock = DemoClock(tmp_path / "clock")
    browser = TestClient(create_app(live, demo_clock=clock), url, headers={"origin": url})

    assert " ahead" not in browser.get("/").text
    for jump in ("An hour later", "91 days later", "An hour later", "unknown"):
        shown = browser.post("/clock", data={"jump": jump})

    assert clock.ahead == (91 * 24 + 2) * 3600
    assert "<b>91 days and 2 hours</b> ahead" in shown.text


def test_page_without_demo_clock_has_no_buttons(live: Live) -> None:
    assert "<form" not in page(live)
