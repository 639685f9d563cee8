"""What a browser's request says of itself, in Starlette and in Flask; copy it."""

import re
from typing import Protocol

PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")


class Headers(Protocol):
    """The headers of a request, by name in any case."""

    def get(self, key: str, default: str, /) -> str:
        """Return the value of a header."""

    def getlist(self, key: str, /) -> list[str]:
        """Return the values of a header that may come more than once."""


class Request(Protocol):
    """A request of a web framework."""

    @property
    def method(self) -> str:
        """Its method, in capitals."""

    @property
    def headers(self) -> Headers:
        """Its headers."""


def cookie(request: Request, name: str) -> str | None:
    """Return the value of the cookie *name*; None if there are two: one may be another host's."""
    # Other spaces belong to a cookie's name: browsers look for __Host- only at its beginning.
    lines = request.headers.getlist("cookie")
    cookies = [it.strip(" \t") for line in lines for it in line.split(";")]
    values = [it.removeprefix(f"{name}=") for it in cookies if it.startswith(f"{name}=")]
    return values[0] if len(values) == 1 else None


def is_users(request: Request) -> bool:
    """Tell whether the user opens a page, rather than a prefetch or a frame."""
    headers = request.headers
    purposes = " ".join(headers.get(name, "") for name in PURPOSES)
    ahead = re.search("prefetch|prerender|preview", purposes, re.IGNORECASE)
    if request.method == "HEAD" or ahead:
        return False
    # A navigation that a service worker passes on has no destination and, in Firefox, no mode.
    if headers.get("sec-fetch-dest", "") == "empty":
        return headers.get("sec-fetch-mode", "") in {"navigate", "same-origin"}
    return headers.get("sec-fetch-dest", "") in {"", "document"}
