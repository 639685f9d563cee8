"""A flow makes the same AWS calls of the same size, however many other flows are under way."""

import http.client
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from demo.local_aws import LocalAws
from tests.integration.connector import NOW, PARAMETERS, Browser, Connector
from tests.unit.flow import pending

# States of other flows. The default is low because the local AWS needs minutes to store 100,000:
# ITEMS=100000 .venv/bin/pytest tests/integration/test_flat_work.py
ITEMS = int(os.environ.get("ITEMS", "2000"))

type Exchange = tuple[str, int, int]


class Recorder(ThreadingHTTPServer):
    """Forwards calls to the local AWS and records them."""

    daemon_threads = True

    def __init__(self, aws: LocalAws) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.upstream = aws.endpoint_url.removeprefix("http://")
        self.endpoint_url = f"http://127.0.0.1:{self.server_address[1]}"
        self.exchanges: list[Exchange] = []

    def during(self, flow: Callable[[], None]) -> list[Exchange]:
        """Run *flow*; return the operation, request bytes and response bytes of each call."""
        self.exchanges.clear()
        flow()
        return list(self.exchanges)


class _Forward(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        operation = self.headers.get("X-Amz-Target", "Publish").rpartition(".")[2]
        self.server.exchanges.append((operation, len(body), len(text)))
        self.send_response(response.status)
        for name in ("Content-Type", "x-amz-crc32"):
            if value := response.headers.get(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the signature of the base class
        """Log nothing."""


@pytest.fixture
def recorder(aws: LocalAws) -> Iterator[Recorder]:
    with Recorder(aws) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_flow_cost_is_independent_of_other_flows(aws: LocalAws, recorder: Recorder) -> None:
    stack = aws.deploy(PARAMETERS)
    connector = Connector(aws, stack, endpoint_url=recorder.endpoint_url)

    def flow() -> None:
        browser = Browser(connector)
        assert browser.granted(browser.started()).parameters["outcome"] == "granted"

    alone = recorder.during(flow)
    _fill(aws, stack.table_name, ITEMS)
    among_many = recorder.during(flow)

    callback = ["UpdateItem", "Publish", "PutItem", "DeleteItem"]
    assert [operation for operation, *_ in alone] == ["PutItem", *callback]
    assert among_many == alone
    assert len(connector.states()) == ITEMS + 2  # the receipts of both flows


def _fill(aws: LocalAws, table_name: str, number: int) -> None:
    """Store *number* states in batches of 25, DynamoDB's maximum."""
    item = pending(expires_at=NOW * 2).item
    for first in range(0, number, 25):
        aws.dynamodb.batch_write_item(
            RequestItems={
                table_name: [
                    {"PutRequest": {"Item": item | {"state": {"S": f"{index:043}"}}}}
                    for index in range(first, min(first + 25, number))
                ]
            }
        )
