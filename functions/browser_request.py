"""What both functions read from a browser's request, an API Gateway payload 2.0 event."""

import re
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import parse_qsl

type Event = dict[str, Any]

# Compiled when a page is due. "*+": what was taken for space is not tried again as less of it, for
# that would take for ever.
_LANGUAGE_RANGE = (
    r"\s*+([a-z]{1,8}|\*)(?:-[a-z0-9-]+)?\s*+(?:;\s*+q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?\s*+"
)


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


def is_speculative(event: Event) -> bool:
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


def language(event: Event, offered: Sequence[str]) -> str:
    """Return the language of *offered* that the browser prefers, or the first if it wants none.

    By ``Accept-Language`` (RFC 9110, section 12.5.4): a range counts for its whole language, so
    that ``fr-CH`` is ``fr``; of equal weights the first one wins.
    """
    weights: dict[str, float] = {}
    for item in event["headers"].get("accept-language", "").lower().split(","):
        if found := re.fullmatch(_LANGUAGE_RANGE, item):
            weights[found[1]] = max(float(found[2] or 1), weights.get(found[1], 0))
    names = [it for it in (*weights, *offered) if it in offered]
    wanted = {it: weights.get(it, weights.get("*", 0)) for it in names}
    best = max(wanted, key=lambda it: wanted[it])
    return best if wanted[best] else offered[0]


def arrival(event: Event) -> int:
    """Return when API Gateway took the request, in epoch seconds."""
    return int(event["requestContext"]["timeEpoch"]) // 1000
