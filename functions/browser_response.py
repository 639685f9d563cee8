"""What both functions answer a browser: payload 2.0 answers with every security header."""

from http import HTTPStatus
from typing import Any

type Answer = dict[str, Any]

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
}
_RETRY_AFTER = {"Retry-After": "5"}  # seconds


def redirect(status: int, location: str, *cookies: str) -> Answer:
    """Answer *status* (302, 303) with *location*, setting *cookies*."""
    return {
        "statusCode": status,
        "headers": _HEADERS | {"Location": location},
        "cookies": list(cookies),
    }


def page(status: int, html: str, content_security_policy: str) -> Answer:
    """Answer *status* with a page."""
    headers = _HEADERS | {
        "Content-Security-Policy": content_security_policy,
        "Content-Type": "text/html; charset=utf-8",
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers |= _RETRY_AFTER
    return {"statusCode": status, "headers": headers, "body": html}


def unavailable() -> Answer:
    """Answer a speculative request: not now, and nothing to show."""
    return {"statusCode": 503, "headers": _HEADERS | _RETRY_AFTER}
