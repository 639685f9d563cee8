"""A proxy before the local AWS in which calls fail as AWS or a network fails."""

import json
import queue
import re
import socket
import struct
import sys
import threading
from collections import Counter, defaultdict, deque
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import urllib3

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


# The error code of AWS, and its HTTP status.
ERRORS = {
    Fault.DENIED: ("AccessDeniedException", 403),
    Fault.THROTTLED: ("ThrottlingException", 400),
    Fault.FAILED: ("InternalServerError", 500),
}


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
    """A proxy before *upstream* in which attempts can fail.

    *attempts* counts those of each operation.
    """

    daemon_threads = True
    request_queue_size = 64
    asks_for_pause = True

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        super().__init__(("127.0.0.1", 0), Attempt)
        self.attempts: Counter[str] = Counter()
        self.clear()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
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

    def inject(self, operation: str, fault: Fault, *, after: int = 0, times: int = 1000) -> None:
        """Apply *fault* to each attempt of *operation*, or to the next *times* attempts.

        The first *after* attempts have no fault. Several faults of one operation apply in the order
        in which they were injected.
        """
        self._faults[operation].extend([None] * after + [fault] * times)

    def clear(self) -> None:
        """Remove all faults."""
        self._faults: defaultdict[str, deque[Fault | None]] = defaultdict(deque)
        self._reached: queue.SimpleQueue[str] = queue.SimpleQueue()

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
        if fault and fault in ERRORS:
            code, status = ERRORS[fault]
            is_json = "X-Amz-Target" in attempt.headers
            json_text, xml = (
                json.dumps({"__type": code}),
                f"<E><Error><Code>{code}</Code></Error></E>",
            )
            return status, {}, (json_text if is_json else xml).encode()
        headers = {name: value for name, value in attempt.headers.items() if name != "Host"}
        # Each call has a connection of its own, as the servers may stop meanwhile.
        options: dict[str, Any] = {"decode_content": False, "redirect": False}
        with urllib3.PoolManager(retries=False, timeout=30) as pool:
            response = pool.request(
                attempt.command,
                self._upstream + attempt.path,
                body=attempt.body,
                headers=headers,
                **options,
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
        attempt.connection.sendall(sent)


class Hurry(FaultProxy):
    """A proxy by which delayed messages arrive at once; *delays* has their delays in seconds."""

    asks_for_pause = False

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.delays: list[int] = []

    def _forwarded(self, attempt: Attempt, fault: Fault | None) -> Response:
        delay = rb'(?<="DelaySeconds": )\d+'
        self.delays += map(int, re.findall(delay, attempt.body))
        attempt.body = re.sub(delay, lambda found: b"0".rjust(len(found[0])), attempt.body)
        return super()._forwarded(attempt, fault)
