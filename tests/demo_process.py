"""``make demo`` as a process, for tests that use it as its user does."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.local_aws import LocalAws, Stack
from demo.template import ROOT
from tests.integration.connector import Subscriber

DEMO = [sys.executable, "-m", "demo"]
SHELL = os.environ | dict.fromkeys(("QONTO_ENVIRONMENT", "CLIENT_ID", "SCOPE"), "")
VARIABLES: dict[int, Path] = {}  # by port: the file that makes a shell a client of the local AWS


@contextmanager
def running(**environment: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the demo; give its process and its output up to the address to open."""
    command = subprocess.Popen(
        DEMO,
        cwd=ROOT,
        env=SHELL | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with command as process:
        lines: list[str] = []
        try:
            for line in process.stdout or ():
                lines.append(line)
                if found := re.search("source (.+)", line):
                    VARIABLES[int(environment["PORT"])] = Path(found[1])
                if line.startswith("Open "):
                    yield process, lines
                    return
            pytest.fail("".join(lines))
        finally:
            process.terminate()


def local_aws(port: int) -> LocalAws:
    """Return the local AWS of the demo at *port*, as the demo's user reaches it."""
    found = dict(re.findall("export (.+?)=(.*)", VARIABLES[port].read_text("utf-8")))
    return LocalAws(found["AWS_ENDPOINT_URL"], found["AWS_ACCESS_KEY_ID"])


@contextmanager
def checked(port: int) -> Iterator[None]:
    """Check all that the demo at *port* publishes while the block runs."""
    aws = local_aws(port)
    [topic] = aws.sns.list_topics()["Topics"]
    subscriber = Subscriber(aws, Stack({"AuthorizationTopic": topic["TopicArn"]}, {}, []))
    yield
    assert subscriber.bodies()
