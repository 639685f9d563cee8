"""A browser that repeats its callback, in Chromium: it reaches the app, and all events have one id.

If a browser cancels a request, the function runs on, as it does behind API Gateway.
"""

import re
import socket
import socketserver
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedIOBase
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from authorization import Receipt
from state_store import StateStore
from tests.browser.site import Site, wait_for
from tests.browser.test_flows import go_to_qonto
from tests.integration.connector import Subscriber

RESPONSES = {"granted": "code=ory_ac_1", "denied": "error=access_denied"}  # by their outcome
NAVIGATE_TWICE = """([url, milliseconds]) => {
  location.href = url
  setTimeout(() => { location.href = url }, milliseconds)
}"""
# API Gateway's own response when a function takes too long. The function runs on.
TIMED_OUT = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b'Content-Length: 33\r\n\r\n{"message":"Service Unavailable"}'
)


class Line(socketserver.ThreadingTCPServer):
    """The line between a browser and the connector, on which a response can be lost."""

    daemon_threads = True

    def __init__(self, connector: str) -> None:
        """Open a port that leads to *connector*."""
        super().__init__(("127.0.0.1", 0), _Connection)
        self.url = f"http://localhost:{self.server_address[1]}"
        self.connector = ("127.0.0.1", urlsplit(connector).port)
        self._faults: deque[tuple[bytes, int]] = deque()

    def cut_off(self, length: int) -> None:
        """Send *length* bytes of the next callback's response, and close the connection."""
        self._faults.append((b"", length))

    def time_out(self) -> None:
        """Send `TIMED_OUT` as soon as the connector has the next callback."""
        self._faults.append((TIMED_OUT, 0))

    def next_fault(self, head: bytes) -> tuple[bytes, int | None]:
        """Return what to send at once, and how many bytes of the response; None: all of them."""
        is_callback = head.startswith(b"GET /callback?")
        return self._faults.popleft() if is_callback and self._faults else (b"", None)


class _Connection(socketserver.StreamRequestHandler):
    """A browser's connection, which carries one request after the other."""

    server: Line

    def handle(self) -> None:
        """Pass requests on until the browser or a fault closes the connection."""
        while head := _read_head(self.rfile):
            at_once, length = self.server.next_fault(head)
            with socket.create_connection(self.server.connector) as connector:
                connector.sendall(head + b"Connection: close\r\n\r\n")
                self.wfile.write(at_once)
                response = connector.makefile("rb").read()
            response = response.replace(b"connection: close\r\n", b"")
            with suppress(ConnectionError):  # the browser closed the connection
                self.wfile.write(response[:length])
            if length is not None:
                return


def _read_head(lines: BufferedIOBase) -> bytes:
    """Return the lines of the next request without the empty one at the end."""
    head = b""
    while (line := lines.readline()) not in (b"\r\n", b""):
        head += line
    return head


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    """A line to the connector."""
    with Line(site.connector) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def subscriber(site: Site) -> Subscriber:
    """A subscriber that has received nothing yet."""
    return site.subscriber()


def callback_path(page: Page, site: Site, outcome: str = "granted") -> str:
    """Go to Qonto, and return the path of the callback that ends with *outcome*."""
    state = go_to_qonto(page, site, context="ctx-1")
    return f"/callback?{RESPONSES[outcome]}&state={state}"


def expect_return(page: Page, subscriber: Subscriber, outcome: str = "granted") -> None:
    """Expect *page* at the app with *outcome*, and one ``id`` in all that was published."""
    # Not by wait_for_url, which fails as soon as any navigation does.
    returned = re.compile(rf"/connected\?.+&outcome={outcome}&context=ctx-1")
    expect(page).to_have_url(returned, timeout=15_000)
    [authorization_id] = parse_qs(urlsplit(page.url).query)["authorization_id"]
    events = subscriber.messages()
    assert {event["subject"] for event in events} == {authorization_id}
    assert len({event["id"] for event in events}) == 1


@pytest.mark.parametrize(
    ("milliseconds", "outcome"),
    [(1, "granted"), (5, "granted"), (5, "denied"), (15, "granted"), (40, "granted")],
)
def test_navigating_twice_reaches_the_app(
    page: Page, site: Site, subscriber: Subscriber, milliseconds: int, outcome: str
) -> None:
    url = site.connector + callback_path(page, site, outcome)
    calls = site.watch_callback()
    calls.returns[0] = calls.arrived[1]  # or the app might replace the page too early

    page.evaluate(NAVIGATE_TWICE, [url, milliseconds])

    wait_for(calls.ended[0])
    expect_return(page, subscriber, outcome)
    assert site.requested_paths.count("/callback") == 2


@pytest.mark.parametrize("order", ["together", "in-order", "the-reload-first"])
def test_reload_during_cold_start_reaches_the_app(
    page: Page, site: Site, subscriber: Subscriber, line: Line, order: str
) -> None:
    url = line.url + callback_path(page, site)
    calls = site.watch_callback()
    calls.begins[0] = calls.ended[1] if order == "the-reload-first" else calls.arrived[1]
    if order == "in-order":
        calls.begins[1] = calls.ended[0]
    line.time_out()
    page.goto(url)  # shows the gateway's own response
    wait_for(calls.arrived[0])

    page.reload()

    wait_for(calls.ended[0])
    expect_return(page, subscriber)
    assert site.requested_paths.count("/callback") == 2


def test_reload_after_cut_off_reaches_the_app(
    page: Page, site: Site, subscriber: Subscriber, line: Line
) -> None:
    url = line.url + callback_path(page, site)
    line.cut_off(40)
    page.goto(url)
    assert page.url == url  # the end of the headers is missing, and with it the Location

    page.reload()

    expect_return(page, subscriber)
    assert site.requested_paths.count("/callback") == 2


@pytest.mark.parametrize("lost", [1, 2])
def test_request_that_chromium_repeats_reaches_the_app(
    page: Page, site: Site, subscriber: Subscriber, line: Line, lost: int
) -> None:
    """Without a response, Chromium repeats the request by itself: at once, then a second later."""
    url = line.url + callback_path(page, site)
    page.goto(f"{line.url}/callback/granted")  # at once only on a connection that was used before
    for _ in range(lost):
        line.cut_off(0)

    page.evaluate("url => { location.href = url }", url)

    expect_return(page, subscriber)
    assert site.requested_paths.count("/callback") == lost + 1


def test_other_response_in_flight_can_try_again(
    page: Page, site: Site, subscriber: Subscriber
) -> None:
    published, released = threading.Event(), threading.Event()

    class SlowStateStore(StateStore):
        """A store that is slow to leave a receipt."""

        def leave_receipt(self, receipt: Receipt) -> None:
            """Put *receipt* when the test says so."""
            published.set()
            wait_for(released)
            super().leave_receipt(receipt)

    site.use_state_store(SlowStateStore)
    calls = site.watch_callback()
    go_to_qonto(page, site, context="ctx-1")
    consent = page.url
    page.get_by_role("button", name="Allow", exact=True).click(no_wait_after=True)
    wait_for(published)

    response = page.goto(consent)  # mock Qonto responds with an error, as the form was sent before

    assert response
    assert response.status == 409
    assert response.url.startswith(f"{site.connector}/callback?error=access_denied&")
    released.set()
    wait_for(calls.ended[0])
    page.get_by_role("link", name="Try again").click()
    expect_return(page, subscriber)
