"""What both functions read from a browser's request, an API Gateway payload 2.0 event."""

from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl


class InvalidQueryError(ValueError):
    """The query is not one that we answer.

    Attributes:
        parameters: the names at fault, of ours alone; never a value.

    """

    def __init__(self, *parameters: str) -> None:
        """Take the names of the parameters at fault."""
        super().__init__(f"invalid: {', '.join(parameters)}")
        self.parameters = parameters


def single_values(raw_query: str, names: Collection[str]) -> dict[str, str]:
    """Return the parameters *names* of *raw_query*, decoded; others are ignored.

    The raw query is what the browser sent. Payload 2.0's ``queryStringParameters`` joins repeats
    with commas, which Qonto's error descriptions contain.

    Raises:
        InvalidQueryError: one of *names* stands there twice (RFC 6749, section 3.1).

    """
    values: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        if name in values:
            raise InvalidQueryError(name)
        if name in names:
            values[name] = value
    return values


def is_speculative(event: dict[str, Any]) -> bool:
    """Tell whether a browser asks ahead of the person, or for a part of another page.

    Such a request must neither issue nor consume a state. Fetch Metadata's ``Sec-Fetch-Dest`` is
    ``document`` on a navigation of the whole window; older prefetches name themselves.
    """
    headers = event["headers"]
    return (
        "prefetch" in headers.get("sec-purpose", "").lower()
        or headers.get("purpose", "").lower() == "prefetch"
        or headers.get("x-moz", "").lower() == "prefetch"
        or headers.get("sec-fetch-dest", "document") != "document"
    )


def arrival(event: dict[str, Any]) -> int:
    """Return when API Gateway took the request, in epoch seconds."""
    return int(event["requestContext"]["timeEpoch"]) // 1000
