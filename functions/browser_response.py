"""What both functions answer a browser: payload 2.0 answers with every security header."""

from http import HTTPStatus
from typing import Any

from browser_request import Event
from deployment import Deployment

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


def page(
    event: Event, deployment: Deployment, name: str, detail: str = "", start_query: str = ""
) -> Answer:
    """Answer with a page in the person's language: what happened, what to do, a way on.

    Args:
        event: the request.
        deployment: whose app the person came from.
        name: a table of ``pages.toml``.
        detail: a reference to quote, or what was wrong with the request; empty: nothing.
        start_query: what to ask of ``/start`` again; empty: not known.

    """
    import pages  # noqa: PLC0415 - a redirect, the usual answer, needs none

    status, html = pages.page(event, deployment, name, detail, start_query)
    headers = _HEADERS | {
        "Content-Security-Policy": pages.CONTENT_SECURITY_POLICY,
        "Content-Type": "text/html; charset=utf-8",
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers |= _RETRY_AFTER
    return {"statusCode": status, "headers": headers, "body": html}


def unavailable() -> Answer:
    """Answer a speculative request: not now, and nothing to show."""
    return {"statusCode": 503, "headers": _HEADERS | _RETRY_AFTER}
