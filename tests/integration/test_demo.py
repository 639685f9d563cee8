"""``make demo``, as its user sees it."""

import http.client
import os
import signal
import socket
import subprocess

import pytest

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from demo.template import ROOT
from tests.demo_process import DEMO, SHELL, running


def refusal(**environment: str) -> str:
    """Run a demo that cannot start; return its one line on stderr."""
    done = subprocess.run(
        DEMO,
        cwd=ROOT,
        env=SHELL | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    return line


def location(port: int) -> str:
    """Return where ``/start`` on *port* sends a browser."""
    connection = http.client.HTTPConnection("localhost", port, timeout=10)
    connection.request("GET", "/start")
    answer = connection.getresponse()
    connection.close()
    assert answer.status == 302
    return answer.headers["Location"]


@pytest.mark.parametrize(
    ("stop", "terminal"), [(signal.SIGINT, "utf-8"), (signal.SIGTERM, "ascii")]
)
def test_signal_stops_the_demo_without_leftovers(stop: signal.Signals, terminal: str) -> None:
    port = free_port(len(HOSTS))

    with running(PORT=str(port), PYTHONIOENCODING=terminal) as (process, lines):
        assert lines[-1].startswith(f"Open http://localhost:{port} in ")
        assert location(port + 1).startswith(f"http://127.0.0.1:{port + 2}/oauth2/auth?")
        process.send_signal(stop)
        # All processes have the other end of this pipe: it ends when all are gone.
        assert process.stdout
        rest = process.stdout.read()
        assert process.wait() == 0

    assert "Traceback" not in rest
    assert rest.endswith("Stopping ...\n")
    for each in range(port, port + len(HOSTS)):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", each))


def test_stopped_process_stops_the_demo_by_name() -> None:
    port = free_port(len(HOSTS))

    with running(PORT=str(port)) as (process, _):
        processes = subprocess.run(
            ["ps", "-Aww", "-o", "pid=,ppid=,args="],  # noqa: S607 - any ps
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        [pid] = [
            int(line.split()[0])
            for line in processes.stdout.splitlines()
            if line.split()[1] == str(process.pid) and f"--port {port + 3}" in line
        ]
        os.kill(pid, signal.SIGKILL)
        assert process.stdout
        rest = process.stdout.read()

    assert rest.endswith("demo: the subscriber stopped, so the demo stops.\n")
    assert process.returncode == 1


def test_client_of_the_user_leads_to_qonto() -> None:
    port = free_port(len(HOSTS))

    with running(
        PORT=str(port), QONTO_ENVIRONMENT="sandbox", CLIENT_ID="client-1", SCOPE="a b"
    ) as (_, lines):
        redirect_uri = f"http://localhost:{port + 1}/callback"
        assert any(
            line.startswith("Register in Qonto's Developer Portal") and redirect_uri in line
            for line in lines
        )
        assert location(port + 1).startswith(
            "https://oauth-sandbox.staging.qonto.co/oauth2/auth?client_id=client-1&"
        )
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port + 2))


@pytest.mark.parametrize("value", ["http", "80", "65531", "-1", "8000.0"])
def test_invalid_port_is_refused(value: str) -> None:
    assert refusal(PORT=value) == (
        f"demo: PORT must be a number from 1024 to 65530, not '{value}'."
    )


def test_used_port_is_named() -> None:
    first = free_port(len(HOSTS))
    with socket.create_server(("127.0.0.1", first + 3)):
        line = refusal(PORT=str(first))

    assert line == f"demo: port {first + 3} is taken. Take six others:  PORT=9000 make demo"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"QONTO_ENVIRONMENT": "sandbox"},
            "demo: QONTO_ENVIRONMENT needs CLIENT_ID, from Qonto's Developer Portal.",
        ),
        (
            {"QONTO_ENVIRONMENT": "staging", "CLIENT_ID": "client-1"},
            "demo: QONTO_ENVIRONMENT must be one of production, sandbox.",
        ),
        (
            {"QONTO_ENVIRONMENT": "sandbox", "CLIENT_ID": "client-1", "SCOPE": "a  b"},
            "demo: SCOPE must be scope names separated by single spaces, at most 1,024 characters.",
        ),
    ],
)
def test_invalid_client_is_refused(environment: dict[str, str], line: str) -> None:
    assert refusal(PORT=str(free_port(len(HOSTS))), **environment) == line
