"""A proxy before the local AWS in which calls fail as AWS or a network fails.

The error responses of AWS come from microburst, which knows the format of each service. The proxy
itself makes connections fail. Each attempt of a call can have a fault of its own.
"""

import http.client
import json
import os
import queue
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from demo.child import Child
from demo.local_aws import LocalAws, free_port


class Fault(StrEnum):
    """A fault of one attempt of an AWS call; the value is its name in docs/fault-matrix.md."""

    # The call is not applied.
    DENIED = "access denied"
    THROTTLED = "throttled"
    FAILED = "500"
    RESET = "reset before the call was applied"
    DELAYED = "applied when it is released"
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
    THEN_REFUSED = "a response, after which DynamoDB refuses connections"


# The connection stays open until the client closes it.
_NO_RESPONSE = {Fault.HANGING, Fault.SILENT}
_FROM_INTERMEDIARY = {Fault.FAILED_LATE, Fault.MALFORMED}
# Microburst's settings. If SHORTENED kept DynamoDB's checksum, botocore would see the damage.
_BY_MICROBURST: dict[Fault, dict[str, object]] = {
    Fault.DENIED: {"error": {"code": "AccessDeniedException", "status": 403}},
    Fault.THROTTLED: {"error": {"code": "ThrottlingException", "status": 400}},
    Fault.FAILED: {"error": {"code": "InternalServerError", "status": 500}},
    Fault.SHORTENED: {"response": {"truncate_frac": 0.5, "strip_headers": ["x-amz-crc32"]}},
}
ANY = "any operation"
_CHECKSUM = "x-amz-crc32"
_HEADER = "x-fault"
_INTERMEDIARY_PAGE = b"<html><body>a page of something in between</body></html>"
_DRIP = 0.2  # seconds per byte, far below the clients' read timeout
_LOCALHOST = "127.0.0.1"
# With every fault: botocore pauses for 5 s more (milliseconds).
_RETRY_AFTER = {"x-amz-retry-after": "60000"}


class _Call:
    """A request of an AWS client, read from its connection."""

    def __init__(self, lines: BufferedIOBase) -> None:
        line = lines.readline()
        self.headers = dict(http.client.parse_headers(lines))
        self.body = lines.read(int(self.headers.get("Content-Length", 0)))
        default = 0 if line.startswith((b"GET ", b"DELETE ")) else -1
        if not line or len(self.body) != int(self.headers.get("Content-Length", default)):
            raise ConnectionAbortedError  # the client closed the connection
        self.method, self.path, _ = line.decode().split(" ")
        action = re.search(rb"(?:^|&)Action=(\w+)", self.body)  # SNS; DynamoDB uses a header
        target = self.headers.get("X-Amz-Target", "")
        # Other requests than AWS's are known by their method.
        self.operation = action[1].decode() if action else target.rpartition(".")[2] or self.method


