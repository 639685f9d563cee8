"""The slowest callback that can succeed ends within its timeout: measured, not added up."""

import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from aws import CALL_CONFIG
from demo import template as infra
from demo.local_aws import LocalAws, Stack
from tests.support.connector import Browser, Connector
from tests.support.faults import Attempt, Fault, FaultProxy, Response
from tests.support.slow import slow

MARGIN = 0.1  # seconds; more would be a timeout
SHAKE, RESPOND = (vars(CALL_CONFIG)[name] - MARGIN for name in ("connect_timeout", "read_timeout"))
CALLS = ("UpdateItem", "Publish", "PutItem", "DeleteItem")


class SlowProxy(FaultProxy):
    """A proxy with TLS whose handshakes and responses are almost too late."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - Python's
        time.sleep(SHAKE)  # this delay is what the test is about
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def _forwarded(self, attempt: Attempt, fault: Fault | None) -> Response:
        due = time.monotonic() + RESPOND
        response = super()._forwarded(attempt, fault)
        time.sleep(due - time.monotonic())
        return response


@slow
@pytest.mark.claim("S22")
def test_slowest_calls_end_within_the_timeout(
    aws: LocalAws, stack: Stack, connector: Connector, tmp_path: Path
) -> None:
    authority, bundle = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    browser = Browser(connector)
    state = browser.started()
    with SlowProxy(aws.endpoint_url) as proxy:
        authority.issue_cert("127.0.0.1").configure_cert(proxy.context)
        for call in CALLS:
            proxy.inject(call, Fault.FAILED, times=1)
        url = proxy.url.replace("http", "https")
        browser.connector = Connector(aws, stack, endpoint_url=url, AWS_CA_BUNDLE=str(bundle))
        began = time.monotonic()
        response = browser.granted(state)
        seconds = time.monotonic() - began

    assert response.parameters["outcome"] == "granted"
    assert [proxy.attempts[call] for call in CALLS] == [2, 2, 2, 2]
    assert connector.item(state) is None
    assert seconds < infra.function(infra.load(), "CallbackFunction")["Timeout"]
    assert seconds > 2 * len(CALLS) * (SHAKE + RESPOND)
