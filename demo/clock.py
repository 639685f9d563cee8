"""The clock of the demo's processes, which its user can put forward to see a connection age.

It changes only `time.time`: AWS requests are signed with the real time, and waits do not shorten.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

VARIABLE = "DEMO_CLOCK"  # names the file that says by how many seconds the clock is ahead


class Clock(NamedTuple):
    """The clock in a file, which the processes share; without the file it is not ahead."""

    path: Path

    @property
    def ahead(self) -> int:
        """How many seconds it is ahead."""
        return int(self.path.read_text("ascii")) if self.path.exists() else 0

    def put_forward(self, seconds: int) -> None:
        """Put it forward by *seconds*."""
        new = self.path.with_suffix(".new")
        new.write_text(str(self.ahead + seconds), "ascii")
        new.replace(self.path)  # so that no process reads half of it


def shared() -> Clock | None:
    """Return the clock that the environment names, if it does."""
    return Clock(Path(os.environ[VARIABLE])) if VARIABLE in os.environ else None


def install() -> None:
    """Use the demo's clock, if there is one, in modules that are imported after this call."""
    clock, real = shared(), time.time
    if clock:
        time.time = lambda: real() + clock.ahead
