"""The slowest callback that can succeed ends within its timeout: measured, not added up."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import trustme

from aws import CALL_CONFIG
from demo import template as infra
from demo.local_aws import LocalAws
from tests.integration.connector import CODE, PARAMETERS, Browser
from tests.integration.faults import Fault, FaultProxy, fault_proxies
from tests.integration.kills import Deployed, variables
from tests.lambda_runtime import ExecutionEnvironment
from tests.slow import slow

OPERATIONS = ("UpdateItem", "Publish", "PutItem", "DeleteItem")
MARGIN = 0.1  # seconds; more would be a timeout
SHAKE, RESPOND = (vars(CALL_CONFIG)[name] - MARGIN for name in ("connect_timeout", "read_timeout"))


def _slow_connection(client: socket.socket, context: ssl.SSLContext, upstream: str) -> None:
    """Serve one call through *upstream*, and be almost too late with each part."""
    time.sleep(SHAKE)  # this delay is what the test is about
    with (
        suppress(OSError, http.client.HTTPException),  # Lambda ended the function
        context.wrap_socket(client, server_side=True) as secured,
        secured.makefile("rb") as lines,
    ):
        line = lines.readline()
        headers = http.client.parse_headers(lines)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        body = lines.read(int(headers["Content-Length"]))
        address = urlsplit(upstream)
        with socket.create_connection((address.hostname or "", address.port or 0)) as server:
            server.sendall(line + head + b"\r\n" + body)
            response = b"".join(iter(lambda: server.recv(65536), b""))
        if b"x-amz-retry-after: 60000\r\n" not in response:
            response = response.replace(b"\r\n", b"\r\nx-amz-retry-after: 60000\r\n", 1)
        time.sleep(RESPOND)
        secured.sendall(response)


@contextmanager
def slow_server(upstream: str, context: ssl.SSLContext) -> Iterator[str]:
    """Run a slow TLS server before *upstream* inside the block, and yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_slow_connection, args=(client, context, upstream)).start()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://localhost:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    """A proxy that throttles the first attempt of each call."""
    with fault_proxies(aws, microburst, 1) as [running]:
        yield running


@slow
def test_slowest_calls_end_within_the_timeout(
    aws: LocalAws, proxy: FaultProxy, packages: dict[str, Path], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    stack = aws.deploy(PARAMETERS)
    properties = infra.function(infra.load(), "CallbackFunction")
    endpoints = proxy.endpoints
    with (
        slow_server(endpoints["AWS_ENDPOINT_URL_DYNAMODB"], context) as dynamodb,
        slow_server(endpoints["AWS_ENDPOINT_URL_SNS"], context) as sns,
        ExecutionEnvironment(
            packages["CallbackFunction"],
            properties["Handler"],
            variables(aws, stack, "CallbackFunction")
            | {
                "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
                "AWS_ENDPOINT_URL_SNS": sns,
                "AWS_CA_BUNDLE": str(tmp_path / "authority.pem"),
            },
            timeout=properties["Timeout"],
        ) as callback,
        ExecutionEnvironment(
            packages["StartFunction"],
            infra.function(infra.load(), "StartFunction")["Handler"],
            variables(aws, stack, "StartFunction"),
        ) as start,
    ):
        connector = Deployed(aws, stack, {"StartFunction": start, "CallbackFunction": callback})
        browser = Browser(connector)
        now = int(time.time())
        state = browser.started(at=now)
        for operation in OPERATIONS:
            proxy.inject(operation, Fault.THROTTLED, times=1)

        response = browser.request("callback", urlencode({"code": CODE, "state": state}), at=now)

        assert (response.status, response.parameters["outcome"]) == (303, "granted")
        assert [proxy.attempts(operation) for operation in OPERATIONS] == [1, 1, 1, 1]
        assert connector.item(state) is None
