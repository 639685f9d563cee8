"""Tokens of mock Qonto, in memory, with Ory Hydra's rotation of refresh tokens.

The rules are those of Hydra's `flow_refresh.go` and of `gracefulRefreshRotation` in its
`persister_oauth2.go`. Qonto documents the lifetimes and the grace of a used refresh token.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

ACCESS_TOKEN_LIFETIME = 3600
REFRESH_TOKEN_LIFETIME = 90 * 24 * 3600
GRACE = 60


@dataclass
class Token:
    """The grant that a token stands for, and the token's end in epoch seconds."""

    grant_id: str
    expires_at: float
    # Of a refresh token: the access token of the same response, and the end of its uses.
    access_token: str = ""
    grace_ends_at: float = inf


@dataclass
class TokenStore:
    """The valid tokens of all grants, by their values."""

    access: dict[str, Token] = field(default_factory=dict)
    refresh: dict[str, Token] = field(default_factory=dict)

    def issue(self, grant_id: str, scopes: Sequence[str], now: float) -> dict[str, str | int]:
        """Return a token response (RFC 6749, section 5.1) with new tokens of a grant."""
        value = opaque("ory_at_")
        self.access[value] = Token(grant_id, now + ACCESS_TOKEN_LIFETIME)
        response: dict[str, str | int] = {
            "access_token": value,
            "expires_in": ACCESS_TOKEN_LIFETIME,
            "scope": " ".join(scopes),
            "token_type": "bearer",
        }
        if "offline_access" in scopes:
            refresh_token = response["refresh_token"] = opaque("ory_rt_")
            self.refresh[refresh_token] = Token(grant_id, now + REFRESH_TOKEN_LIFETIME, value)
        return response

    def revoke(self, grant_id: str) -> None:
        """Delete all tokens of a grant."""
        for tokens in (self.access, self.refresh):
            for value in [value for value, token in tokens.items() if token.grant_id == grant_id]:
                del tokens[value]


def opaque(prefix: str) -> str:
    """Return a code or token in Hydra's form: with its prefix, 94 characters."""
    return f"{prefix}{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(32)}"