class FaultProxy:
    """A proxy with an endpoint for each service, in which attempts can fail."""

    def __init__(self, upstream: str, microburst: str, *, retry_after: bool = True) -> None:
        """Open the endpoints, which call *upstream*, or *microburst* for its faults.

        With *retry_after*, each fault asks the client for a pause, if there is a response.
        """
        self._retry_after = _RETRY_AFTER if retry_after else {}
        self._upstream, self._microburst = (
            url.removeprefix("http://") for url in (upstream, microburst)
        )
        self._rules: dict[str, deque[tuple[Fault | None, int | None]]] = {}
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._reached: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.released = threading.Event()
        self.dynamodb = _Endpoint(self._serve)
        self.sns = _Endpoint(self._serve)
        self.secrets = _Endpoint(self._serve)
        self.sqs = _Endpoint(self._serve)
        self.endpoints = {
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb.url,
            "AWS_ENDPOINT_URL_SNS": self.sns.url,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": self.secrets.url,
            "AWS_ENDPOINT_URL_SQS": self.sqs.url,
        }

    def __enter__(self) -> Self:
        """Return the proxy, to be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the endpoints and all connections."""
        for endpoint in (self.dynamodb, self.sns, self.secrets, self.sqs):
            endpoint.close()

    def inject(
        self, operation: str, fault: Fault, *, after: int = 0, times: int | None = None
    ) -> None:
        """Apply *fault* to each attempt of *operation*, or to the next *times* attempts.

        The first *after* attempts have no fault. Several faults of one operation apply in the order
        in which they were injected. `ANY` stands for each operation without faults of its own.
        """
        with self._lock:
            rules = self._rules.setdefault(operation, deque())
            if after:
                rules.append((None, after))
            rules.append((fault, times))

    def clear(self) -> None:
        """Remove all faults, and accept connections again."""
        with self._lock:
            self._rules.clear()
            self._attempts.clear()
        self._reached = queue.SimpleQueue()
        self.released.clear()
        self.dynamodb.accept()
        self.sns.accept()

    def attempts(self, operation: str) -> int:
        """Return how many attempts of *operation* have had a fault."""
        return self._attempts[operation]

    def wait_for(self, operation: str, seconds: float = 30) -> None:
        """Wait for the next fault of an attempt of *operation*, or of `ANY`.

        Raises:
            queue.Empty: no fault happened within *seconds*.

        """
        while operation not in {self._reached.get(timeout=seconds), ANY}:
            pass

    def _next_fault(self, operation: str) -> Fault | None:
        with self._lock:
            rules = self._rules.get(operation) or self._rules.get(ANY)
            if not rules:
                return None
            fault, times = rules.popleft()
            if times is None or times > 1:
                rules.appendleft((fault, times and times - 1))
            self._attempts[operation] += fault is not None
            return fault

    def _serve(self, client: socket.socket) -> None:
        with client.makefile("rb") as lines:
            call = _Call(lines)
        fault = self._next_fault(call.operation)
        if fault is Fault.THEN_REFUSED:
            self.dynamodb.refuse()
        if fault is Fault.DELAYED and not self._is_released(call, client):
            return
        is_applied = fault not in {Fault.RESET, Fault.HANGING}
        response = self._forwarded(call, fault) if is_applied else None
        if fault is Fault.HELD and not self._is_released(call, client):
            return
        if fault and fault not in {Fault.DELAYED, Fault.HELD}:
            # Reported before the client goes on, so that `clear` removes all reports of its past.
            self._reached.put(call.operation)
        if response:
            self._respond(client, fault, *response)
        elif fault is Fault.RESET:
            _abort(client)
        if fault is Fault.HELD:
            self._reached.put(call.operation)  # a second time, for those who await the response
        if fault in _NO_RESPONSE:
            client.recv(1)

    def _is_released(self, call: _Call, client: socket.socket) -> bool:
        self._reached.put(call.operation)
        while not self.released.wait(0.02):
            if _is_gone(client):
                return False
        return True

    def _forwarded(self, call: _Call, fault: Fault | None) -> tuple[int, dict[str, str], bytes]:
        to_microburst = fault in _BY_MICROBURST
        connection = http.client.HTTPConnection(
            self._microburst if to_microburst else self._upstream, timeout=30
        )
        headers = {name: value for name, value in call.headers.items() if name != "Host"}
        if fault and to_microburst:
            headers |= {_HEADER: fault.name}
        try:
            connection.request(call.method, call.path, call.body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def _respond(
        self,
        client: socket.socket,
        fault: Fault | None,
        status: int,
        headers: dict[str, str],
        body: bytes,
    ) -> None:
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}
            and not (fault in _FROM_INTERMEDIARY and name.lower() == _CHECKSUM)
        }
        if fault is Fault.FAILED_LATE:
            status = 502
        if fault in _FROM_INTERMEDIARY:
            body = _INTERMEDIARY_PAGE
        if fault:
            kept |= self._retry_after
        length = len(body)
        if fault is Fault.CUT_OFF:
            body = body[: length // 2]
        # The proxy serves one call per connection, so that each attempt opens a new one.
        head = [f"HTTP/1.1 {status} -", f"Content-Length: {length}", "Connection: close"]
        head += [f"{name}: {value}" for name, value in kept.items()]
        response = "\r\n".join([*head, "", ""]).encode() + body
        match fault:
            case Fault.LOST:
                _abort(client)
            case Fault.SILENT:
                pass
            case Fault.DRIPPING:
                for byte in response:
                    client.sendall(bytes([byte]))
                    time.sleep(_DRIP)
            case _:
                client.sendall(response)


class Hurry(FaultProxy):
    """A proxy by which delayed messages arrive at once.

    Attributes:
        delays: the delays of the messages, in seconds.

    """

    def __init__(self, upstream: str, microburst: str = "", *, retry_after: bool = False) -> None:
        """Open the endpoints as a `FaultProxy` does."""
        super().__init__(upstream, microburst, retry_after=retry_after)
        self.delays: list[int] = []

    def _forwarded(self, call: _Call, fault: Fault | None) -> tuple[int, dict[str, str], bytes]:
        delay = rb'(?<="DelaySeconds": )\d+'
        self.delays += map(int, re.findall(delay, call.body))
        call.body = re.sub(delay, lambda found: b"0".rjust(len(found[0])), call.body)
        return super()._forwarded(call, fault)


class _Endpoint:
    """A port of 127.0.0.1 that stays reserved while it refuses connections."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._holder = self._bound(0)
        self._port: int = self._holder.getsockname()[1]
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self.url = f"http://{_LOCALHOST}:{self._port}"
        self.accept()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((_LOCALHOST, port))
        return bound

    def accept(self) -> None:
        """Accept connections, if they are refused."""
        if self._listener is None:
            self._listener = self._bound(self._port)
            self._listener.listen(64)
            threading.Thread(target=self._run, args=[self._listener], daemon=True).start()

    def refuse(self) -> None:
        """Refuse new connections."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Release the port, and close the open connections."""
        self.refuse()
        self._holder.close()
        for client in self._clients.copy():
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _run(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # the listener was closed
                return
            threading.Thread(target=self._connection, args=[client], daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        self._clients.add(client)
        with client, suppress(OSError):  # the client may close the connection
            self._serve(client)
        self._clients.discard(client)


def _is_gone(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:  # the client still waits for the response
        return False


def _abort(client: socket.socket) -> None:
    """Reset the connection, so that the client gets an error instead of a response."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextmanager
def microburst(aws: LocalAws) -> Iterator[str]:
    """Run microburst before *aws* inside the block, and yield its URL."""
    rules = [
        {"service": "*", "headers": {_HEADER: fault.name}, **effect}
        for fault, effect in _BY_MICROBURST.items()
    ]
    port = free_port()
    with TemporaryDirectory() as folder:
        config = Path(folder, "microburst.json")
        config.write_text(json.dumps({"rules": rules}))  # valid YAML, which microburst reads
        arguments = ["--upstream", aws.endpoint_url, "--host", _LOCALHOST, "--port", str(port)]
        with Child(
            "microburst",
            port,
            *("microburst", "--config", str(config), *arguments),
            environment={"PATH": os.environ["PATH"]},
            quiet=True,
            seconds_to_stop=0,
        ) as child:
            # Its first response takes seconds, because it reads the models of all services.
            child.wait_until_ready(120)
            yield f"http://{_LOCALHOST}:{port}"


@contextmanager
def fault_proxies(
    aws: LocalAws, microburst: str, number: int, *, retry_after: bool = True
) -> Iterator[list[FaultProxy]]:
    """Run *number* proxies before *aws* and *microburst* inside the block."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(FaultProxy(aws.endpoint_url, microburst, retry_after=retry_after))
            for _ in range(number)
        ]
