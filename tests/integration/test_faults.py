"""What the log, the metrics and the table hold when an AWS call fails.

A proxy between the real clients and the local AWS makes the calls fail. test_outcomes.py shows what
the user sees with each fault.
"""

import json
from collections.abc import Iterator

import pytest

from demo.local_aws import LocalAws, Stack
from tests.integration.connector import CODE, Browser, Connector, Response, Subscriber
from tests.integration.faults import Fault, FaultProxy, fault_proxies


@pytest.fixture(scope="module")
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    """A proxy that only this module uses."""
    with fault_proxies(aws, microburst, 1) as [running]:
        yield running


@pytest.fixture(scope="module")
def faulty_connector(aws: LocalAws, stack: Stack, proxy: FaultProxy) -> Connector:
    """A connector whose AWS calls go through the proxy."""
    return Connector(aws, stack, **proxy.endpoints)


@pytest.fixture
def browser(faulty_connector: Connector, proxy: FaultProxy) -> Iterator[Browser]:
    """A browser that visits the faulty connector; calls succeed until a test injects a fault."""
    proxy.clear()
    yield Browser(faulty_connector)
    proxy.clear()


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
    assert response.status == 503
    assert '<a href="">Try again</a>' in response.body
    assert "Location" not in response.headers
    assert response.cookies == []


@pytest.mark.parametrize(
    ("call", "message", "metric"),
    [
        ("PutItem", "State not issued", "StateStoreFailed"),
        ("UpdateItem", "State not claimed", "StateStoreFailed"),
        ("Publish", "Event not published", "PublishFailed"),
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
    metric: str,
    fault: Fault,
    name: str,
) -> None:
    browser.connector = browser.connector.restarted()  # its logger writes where capsys reads
    state = browser.started()
    proxy.inject(call, fault)
    capsys.readouterr()

    response = Browser(browser.connector).start() if call == "PutItem" else browser.granted(state)

    assert_try_again(response)
    printed = capsys.readouterr().out
    [error] = errors(printed)
    assert (error["message"], error["error"]) == (message, name)
    # Without a response to the claim, callback does not know the authorization.
    assert ("reference" in error) == (call != "UpdateItem")
    assert counts(printed) == [(metric, None)]


@pytest.mark.parametrize("call", ["UpdateItem", "Publish"])
def test_retry_after_503_redirects_without_code_or_state(
    browser: Browser, proxy: FaultProxy, call: str
) -> None:
    state = browser.started()
    proxy.inject(call, Fault.DENIED)
    assert_try_again(browser.granted(state))
    proxy.clear()

    response = browser.granted(state)  # the page's link has the same URL

    assert response.status == 303
    assert CODE not in response.location
    assert state not in response.location


@pytest.mark.parametrize("call", ["PutItem", "DeleteItem"])
def test_failed_deletion_is_logged_and_keeps_the_claim(
    browser: Browser,
    proxy: FaultProxy,
    subscriber: Subscriber,
    capsys: pytest.CaptureFixture[str],
    call: str,
) -> None:
    browser.connector = browser.connector.restarted()
    state = browser.started()
    proxy.inject(call, Fault.THROTTLED)
    capsys.readouterr()

    response = browser.granted(state)

    assert response.parameters["outcome"] == "granted"
    printed = capsys.readouterr().out
    [error] = errors(printed)
    assert (error["message"], error["error"]) == ("State not deleted", "ThrottlingException")
    assert counts(printed) == [("StateNotDeleted", None), ("AuthorizationGranted", None)]
    assert "response_hash" in (browser.connector.item(state) or {})
    proxy.clear()
    assert browser.granted(state).location == response.location
    assert browser.connector.item(state) is None
    assert len({message["id"] for message in subscriber.messages()}) == 1


def test_lost_delete_response_counts_the_authorization_once(
    browser: Browser, proxy: FaultProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    state = browser.started()
    proxy.inject("DeleteItem", Fault.LOST, times=1)
    capsys.readouterr()

    browser.granted(state)

    assert counts(capsys.readouterr().out) == [("AuthorizationGranted", None)]


def test_start_with_lost_put_response_stores_one_state(browser: Browser, proxy: FaultProxy) -> None:
    before = browser.connector.states()
    proxy.inject("PutItem", Fault.LOST, times=1)

    state = browser.started()

    assert proxy.attempts("PutItem") == 1
    assert browser.connector.states() - before == {state}
