"""Serves an ASGI application from this process, for tests that need a real HTTP server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def serving(application: ASGIApp, port: int = 0, /, **config: Any) -> Iterator[int]:  # noqa: ANN401 - uvicorn's
    """Serve *application* on 127.0.0.1 inside the block, and yield the port; 0 is any free one."""
    usual: dict[str, Any] = {"lifespan": "off", "log_level": "warning", "ws": "none"}
    usual["h11_max_incomplete_event_size"] = 65_536  # the gateway has its own limit
    usual["timeout_graceful_shutdown"] = 1  # seconds; a browser keeps its connections
    server = uvicorn.Server(uvicorn.Config(application, **(usual | config)))
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
