"""ministack without the demo's guard: what the guard stops would be done there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from demo.child import Child
from demo.guard import SERVERS
from demo.local_aws import LocalAws, free_port


@contextmanager
def ministack_without_a_guard() -> Iterator[LocalAws]:
    """Run ministack as it comes."""
    port = free_port()
    with TemporaryDirectory() as directory:
        environment = {
            name: value.format(directory=directory, port=port)
            for name, value in SERVERS["aws"]["environment"].items()
            if name not in {"LAMBDA_STRICT", "SERVICES"}
        }
        environment |= {"BIND_HOST": "127.0.0.1", "PATH": os.environ["PATH"]}
        with Child("ministack", port, "ministack", environment=environment) as child:
            child.wait_until_ready()
            yield LocalAws(f"http://127.0.0.1:{port}", "any")
