"""A process of the demo that says when it is ready and never outlives its parent.

As a program it is the child's own half: it runs a module until its parent is gone.
"""

import http.client
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Self

from demo.template import ROOT

SECONDS_TO_STOP = 3.0


class ChildError(Exception):
    """A child that did not start; its message says which, and what it printed if it was quiet."""

    def __init__(self, name: str, fault: str, output: str) -> None:
        """Take the child's name, what is wrong with it, and what it printed."""
        super().__init__(f"{name} {fault}{output}")


def server(factory: str, port: int, *arguments: str) -> tuple[str, ...]:
    """Return the module, with its arguments, that serves what *factory* makes on 127.0.0.1."""
    return (
        *("uvicorn", "--factory", factory, "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "warning", "--no-access-log"),  # it would print codes and states
        *("--no-proxy-headers", "--ws", "none", *arguments),
    )


class Child:
    """A Python module that runs as a server on a port of 127.0.0.1, from construction on.

    It has a process group of its own: Ctrl-C reaches the parent alone, which then stops it.
    """

    def __init__(  # noqa: PLR0913 - how a process is started
        self,
        name: str,
        port: int,
        *module: str,
        environment: dict[str, str],
        quiet: bool = False,
        seconds_to_stop: float = SECONDS_TO_STOP,
        python: str = sys.executable,
    ) -> None:
        """Start *module* (its name, then its arguments) in *environment* and nothing else.

        What a *quiet* one prints is shown only if it does not start. *python* runs it.
        """
        self._seconds_to_stop = seconds_to_stop
        self.name = name
        self.port = port
        self._output = TemporaryFile() if quiet else None  # noqa: SIM115 - stop() closes it
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            [python, "-m", "demo.child", *module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,  # its end tells the child that this process is gone
            stdout=self._output,
            stderr=self._output,
            process_group=0,
        )

    def __enter__(self) -> Self:
        """Return the child, to be stopped at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the child."""
        self.stop()

    def wait_until_ready(self, seconds: float = 30) -> None:
        """Return once it answers HTTP.

        Raises:
            ChildError: it stopped, or is silent after *seconds*.

        """
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline:
                raise ChildError(self.name, f"is silent after {seconds:.0f} s", self._printed())
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
                raise ChildError(self.name, "stopped while it was starting", self._printed())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def stop(self) -> None:
        """End it and all that it started, by force if it takes too long; return when it is gone."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._seconds_to_stop)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for file in (self._process.stdin, self._output):
            if file:
                file.close()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status > 0
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _printed(self) -> str:
        if not self._output:
            return " (see above)"
        self._output.seek(0)
        return f":\n{self._output.read().decode(errors='replace').strip()}"


def _stop_with_parent() -> None:
    os.read(0, 1)  # returns when the parent's end of the pipe is closed
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
