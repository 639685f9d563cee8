"""The values of one flow, for the tests of the modules that use them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from authorization import PendingAuthorization

STATE = "state-" + "s" * 37
CODE = "ory_ac_" + "c" * 87
STARTED_AT = 1_700_000_000  # 2023-11-14T22:13:20Z


def pending(**changes: Any) -> PendingAuthorization:  # noqa: ANN401 - any field's own type
    """Return an authorization as start issues it, with *changes*."""
    fields: dict[str, Any] = {
        "state": STATE,
        "expires_at": STARTED_AT + 3600,
        "browser_hash": "b" * 64,
        "authorization_id": UUID("5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a00"),
        "environment": "sandbox",
        "client_id": "client-1",
        "redirect_uri": "https://connect.example.com/callback",
        "scope": "offline_access organization.read",
        "started_at": datetime.fromtimestamp(STARTED_AT, UTC),
    }
    return PendingAuthorization.model_validate(fields | changes)
