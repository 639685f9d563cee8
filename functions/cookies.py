"""The two cookies of the connector.

The first binds a state to one browser; the item holds only its hash. Without it, a browser could
finish another user's authorization (CVE-2025-68158, CVE-2026-41425). One value serves all flows of
a browser, so that several tabs can finish.

The second remembers what the browser's last flow asked of ``/start``, for the page that offers to
start again. If the page's URL held the query, a link could start a flow with a stranger's context.
"""

import re
from hashlib import sha256
from itertools import chain
from secrets import token_urlsafe

from http_api import Request

# "__Host-": only this host can set the cookie, only over TLS and for all paths.
BROWSER_COOKIE = "__Host-qonto-connect"
START_COOKIE = "__Host-qonto-connect-start"
# In seconds. Longer than a state lives, so that "expired" and "other browser" can be told apart.
MAX_AGE = 24 * 60 * 60


def new_browser() -> str:
    """Return a new value for the browser cookie, of 256 random bits."""
    return token_urlsafe(32)


def read_browser(request: Request) -> str | None:
    """Return the value of the browser cookie; None if it is missing, malformed or sent twice."""
    value = _read(request, BROWSER_COOKIE)
    return value if re.fullmatch(r"[A-Za-z0-9_-]{43}", value) else None


def set_browser(value: str) -> str:
    """Return the ``Set-Cookie`` header that makes the browser keep *value*."""
    return _set(BROWSER_COOKIE, value)


def browser_hash(value: str) -> str:
    """Return the SHA-256 of the browser cookie's *value* in hexadecimal, as the item holds it."""
    return sha256(value.encode()).hexdigest()


def read_start_query(request: Request, reference: str) -> str:
    """Return what the flow *reference* asked of ``/start``; empty if a later flow replaced it."""
    last, _, query = _read(request, START_COOKIE).partition(".")
    return query if last == reference else ""


def set_start_query(reference: str, query: str) -> str:
    """Return the ``Set-Cookie`` header that remembers *query* for the page with *reference*."""
    return _set(START_COOKIE, f"{reference}.{query}")


def _read(request: Request, name: str) -> str:
    """Return the value of the cookie *name*; empty if it is missing or sent twice.

    A proxy may have joined several cookies in one entry, by ``;`` or by ``,``. What follows a comma
    counts only if the cookie is not found otherwise: any host of the domain can set a cookie of
    another name whose value is a comma and ours. Other spaces than HTTP's belong to a name:
    browsers look for the prefix ``__Host-`` only at its beginning.
    """
    entries = [entry.split(",") for entry in ";".join(request.get("cookies", ())).split(";")]
    for sent in ([first for first, *_ in entries], chain.from_iterable(entries)):
        pairs = (cookie.strip(" \t").partition("=") for cookie in sent)
        if values := [value for each, _, value in pairs if each == name]:
            return values[0] if len(values) == 1 else ""
    return ""


def _set(name: str, value: str) -> str:
    return f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={MAX_AGE}"
