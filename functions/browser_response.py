"""What both functions answer a browser: payload 2.0 answers with every security header."""

from typing import Any

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
}


def redirect(status: int, location: str, *cookies: str) -> dict[str, Any]:
    """Answer *status* (302, 303) with *location*, setting *cookies*."""
    return {
        "statusCode": status,
        "headers": _HEADERS | {"Location": location},
        "cookies": list(cookies),
    }


def page(status: int, html: str, content_security_policy: str) -> dict[str, Any]:
    """Answer *status* with a page."""
    return {
        "statusCode": status,
        "headers": _HEADERS
        | {
            "Content-Security-Policy": content_security_policy,
            "Content-Type": "text/html; charset=utf-8",
        },
        "body": html,
    }


def unavailable() -> dict[str, Any]:
    """Answer a speculative request: not now, and nothing to show."""
    return {"statusCode": 503, "headers": dict(_HEADERS)}
