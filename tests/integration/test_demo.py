"""``make demo``, as its user sees it."""

import signal
import socket
import subprocess

import httpx2
import pytest

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from demo.template import ROOT
from tests.support.demo_process import DEMO, SHELL, VARIABLES, running

SANDBOX = {"QONTO_ENVIRONMENT": "sandbox", "CLIENT_ID": "client-1"}


@pytest.mark.parametrize(
    ("stop", "terminal"), [(signal.SIGINT, "ascii"), (signal.SIGKILL, "latin-1")]
)
def test_signal_stops_the_demo_without_leftovers(stop: signal.Signals, terminal: str) -> None:
    port = free_port(len(HOSTS))

    with running(PORT=str(port), PYTHONIOENCODING=terminal) as (process, lines):
        assert lines[-1].startswith(f"Open http://localhost:{port} in ")
        location = httpx2.get(f"http://localhost:{port + 1}/start").headers["Location"]
        assert location.startswith(f"http://127.0.0.1:{port + 2}/oauth2/auth?")
        process.send_signal(stop)
        # All processes have the other end of this pipe: it ends when all are gone.
        rest = process.stdout.read() if process.stdout else ""

    assert "Traceback" not in rest
    if stop != signal.SIGKILL:
        assert process.returncode == 0
        assert rest.endswith("Stopping ...\n")
        assert not VARIABLES[port].parent.exists()
    for each in range(port, port + len(HOSTS)):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", each))


def test_client_of_the_user_leads_to_qonto() -> None:
    port = free_port(len(HOSTS))

    with running(PORT=str(port), SCOPE="a b", **SANDBOX) as (_, lines):
        said = [line for line in lines if line.startswith("Register in Qonto's Developer Portal")]
        assert f"http://localhost:{port + 1}/callback" in said[0]
        location = httpx2.get(f"http://localhost:{port + 1}/start").headers["Location"]
        qonto = "https://oauth-sandbox.staging.qonto.co/oauth2/auth?client_id=client-1&"
        assert location.startswith(qonto)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port + 2))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PORT", "http", "PORT must be a number from 1024 to 65530, not 'http'."),
        ("PORT", "65531", "PORT must be a number from 1024 to 65530, not '65531'."),
        ("PORT", "{used}", "port {used} is taken. Take six others:  PORT=9000 make demo"),
        ("CLIENT_ID", "", "QONTO_ENVIRONMENT needs CLIENT_ID, from Qonto's Developer Portal."),
        ("QONTO_ENVIRONMENT", "x", "QONTO_ENVIRONMENT must be one of production, sandbox."),
        ("SCOPE", "a  b", "SCOPE must be scope names separated by single spaces, at most 1,024 "),
    ],
)
def test_demo_that_cannot_start_says_why(name: str, value: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        used = server.getsockname()[1]
        port = {"PORT": str(free_port(len(HOSTS)))}
        shell = SHELL | SANDBOX | port | {name: value.format(used=used)}
        done = subprocess.run(
            DEMO, cwd=ROOT, env=shell, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 1
    assert done.stderr.startswith(f"demo: {reason.format(used=used)}")
    assert "\n" not in done.stderr.rstrip("\n")
