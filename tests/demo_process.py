"""``make demo`` as a process, for tests that use it as a person does."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from demo.local_aws import LocalAws, Stack, free_port
from demo.template import ROOT
from tests.integration.pair import Subscriber

DEMO = [sys.executable, "-m", "demo"]
SHELL = os.environ | dict.fromkeys(("QONTO_ENVIRONMENT", "CLIENT_ID", "SCOPE"), "")


def five_free_ports() -> int:
    """Return the first of five ports in a row that nobody listens on."""
    while True:
        first = free_port()
        with ExitStack() as listening:
            try:
                for port in range(first, first + 5):
                    listening.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return first


@contextmanager
def running(**environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the demo; give its process and what it printed up to the address to open."""
    with subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env=SHELL | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        lines: list[str] = []
        try:
            for line in process.stdout:
                lines.append(line)
                if line.startswith("Open "):
                    break
            else:
                pytest.fail("".join(lines))
            yield process, lines
        finally:
            process.terminate()


@contextmanager
def checked(port: int) -> Iterator[None]:
    """Check all that the demo at *port* publishes while the block runs."""
    aws = LocalAws(f"http://127.0.0.1:{port + 4}")
    [topic] = aws.sns.list_topics()["Topics"]
    subscriber = Subscriber(aws, Stack({"AuthorizationTopic": topic["TopicArn"]}, {}, []))
    yield
    assert subscriber.bodies()
