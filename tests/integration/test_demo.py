"""``make demo``, as its user sees it."""

import signal
import socket

import httpx2
import pytest

from demo.__main__ import HOSTS
from demo.local_aws import free_port
from tests.support.demo_process import VARIABLES, running
from tests.support.slow import slow


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=slow)])
def test_signal_stops_the_demo_without_leftovers(stop: signal.Signals) -> None:
    port = free_port(len(HOSTS))

    with running(PORT=str(port), PYTHONIOENCODING="ascii") as (process, lines):
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
    sandbox = {"QONTO_ENVIRONMENT": "sandbox", "CLIENT_ID": "client-1"}

    with running(PORT=str(port), SCOPE="a b", **sandbox) as (_, lines):
        said = [line for line in lines if line.startswith("Register in Qonto's Developer Portal")]
        assert f"http://localhost:{port + 1}/callback" in said[0]
        assert "sign in at https://sandbox.staging.qonto.co/devportal\n" in "".join(lines)
        location = httpx2.get(f"http://localhost:{port + 1}/start").headers["Location"]
        qonto = "https://oauth-sandbox.staging.qonto.co/oauth2/auth?client_id=client-1&"
        assert location.startswith(qonto)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port + 2))
