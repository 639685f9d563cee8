"""Requests and responses of an API Gateway HTTP API: payload format 2.0, with security headers."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

type Request = dict[str, Any]
type Response = dict[str, Any]

_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
}
_RETRY_AFTER = {"Retry-After": "5"}  # seconds


class InvalidQueryError(ValueError):
    """The query string is not a valid request.

    Attributes:
        parameters: the names of the invalid parameters, known ones alone, and never a value.

    """

    def __init__(self, *parameters: str) -> None:
        """Keep the names of the invalid *parameters*."""
        self.parameters = parameters


def single_values(raw_query: str, names: Collection[str]) -> dict[str, str]:
    """Return the decoded values of the parameters *names* in *raw_query*; ignore all others.

    *raw_query* is what the browser sent. The ``queryStringParameters`` of payload 2.0 join repeated
    values with commas, which Qonto's error descriptions contain.

    Raises:
        InvalidQueryError: one of *names* is repeated (RFC 6749, section 3.1).

    """
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        if name in values:
            raise InvalidQueryError(name)
        if name in names:
            values[name] = value
    return values


def validated[Model: BaseModel](model: type[Model], values: Mapping[str, str]) -> Model:
    """Return *values* as a *model*.

    Raises:
        InvalidQueryError: a value is missing or invalid.

    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        names = [str(fault["loc"][0]) for fault in error.errors(include_input=False)]
        raise InvalidQueryError(*names) from None  # pydantic's text shows the values


def is_speculative(request: Request) -> bool:
    """Tell whether the browser made *request* ahead of its user, or for a part of another page.

    Such a request must neither issue nor claim a state. ``Sec-Fetch-Dest`` (Fetch Metadata) is
    ``document`` where the user navigates; older prefetches use the other headers.
    """
    headers = request["headers"]
    return (
        "prefetch" in headers.get("sec-purpose", "").lower()
        or headers.get("purpose", "").lower() == "prefetch"
        or headers.get("x-moz", "").lower() == "prefetch"
        or headers.get("sec-fetch-dest", "document") != "document"
    )


def arrival(request: Request) -> int:
    """Return the time at which API Gateway received *request*, in epoch seconds."""
    return int(request["requestContext"]["timeEpoch"]) // 1000


def redirect(status: int, location: str, *cookies: str) -> Response:
    """Return a response with *status* (302 or 303) to *location*.

    Args:
        status: the HTTP status.
        location: the URL, absolute or of this host.
        cookies: the ``Set-Cookie`` headers.

    """
    headers = _SECURITY_HEADERS | {"Location": location}
    return {"statusCode": status, "headers": headers, "cookies": list(cookies)}


def html(status: int, document: str, content_security_policy: str) -> Response:
    """Return a response with an HTML *document*; a 503 tells the browser when to retry."""
    headers = _SECURITY_HEADERS | {
        "Content-Security-Policy": content_security_policy,
        "Content-Type": "text/html; charset=utf-8",
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers |= _RETRY_AFTER
    return {"statusCode": status, "headers": headers, "body": document}


def unavailable() -> Response:
    """Return the empty response to a speculative request."""
    return {"statusCode": 503, "headers": _SECURITY_HEADERS | _RETRY_AFTER}
