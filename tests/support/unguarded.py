"""ministack without the demo's guard: what the guard stops would be done there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from demo.child import Child
from demo.local_aws import REGION, LocalAws, free_port


@contextmanager
def ministack_without_a_guard() -> Iterator[LocalAws]:
    """Run ministack as it comes."""
    port = free_port()
    with TemporaryDirectory() as home:
        environment = dict.fromkeys(("HOME", "TMPDIR", "STATE_DIR"), home) | {
            "PATH": os.environ["PATH"],
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_REGION": REGION,
            "DOCKER_HOST": "unix:///nonexistent",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
        with Child("ministack", port, "ministack", environment=environment) as child:
            child.wait_until_ready()
            yield LocalAws(f"http://127.0.0.1:{port}", "any")
