"""The clock of the demo's processes, which its user can put forward to see a connection live.

It changes `time.time` alone: what sleeps or waits does not get faster, and an AWS request is signed
with the real time.
"""

import os
import time
from pathlib import Path

VARIABLE = "DEMO_CLOCK"  # the file that says by how many seconds the clock is ahead


def file_in(directory: str) -> str:
    """Return the path of the clock of the processes whose files are in *directory*."""
    return f"{directory}/clock"


def install() -> None:
    """Use the demo's clock in this process, if there is one.

    It must come before the import of a module that keeps `time.time` in a variable.
    """
    clock, real = shared(), time.time
    if clock:
        time.time = lambda: real() + clock.ahead


def shared() -> "Clock | None":
    """Return the clock that the environment names, if it does."""
    return Clock(Path(os.environ[VARIABLE])) if VARIABLE in os.environ else None


class Clock:
    """The clock in a file, which the processes share."""

    def __init__(self, path: Path) -> None:
        """Use the file at *path*; without it the clock is not ahead."""
        self._path = path

    @property
    def ahead(self) -> int:
        """How many seconds it is ahead."""
        try:
            return int(self._path.read_text("ascii"))
        except FileNotFoundError:
            return 0

    def put_forward(self, seconds: int) -> None:
        """Put it forward by so many *seconds*."""
        new = self._path.with_suffix(".new")
        new.write_text(str(self.ahead + seconds), "ascii")
        new.replace(self._path)  # so that no process reads half of it
