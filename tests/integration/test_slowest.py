"""The slowest callback that can succeed ends within its timeout: measured, not added up."""

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from aws import CALL_CONFIG
from demo import template as infra
from demo.local_aws import LocalAws, Stack
from tests.support.connector import Browser, Connector
from tests.support.slow import slow

MARGIN = 0.1  # seconds; more would be a timeout
SHAKE, RESPOND = (vars(CALL_CONFIG)[name] - MARGIN for name in ("connect_timeout", "read_timeout"))


class SlowServer(ThreadingHTTPServer):
    """A TLS server before the local AWS, almost too late; each call's first attempt gets a 500."""

    def __init__(self, context: ssl.SSLContext, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _SlowHandler)
        self.context, self.upstream = context, httpx2.Client(base_url=upstream)
        self.calls: list[str] = []

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - Python's
        time.sleep(SHAKE)  # this delay is what the test is about
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


class _SlowHandler(BaseHTTPRequestHandler):
    server: SlowServer

    def do_POST(self) -> None:
        due = time.monotonic() + RESPOND
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = self.headers.get("X-Amz-Target", "Publish").rpartition(".")[2]
        self.server.calls.append(call)
        del self.headers["Host"]
        response = self.server.upstream.post("/", content=body, headers=dict(self.headers))
        is_first = self.server.calls.count(call) == 1
        time.sleep(due - time.monotonic())
        self.send_response(500 if is_first else response.status_code)
        self.send_header("x-amz-retry-after", "60000")
        self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)


@slow
@pytest.mark.claim("S22")
def test_slowest_calls_end_within_the_timeout(
    aws: LocalAws, stack: Stack, connector: Connector, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    browser = Browser(connector)
    state = browser.started()
    with SlowServer(context, aws.endpoint_url) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"https://localhost:{server.server_port}"
        bundle = str(tmp_path / "authority.pem")
        browser.connector = Connector(aws, stack, endpoint_url=url, AWS_CA_BUNDLE=bundle)
        began = time.monotonic()
        response = browser.granted(state)
        seconds = time.monotonic() - began
        server.shutdown()
        server.upstream.close()

    assert response.parameters["outcome"] == "granted"
    calls = ["UpdateItem", "Publish", "PutItem", "DeleteItem"]
    assert server.calls == [call for call in calls for _ in range(2)]
    assert connector.item(state) is None
    assert seconds < infra.function(infra.load(), "CallbackFunction")["Timeout"]
    assert seconds > len(server.calls) * (SHAKE + RESPOND)
