"""``make demo`` as a process, for tests that use it as its user does."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

import pytest

from demo.local_aws import LocalAws
from demo.template import ROOT

VARIABLES: dict[int, Path] = {}  # by port: the file that makes a shell a client of the local AWS


@contextmanager
def running(**environment: str) -> Iterator[tuple[Popen[str], list[str]]]:
    """Run the demo; give its process and its output up to the address to open."""
    unset = dict.fromkeys(("QONTO_ENVIRONMENT", "CLIENT_ID", "SCOPE"), "")
    shell, lines = os.environ | unset | environment, list[str]()
    demo = [sys.executable, "-m", "demo"]
    with Popen(demo, cwd=ROOT, env=shell, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                if line.startswith("Open "):
                    break
            else:
                pytest.fail("".join(lines))
            found = re.search("source (.+)", "".join(lines))
            VARIABLES[int(environment["PORT"])] = Path(found[1] if found else "")
            yield process, lines
        finally:
            process.terminate()


def local_aws(port: int) -> LocalAws:
    """Return the local AWS of the demo at *port*, as the demo's user reaches it."""
    found = dict(re.findall("export (.+?)=(.*)", VARIABLES[port].read_text("utf-8")))
    return LocalAws(found["AWS_ENDPOINT_URL"], found["AWS_ACCESS_KEY_ID"])
