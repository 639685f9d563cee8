"""Tokens of mock Qonto, in memory, with Ory Hydra's rotation of refresh tokens.

The rules are those of Hydra's `flow_refresh.go` and of `gracefulRefreshRotation` in its
`persister_oauth2.go`. Qonto documents the lifetimes and the grace of a used refresh token.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

ACCESS_TOKEN_LIFETIME = 3600
REFRESH_TOKEN_LIFETIME = 90 * 24 * 3600
GRACE = 60


@dataclass(frozen=True)
class AccessToken:
    """The grant that an access token stands for, and its end in epoch seconds."""

    grant_id: str
    expires_at: float


@dataclass
class RefreshToken:
    """The grant that a refresh token stands for, and the access token of the same response."""

    grant_id: str
    access_token: str
    expires_at: float
    first_used_at: float | None = None

    def is_reused(self, now: float) -> bool:
        """Return whether a use at *now* follows a use whose grace has ended."""
        return self.first_used_at is not None and now >= self.first_used_at + GRACE


@dataclass
class TokenStore:
    """The valid tokens of all grants, by their values."""

    access: dict[str, AccessToken] = field(default_factory=dict)
    refresh: dict[str, RefreshToken] = field(default_factory=dict)

    def issue(self, grant_id: str, scopes: Sequence[str], now: float) -> dict[str, str | int]:
        """Return a token response (RFC 6749, section 5.1) with new tokens of a grant."""
        access_token = opaque("ory_at_")
        self.access[access_token] = AccessToken(grant_id, now + ACCESS_TOKEN_LIFETIME)
        response: dict[str, str | int] = {
            "access_token": access_token,
            "expires_in": ACCESS_TOKEN_LIFETIME,
            "scope": " ".join(scopes),
            "token_type": "bearer",
        }
        if "offline_access" in scopes:
            refresh_token = opaque("ory_rt_")
            self.refresh[refresh_token] = RefreshToken(
                grant_id, access_token, now + REFRESH_TOKEN_LIFETIME
            )
            response["refresh_token"] = refresh_token
        return response

    def use(self, refresh_token: RefreshToken, now: float) -> None:
        """Start the grace, if this use is the first, and delete the access token issued with it."""
        if refresh_token.first_used_at is None:
            refresh_token.first_used_at = now
        self.access.pop(refresh_token.access_token, None)

    def revoke(self, grant_id: str) -> None:
        """Delete all tokens of a grant."""
        self.access = {
            value: token for value, token in self.access.items() if token.grant_id != grant_id
        }
        self.refresh = {
            value: token for value, token in self.refresh.items() if token.grant_id != grant_id
        }


def opaque(prefix: str) -> str:
    """Make a code or token in Hydra's form: with its prefix, 94 characters."""
    return f"{prefix}{secrets.token_urlsafe(32)}.{secrets.token_urlsafe(32)}"
