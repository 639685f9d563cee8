"""A stub of DynamoDB and SNS over TLS, which responds to every call at once, and with success."""

import json
import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import trustme

PUBLISHED = (
    b'<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
    b"<MessageId>5f0c8f3e-0000-4000-8000-000000000000</MessageId></PublishResult>"
    b"<ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></PublishResponse>"
)


@contextmanager
def aws_stub(item: dict[str, dict[str, str]], authority: trustme.CA) -> Iterator[str]:
    """Yield the URL of a stub with a certificate of *authority*.

    Its response to each write that asks for the old item is *item*.
    """
    returned = json.dumps({"Attributes": item}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # a response is one write

        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            body = PUBLISHED
            if "X-Amz-Target" in self.headers:
                body = returned if b'"ReturnValues"' in request else b"{}"
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-amz-crc32", str(zlib.crc32(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Ignore a function that was killed after its response."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with Server(("127.0.0.1", 0), Handler) as server:
        # The handshake belongs to each connection's own thread: see SSLSocket.accept.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        Thread(target=server.serve_forever).start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
