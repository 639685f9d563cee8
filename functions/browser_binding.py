"""The cookie that ties a state to one browser; the item holds only its hash.

A state kept on the server alone lets anybody finish anybody's authorization (CVE-2025-68158,
CVE-2026-41425). One cookie serves all of a browser's flows, so that several tabs finish.

A second one keeps what the browser's last flow asked of ``/start``, for the page that offers to
start it again. In the page's address, a link could start a flow with what somebody else asked for.
"""

import re
from hashlib import sha256
from secrets import token_urlsafe

from browser_request import Event

# "__Host-": only this very host can set it, only over TLS, for all paths.
COOKIE_NAME = "__Host-qonto-connect"
START_COOKIE_NAME = "__Host-qonto-connect-start"
# Longer than any state lives: "expired" and "other browser" can be told apart.
MAX_AGE = 24 * 60 * 60
_WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{43}")


def read(event: Event) -> str | None:
    """Return the cookie's value; None if there is none, two, or one that we never set."""
    value = _value(event, COOKIE_NAME)
    return value if _WELL_FORMED.fullmatch(value) else None


def read_start_query(event: Event, reference: str) -> str:
    """Return the query of the flow with *reference*; empty if it was not this browser's last."""
    kept, _, query = _value(event, START_COOKIE_NAME).partition(".")
    return query if kept == reference else ""


def _value(event: Event, name: str) -> str:
    pairs = (cookie.partition("=") for cookie in event.get("cookies", ()))
    values = [value for each, _, value in pairs if each == name]
    return values[0] if len(values) == 1 else ""


def new() -> str:
    """Return a new value of 256 random bits."""
    return token_urlsafe(32)


def set_cookie(value: str, name: str = COOKIE_NAME) -> str:
    """Return the ``Set-Cookie`` line that makes a browser keep *value*."""
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={MAX_AGE}"


def set_start_query(reference: str, query: str) -> str:
    """Return the ``Set-Cookie`` line that keeps *query* for the page with *reference*."""
    return set_cookie(f"{reference}.{query}", START_COOKIE_NAME)


def fingerprint(value: str) -> str:
    """Return the SHA-256 of *value*, in hexadecimal: all that is stored of it."""
    return sha256(value.encode()).hexdigest()
