"""Safe addresses and headers: Ledgerly's additions to the web framework."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

DEFAULT_PORTS = {"http": 80, "https": 443}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TWO_YEARS = 63072000  # seconds


def origin(url: str) -> str:
    """Return the scheme, host and port of *url*, as browsers write them.

    Raises:
        ValueError: *url* has other parts, or one of these is missing.

    """
    message = f"not the address of a site, such as https://app.example.com: {url!r}"
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise ValueError(message) from error
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in DEFAULT_PORTS or not host or extra:
        raise ValueError(message)
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (
        "" if port in {None, DEFAULT_PORTS[parts.scheme]} else f":{port}"
    )


def redirect(url: str, fragment: str = "") -> Response:
    """Send the browser to *url*, without the fragment of its present address."""
    return RedirectResponse(f"{url}#{fragment}", HTTPStatus.SEE_OTHER)


def content_security_policy(nonce: str) -> str:
    """Return the policy of a page whose script has *nonce*.

    It has no form-action: Chromium applies that to redirects, and those lead on to Qonto.
    """
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; frame-ancestors 'none'"
    )


class Guard:
    """Sends browsers to the app's own address first, and gives each response its headers."""

    def __init__(self, app_url: str) -> None:
        """Guard the app that browsers reach at the origin *app_url*."""
        self._app_url = app_url
        self._headers = dict(HEADERS)
        if app_url.startswith("https:"):
            self._headers["Strict-Transport-Security"] = f"max-age={TWO_YEARS}"

    async def __call__(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Handle *request*, or send it from another host, without the cookies, to *app_url*."""
        if self._is_own(request.headers.get("host", "")):
            response = await call_next(request)
        else:
            query = f"?{request.url.query}" if request.url.query else ""
            response = redirect(f"{self._app_url}{request.url.path}{query}")
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        return response

    def _is_own(self, host: str) -> bool:
        try:
            return origin(f"{urlsplit(self._app_url).scheme}://{host}") == self._app_url
        except ValueError:
            return False
