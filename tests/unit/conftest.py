"""A unit test fails if it opens a network connection."""

import socket

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_socket: socket.socket, address: object) -> None:
        pytest.fail(f"a unit test connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
