"""A stub of DynamoDB and SNS over TLS, which responds to every call at once, and with success.

The stub does little else, so that the benchmark measures the function's own work.
"""

import json
import socket
import socketserver
import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

import trustme

HOST = "localhost"
PUBLISHED = (
    b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
    b"<MessageId>5f0c8f3e-0000-4000-8000-000000000000</MessageId></PublishResult>"
    b"<ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></PublishResponse>"
)


@dataclass(frozen=True)
class AwsStub:
    """The address and the authority of a running stub.

    Attributes:
        endpoint_url: the URL of both services.
        ca_certificate: the authority that a client must trust, in PEM.

    """

    endpoint_url: str
    ca_certificate: str


def _response(content_type: str, body: bytes) -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"x-amzn-RequestId: {'A' * 52}\r\nx-amz-crc32: {zlib.crc32(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(socketserver.BaseRequestHandler):
    """One client's connection: requests one after the other, each with a response in one write."""

    server: "_Server"

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle(self) -> None:
        try:
            with self.server.context.wrap_socket(self.request, server_side=True) as connection:
                while request := self._read(connection):
                    connection.sendall(self.server.response(request))
        except OSError:
            return  # the function was killed after its response

    @staticmethod
    def _read(connection: ssl.SSLSocket) -> bytes:
        """Return one request, or no bytes after the client has disconnected."""
        received = b""
        while (head_end := received.find(b"\r\n\r\n")) < 0:
            if not (more := connection.recv(65536)):
                return b""
            received += more
        length = received.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        while len(received) < head_end + 4 + int(length or 0):
            if not (more := connection.recv(65536)):
                return b""
            received += more
        return received


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext, item: dict[str, dict[str, str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context = context
        dynamodb = "application/x-amz-json-1.0"
        self._written = _response(dynamodb, b"{}")
        self._returned = _response(dynamodb, json.dumps({"Attributes": item}).encode())
        self._published = _response("text/xml", PUBLISHED)

    def response(self, request: bytes) -> bytes:
        if b"DynamoDB_20120810." not in request:
            return self._published
        return self._returned if b'"ReturnValues"' in request else self._written


@contextmanager
def aws_stub(
    item: dict[str, dict[str, str]], authority: trustme.CA | None = None
) -> Iterator[AwsStub]:
    """Run the stub, with a certificate of *authority*; *item* is the old value of each write."""
    authority = authority or trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    certificate = authority.cert_pem.bytes().decode()
    with _Server(context, item) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield AwsStub(f"https://{HOST}:{server.server_address[1]}", certificate)
        finally:
            server.shutdown()
            thread.join()
