"""A proxy before the local AWS in which calls fail as AWS or a network fails.

The error responses of AWS come from microburst, which knows the format of each service.
"""

import json
import os
import queue
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from tempfile import NamedTemporaryFile
from typing import Any

import urllib3

from demo.child import Child
from demo.local_aws import LocalAws, free_port

type Response = tuple[int, dict[str, str], bytes]


class Fault(StrEnum):
    """A fault of one attempt of an AWS call; the value is its name in docs/fault-matrix.md."""

    # The call is not applied.
    DENIED = "access denied"
    THROTTLED = "throttled"
    FAILED = "500"
    RESET = "reset before the call was applied"
    HANGING = "no response, the call not applied"
    # The call is applied.
    FAILED_LATE = "502 of a proxy, the call applied"
    LOST = "reset before the response"
    SILENT = "no response, the call applied"
    CUT_OFF = "half a response, then the end of the connection"
    SHORTENED = "half a response that claims to be whole"
    MALFORMED = "a malformed response"
    DRIPPING = "a response byte by byte"
    HELD = "a response when it is released"


# Microburst's settings.
_BY_MICROBURST: dict[Fault, dict[str, object]] = {
    Fault.DENIED: {"error": {"code": "AccessDeniedException", "status": 403}},
    Fault.THROTTLED: {"error": {"code": "ThrottlingException", "status": 400}},
    Fault.FAILED: {"error": {"code": "InternalServerError", "status": 500}},
}
EVERY = 1000  # attempts
_HEADER = "x-fault"
_LOCALHOST = "127.0.0.1"


class Attempt(BaseHTTPRequestHandler):
    """An attempt of a call, read from its connection, which serves no second one."""

    server: "FaultProxy"

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        action = re.search(rb"(?:^|&)Action=(\w+)", self.body)  # SNS; DynamoDB uses a header
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.operation = action[1].decode() if action else target or self.command  # of Qonto
        if len(self.body) == length:  # else the client has closed the connection
            self.server.serve(self)

    do_GET = do_DELETE = do_POST  # noqa: N815


