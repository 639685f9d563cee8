"""A process of the demo. As a program, this runs a module until the parent is gone."""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import httpx2

from demo.template import ROOT


class ChildError(Exception):
    """A child did not start, for the reason that the text gives."""


class Child(subprocess.Popen[bytes]):
    """A Python module that runs as a server on a port of 127.0.0.1, from construction on."""

    def __init__(self, name: str, port: int, *module: str, environment: dict[str, str]) -> None:
        """Start *module* (its name, then its arguments) in *environment* and nothing else."""
        self.name, self.port = name, port
        super().__init__(
            [sys.executable, "-m", "demo.child", *module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,  # its end tells the child that this process is gone
            process_group=0,  # Ctrl-C reaches only the parent, which then kills the group
        )

    def __exit__(self, *raised: object) -> None:
        """Kill the child and all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(None, None, None)

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Return once it responds to HTTP; raise `ChildError` if it stops, or after *seconds*."""
        deadline, fault = time.monotonic() + seconds, f"{self.name} is silent after {seconds:.0f} s"
        with httpx2.Client(timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline:
                with suppress(httpx2.HTTPError):
                    client.get(f"http://127.0.0.1:{self.port}")
                    return
                with suppress(subprocess.TimeoutExpired):
                    self.wait(0.02)
                    fault = f"{self.name} stopped while it was starting (see above)"
                    break
        raise ChildError(fault)


def _stop_with_parent() -> None:
    os.read(0, 1)  # returns when the parent's end of the pipe is closed
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
