"""What the log and the metrics hold when an AWS call fails; test_outcomes.py shows the rest."""

import json
from collections.abc import Iterator

import pytest

from demo.local_aws import LocalAws, Stack
from tests.integration.connector import Browser, Connector, Response
from tests.integration.faults import Fault, FaultProxy
from tests.integration.outcomes import TRY_AGAIN, seen


@pytest.fixture
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    """A proxy in which calls succeed until a test injects a fault."""
    with FaultProxy(aws.endpoint_url, microburst) as running:
        yield running


@pytest.fixture
def browser(aws: LocalAws, stack: Stack, proxy: FaultProxy) -> Browser:
    """A browser that visits a connector whose AWS calls go through the proxy."""
    return Browser(Connector(aws, stack, **proxy.endpoints))


def counts(printed: str) -> list[tuple[str, str | None]]:
    """Return the name and the reason of each metric in *printed*."""
    blobs = [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]
    return [
        (metric["Name"], blob.get("reason"))
        for blob in blobs
        for directive in blob["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    ]


def errors(printed: str) -> list[dict[str, str]]:
    """Return the log lines of level ERROR in *printed*."""
    return [json.loads(line) for line in printed.splitlines() if '"level":"ERROR"' in line]


def assert_try_again(response: Response) -> None:
    """Assert that *response* offers the user the same URL again, and shows no success."""
    assert seen(response) == TRY_AGAIN


@pytest.mark.parametrize(
    ("call", "message", "metrics"),
    [
        ("PutItem of start", "State not issued", ["StateStoreFailed"]),
        ("UpdateItem", "State not claimed", ["StateStoreFailed"]),
        ("Publish", "Event not published", ["PublishFailed"]),
        ("PutItem", "State not deleted", ["StateNotDeleted", "AuthorizationGranted"]),
        ("DeleteItem", "State not deleted", ["StateNotDeleted", "AuthorizationGranted"]),
    ],
)
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault.DENIED, "AccessDeniedException"),
        (Fault.LOST, "ConnectionClosedError"),
        (Fault.FAILED_LATE, "502"),  # a proxy's response has no error code
    ],
)
def test_failed_call_is_logged_and_counted(  # noqa: PLR0913, PLR0917 - fixtures
    browser: Browser,
    proxy: FaultProxy,
    capsys: pytest.CaptureFixture[str],
    call: str,
    message: str,
    metrics: list[str],
    fault: Fault,
    name: str,
) -> None:
    browser.connector = browser.connector.restarted()  # its logger writes where capsys reads
    state = browser.started()
    capsys.readouterr()
    proxy.inject(call.partition(" ")[0], fault)
    is_start = call.endswith("start")

    response = browser.start() if is_start else browser.granted(state)

    if "AuthorizationGranted" not in metrics:
        assert_try_again(response)
    printed = capsys.readouterr().out
    [error] = errors(printed)
    assert (error["message"], error["error"]) == (message, name)
    # Without a response to the claim, callback does not know the authorization.
    assert ("reference" in error) == (call != "UpdateItem")
    assert counts(printed) == [(metric, None) for metric in metrics]


def test_lost_delete_response_counts_the_authorization_once(
    browser: Browser, proxy: FaultProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    state = browser.started()
    proxy.inject("DeleteItem", Fault.LOST, times=1)
    capsys.readouterr()

    browser.granted(state)

    assert counts(capsys.readouterr().out) == [("AuthorizationGranted", None)]