class FaultProxy(ThreadingTCPServer):
    """A proxy before *upstream* in which attempts can fail, some of them by *microburst*.

    *attempts* counts those of each operation.
    """

    daemon_threads = True
    request_queue_size = 64
    asks_for_pause = True

    def __init__(self, upstream: str, microburst: str = "") -> None:
        self._upstream, self._microburst = upstream, microburst
        super().__init__((_LOCALHOST, 0), Attempt)
        self.attempts: Counter[str] = Counter()
        self.clear()
        self.url = f"http://{_LOCALHOST}:{self.server_address[1]}"
        services = ("DYNAMODB", "SNS", "SECRETS_MANAGER", "SQS")
        self.endpoints = {f"AWS_ENDPOINT_URL_{service}": self.url for service in services}
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - Python's
        """Print an error, unless the client closed its connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def inject(self, operation: str, fault: Fault, *, after: int = 0, times: int = EVERY) -> None:
        """Apply *fault* to each attempt of *operation*, or to the next *times* attempts.

        The first *after* attempts have no fault. Several faults of one operation apply in the order
        in which they were injected.
        """
        self._faults[operation].extend([None] * after + [fault] * times)

    def clear(self) -> None:
        """Remove all faults."""
        self._faults: defaultdict[str, deque[Fault | None]] = defaultdict(deque)
        self._reached: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.released = threading.Event()  # of the responses that are held

    def wait_for(self, operation: str) -> None:
        """Wait for the next fault of *operation*, or raise `queue.Empty`."""
        while self._reached.get(timeout=30) != operation:
            pass

    def serve(self, attempt: Attempt) -> None:
        """Respond to *attempt*, or let it fail."""
        faults = self._faults[attempt.operation]
        fault = faults.popleft() if faults else None
        self.attempts[attempt.operation] += 1
        is_applied = fault not in {Fault.RESET, Fault.HANGING}
        response = self._forwarded(attempt, fault) if is_applied else None
        if fault:
            # Reported before the client goes on, so that `clear` removes all reports of its past.
            self._reached.put(attempt.operation)
        if fault is Fault.HELD and not self.released.wait(60):
            raise ConnectionAbortedError
        if fault in {Fault.RESET, Fault.LOST}:
            # Closed with unsent data discarded, the connection is reset.
            linger = struct.pack("ii", 1, 0)
            attempt.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            attempt.rfile.close()
            attempt.connection.close()
        elif fault in {Fault.HANGING, Fault.SILENT}:
            attempt.connection.recv(1)  # until the client closes the connection
        elif response:
            self._respond(attempt, fault, response)

    def _forwarded(self, attempt: Attempt, fault: Fault | None) -> Response:
        headers = {name: value for name, value in attempt.headers.items() if name != "Host"}
        url = self._upstream
        if fault and fault in _BY_MICROBURST:
            url = self._microburst
            headers[_HEADER] = fault.name
        # Each call has a connection of its own, as the servers may stop meanwhile.
        options: dict[str, Any] = {"decode_content": False, "redirect": False}
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            response = pool.request(
                attempt.command, url + attempt.path, body=attempt.body, headers=headers, **options
            )
        return response.status, dict(response.headers), response.data

    def _respond(self, attempt: Attempt, fault: Fault | None, response: Response) -> None:
        status, headers, body = response
        if fault in {Fault.FAILED_LATE, Fault.MALFORMED}:
            headers, body = {}, b"<html><body>a page of something in between</body></html>"
        half = body[: len(body) // 2]
        body = half if fault is Fault.SHORTENED else body
        # With DynamoDB's checksum, botocore would see that a response is not whole.
        dropped = {"connection", "content-length", "transfer-encoding", "x-amz-crc32"}
        headers = {name: value for name, value in headers.items() if name.lower() not in dropped}
        headers |= {"Content-Length": str(len(body)), "Connection": "close"}
        if fault and self.asks_for_pause:
            headers["x-amz-retry-after"] = "60000"  # botocore pauses for 5 s more
        status = 502 if fault is Fault.FAILED_LATE else status
        body = half if fault is Fault.CUT_OFF else body
        lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in headers.items())]
        sent = "\r\n".join([*lines, "", ""]).encode() + body
        if fault is not Fault.DRIPPING:
            attempt.connection.sendall(sent)
            return
        for byte in sent:
            attempt.connection.sendall(bytes([byte]))
            time.sleep(0.2)  # far below the clients' read timeout


class Hurry(FaultProxy):
    """A proxy by which delayed messages arrive at once; *delays* has their delays in seconds."""

    asks_for_pause = False

    def __init__(self, upstream: str, microburst: str = "") -> None:
        super().__init__(upstream, microburst)
        self.delays: list[int] = []

    def _forwarded(self, attempt: Attempt, fault: Fault | None) -> Response:
        delay = rb'(?<="DelaySeconds": )\d+'
        self.delays += map(int, re.findall(delay, attempt.body))
        attempt.body = re.sub(delay, lambda found: b"0".rjust(len(found[0])), attempt.body)
        return super()._forwarded(attempt, fault)


@contextmanager
def microburst(aws: LocalAws) -> Iterator[str]:
    """Run microburst before *aws* inside the block, and yield its URL."""
    rules = [
        {"service": "*", "headers": {_HEADER: fault.name}, **effect}
        for fault, effect in _BY_MICROBURST.items()
    ]
    port = free_port()
    address = ["--upstream", aws.endpoint_url, "--host", _LOCALHOST, "--port", str(port)]
    with NamedTemporaryFile("w", suffix=".json") as config:
        json.dump({"rules": rules}, config)  # valid YAML, which microburst reads
        config.flush()
        command = ["microburst", "--config", config.name, *address]
        with Child(command[0], port, *command, environment={"PATH": os.environ["PATH"]}) as child:
            # Its first response takes seconds, because it reads the models of all services.
            child.wait_until_ready(120)
            yield f"http://{_LOCALHOST}:{port}"
