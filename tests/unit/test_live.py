"""The live page shows events, and not more of a secret than is needed."""

import json

from starlette.testclient import TestClient

from demo.live import Live, create_app

CODE = "ory_ac_AbC" + "x" * 84
TOKENS = {"access_token": "ory_at_" + "y" * 87, "refresh_token": "ory_rt_" + "z" * 87}


def shown(live: Live, **data: str) -> str:
    event = {"id": "0a1b2c3d", "type": "any", "subject": "5b0f5a0e", "time": "2027-01-15T08:00:00Z"}
    live.take_in(json.dumps(event | {"data": data}))
    live.look()
    return TestClient(create_app(live), "http://localhost:8003").get("/").text


def test_secrets_are_shown_shortened_where_the_example_exchanges() -> None:
    data = {"code": CODE, "code_expires_at": "2027-01-15T08:10:00Z", "code_verifier": "v" * 43}
    text = shown(Live(lambda _: {"status": "connected", "tokens": TOKENS}), **data)
    for secret in ("ory_ac_AbC…(94", "ory_at_yyy…(94", "ory_rt_zzz…(94", "vvvvvvvvvv…(43"):
        assert f"{secret} characters)" in text
    assert CODE not in text
    assert CODE in shown(Live(), **data)  # to be tried by hand
    assert CODE not in shown(Live(), **data | {"code_expires_at": "soon"})  # no event
