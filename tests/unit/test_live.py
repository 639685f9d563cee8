"""The live page shows what came and how it stands, and no secret that still is one."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

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
        ({"state": "held"}, "Waiting for the app to confirm"),
        ({"state": "exchanging"}, "exchanging the code"),
        ({"state": "connected", "tokens": {"access_token": "a" * 94}}, "exchanged: connected"),
        ({"state": "failed", "reason": "<b>"}, "refused the exchange: <code>&lt;b&gt;</code>"),
        ({"state": "lost", "reason": "HTTP 500"}, "not tried again: HTTP 500"),
    ],
)
def test_a_code_stands_as_the_example_says(
    live: Live, grants: Grants, grant: dict[str, Any], sentence: str
) -> None:
    live.take_in(granted())

    grants.item = grant
    asyncio.run(live.look())

    assert sentence in page(live)


def test_a_code_that_nobody_confirmed_in_time_died_unused(live: Live, clock: Clock) -> None:
    live.take_in(granted())

    clock.seconds += 600
    asyncio.run(live.look())

    assert "died unused, which is a normal end" in page(live)


def test_what_is_at_its_end_is_not_looked_at_again(live: Live, grants: Grants) -> None:
    live.take_in(granted())
    live.take_in(event("failed", {"error": "access_denied"}) + " ")
    grants.item = {"state": "failed", "reason": "invalid_grant"}

    for _ in range(3):
        asyncio.run(live.look())

    assert len(grants.asked) == 1


def test_secrets_are_shown_shortened(live: Live, grants: Grants) -> None:
    live.take_in(granted(code_verifier="v" * 43))
    grants.item = {
        "state": "connected",
        "tokens": {"access_token": "ory_at_" + "y" * 87, "refresh_token": "ory_rt_" + "z" * 87},
    }
    asyncio.run(live.look())

    text = page(live)

    for shown in ("ory_ac_AbC…(94", "ory_at_yyy…(94", "ory_rt_zzz…(94", "vvvvvvvvvv…(43"):
        assert f"{shown} characters)" in text
    assert CODE not in text


def test_without_a_client_secret_the_code_is_shown_in_full(clock: Clock) -> None:
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
    assert "2 times, taken in once" in page(live)


@pytest.mark.parametrize(
    "message", ["not JSON", "[]", granted(code_expires_at="soon"), '{"data": {}}']
)
def test_what_is_no_event_is_shown_without_its_text(live: Live, message: str) -> None:
    live.take_in(message)

    assert "not an event of the pair" in page(live)
    assert CODE not in page(live)


def test_a_late_watcher_sees_what_came_before_and_then_each_change(
    live: Live, grants: Grants
) -> None:
    async def watch() -> list[str]:
        ending = anyio.Event()
        entries = live.watch(ending)
        states = [(await anext(entries)).state]
        for state in ("exchanging", "connected"):
            grants.item = {"state": state}
            await live.look()
            states.append((await anext(entries)).state)
        ending.set()
        return states + [entry.state async for entry in entries]

    live.take_in(granted())

    assert asyncio.run(watch()) == ["held", "exchanging", "connected"]
