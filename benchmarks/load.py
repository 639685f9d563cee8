"""Puts the demo's whole stack under load, with wrk (Debian: apt install wrk)."""

import re
import shutil
import subprocess
from threading import Thread

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from tests.demo_process import running

SECONDS = 10
CONNECTIONS = (1, 8)


def table() -> str:
    """Return a table of the demo's `GET /start` under load, or the reason why it is missing."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return "No load run: wrk is not installed."
    lines = ["| connections | starts a second | p50 | p99 | other than 2xx or 3xx |"]
    lines.append("|---|---|---|---|---|")
    port = free_port(len(HOSTS))
    with running(PORT=str(port)) as (process, _):
        assert process.stdout
        # Read the demo's log, because a full pipe would stop the handlers.
        Thread(target=process.stdout.read, daemon=True).start()
        for connections in CONNECTIONS:
            options = ("-t", "1", "-c", str(connections), "-d", f"{SECONDS}s", "--latency")
            run = subprocess.run(
                [wrk, *options, f"http://localhost:{port + 1}/start?context=load"],
                capture_output=True,
                text=True,
                check=True,
            )
            cells = [
                _found(rf"{name}\s+([\d.]+\w*)", run.stdout)
                for name in ("Requests/sec:", "50%", "99%")
            ]
            failed = _found(r"Non-2xx or 3xx responses: (\d+)", run.stdout)
            lines.append(f"| {connections} | {' | '.join(cells)} | {failed} |")
    return "\n".join(lines)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"
