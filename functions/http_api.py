"""Requests and responses of an API Gateway HTTP API: payload format 2.0, with security headers."""

import re
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
# The characters that SQS does not accept (SendMessage, MessageBody). JSON escapes the control
# characters.
_NOT_IN_SQS = re.compile("[\ud800-\udfff\ufffe\uffff]")
_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")


class InvalidQueryError(ValueError):
    """The query string is not a valid request.

    Attributes:
        parameters: the names of the invalid parameters, known ones alone, and never a value.

    """

    def __init__(self, *parameters: str) -> None:
        """Keep the names of the invalid *parameters*."""
        self.parameters = parameters


def single_values(
    raw_query: str, names: Collection[str], may_be_blank: Collection[str] = ()
) -> dict[str, str]:
    """Return the decoded values of the parameters *names* in *raw_query*; ignore all others.

    A blank value counts as omitted (RFC 6749, section 3.1), but for the names in *may_be_blank*.
    Characters that SQS does not accept become U+FFFD.

    *raw_query* is the query as the browser sent it. The ``queryStringParameters`` of payload 2.0
    join repeated values with commas, which Qonto's error descriptions contain.

    Raises:
        InvalidQueryError: one of *names* is repeated (RFC 6749, section 3.1).

    """
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        if name not in names or not (value or name in may_be_blank):
            continue
        if name in values:
            raise InvalidQueryError(name)
        values[name] = _NOT_IN_SQS.sub("\N{REPLACEMENT CHARACTER}", value)
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


def is_ahead_of_user(request: Request) -> bool:
    """Tell whether *request* was made ahead of the user, or for a part of another page.

    Such a request must neither issue nor claim a state. docs/browsers.md lists who sends what.
    """
    headers = request["headers"]
    purposes = " ".join(headers.get(name, "") for name in _PURPOSES)
    if re.search("prefetch|prerender|preview", purposes, re.IGNORECASE):
        return True
    # Fetch Metadata. A navigation that a service worker passes on loses its destination, often also
    # its mode.
    if headers.get("sec-fetch-dest") == "empty":
        return headers.get("sec-fetch-mode") not in {"navigate", "same-origin"}
    return headers.get("sec-fetch-dest", "") not in {"", "document"}


def arrival(request: Request) -> int:
    """Return the time at which API Gateway received *request*, in epoch seconds."""
    return int(request["requestContext"]["timeEpoch"]) // 1000


def redirect(status: int, location: str, *cookies: str) -> Response:
    """Return a response with *status* (302 or 303) to *location*.

    The location gets a fragment, because a browser copies the request's fragment to one that has
    none. With ``response_mode=fragment`` in a forwarded link to Qonto, it holds code and state.

    Args:
        status: the HTTP status.
        location: the URL without a fragment, absolute or the path of a page of this host.
        cookies: the ``Set-Cookie`` headers.

    """
    # Another site's page may read a fragment that is not empty; our own pages ignore it.
    fragment = "#_" if location.startswith("/") else "#"
    headers = _SECURITY_HEADERS | {"Location": location + fragment}
    return {"statusCode": status, "headers": headers, "cookies": list(cookies)}


def html(status: int, document: str, content_security_policy: str) -> Response:
    """Return a response with an HTML *document*; a 503 tells the browser when to retry."""
    headers = _SECURITY_HEADERS | {
        "Content-Security-Policy": content_security_policy,
        "Content-Type": "text/html; charset=utf-8",
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers |= {"Retry-After": "5"}  # seconds
    return {"statusCode": status, "headers": headers, "body": document}


def too_early() -> Response:
    """Return the empty response to a request that was made ahead of the user.

    It is a 425, because CDNs keep a 5xx, and a CDN of a single-page application
    may turn a 403 or 404 into a page.
    """
    return {"statusCode": HTTPStatus.TOO_EARLY, "headers": _SECURITY_HEADERS}
