"""The cookie that ties a state to one browser; the item holds only its hash.

A state kept on the server alone lets anybody finish anybody's authorization (CVE-2025-68158,
CVE-2026-41425). One cookie serves all of a browser's flows, so that several tabs finish.
"""

import re
from hashlib import sha256
from secrets import token_urlsafe

from browser_request import Event

# "__Host-": only this very host can set it, only over TLS, for all paths.
COOKIE_NAME = "__Host-qonto-connect"
# Longer than any state lives: "expired" and "other browser" can be told apart.
MAX_AGE = 24 * 60 * 60
_WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{43}")


def read(event: Event) -> str | None:
    """Return the cookie's value; None if there is none, two, or one that we never set."""
    pairs = (cookie.partition("=") for cookie in event.get("cookies", ()))
    values = [value for name, _, value in pairs if name == COOKIE_NAME]
    if len(values) != 1 or not _WELL_FORMED.fullmatch(values[0]):
        return None
    return str(values[0])


def new() -> str:
    """Return a new value of 256 random bits."""
    return token_urlsafe(32)


def set_cookie(value: str) -> str:
    """Return the ``Set-Cookie`` line that makes a browser keep *value*."""
    return f"{COOKIE_NAME}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={MAX_AGE}"


def fingerprint(value: str) -> str:
    """Return the SHA-256 of *value*, in hexadecimal: all that is stored of it."""
    return sha256(value.encode()).hexdigest()
