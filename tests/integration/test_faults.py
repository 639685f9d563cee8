"""What the user sees, and what the table and the queue hold, when an AWS call fails.

A proxy between the real clients and the local AWS makes the calls fail.
"""

import json
from collections.abc import Iterator
from html import escape
from urllib.parse import urlencode

import pytest

from aws import CALL_CONFIG
from demo import template as infra
from demo.local_aws import LocalAws, Stack
from tests.integration.connector import CODE, RETURN_URL, Browser, Connector, Response, Subscriber
from tests.integration.faults import Fault, FaultProxy, fault_proxies

NOT_APPLIED = pytest.mark.parametrize(
    "fault", [Fault.DENIED, Fault.THROTTLED, Fault.FAILED, Fault.RESET, Fault.HANGING]
)
FIRST_ATTEMPT = pytest.mark.parametrize(
    "fault", [Fault.THROTTLED, Fault.FAILED, Fault.RESET, Fault.HANGING]
)


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


def assert_try_again(response: Response) -> None:
    """Assert that *response* offers the user the same URL again, and shows no success."""
    assert response.status == 503
    assert '<a href="">Try again</a>' in response.body
    assert "Location" not in response.headers
    assert response.cookies == []


@NOT_APPLIED
def test_failed_publish_returns_503_and_retry_then_succeeds(
    browser: Browser,
    proxy: FaultProxy,
    subscriber: Subscriber,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    state = browser.started(context="ctx-1")
    before = browser.connector.item(state)
    proxy.inject("Publish", fault)
    capsys.readouterr()

    failed = browser.granted(state)

    assert_try_again(failed)
    assert proxy.attempts("Publish") == (1 if fault is Fault.DENIED else 2)
    assert browser.connector.item(state) == before is not None
    assert counts(capsys.readouterr().out) == [("PublishFailed", None), ("StateRestored", None)]
    assert subscriber.messages() == []
    proxy.clear()
    assert browser.granted(state).parameters["outcome"] == "granted"
    assert subscriber.message()["data"]["context"] == "ctx-1"


@pytest.mark.parametrize("call", ["DeleteItem", "Publish"])
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


def test_retry_after_lost_publish_response_keeps_event_id(
    browser: Browser, proxy: FaultProxy, subscriber: Subscriber
) -> None:
    state = browser.started()
    proxy.inject("Publish", Fault.LOST)

    assert_try_again(browser.granted(state))
    proxy.clear()
    assert browser.granted(state, at=1_700_000_060).parameters["outcome"] == "granted"

    ids = [message["id"] for message in subscriber.messages()]
    assert len(ids) == 3
    assert len(set(ids)) == 1


@FIRST_ATTEMPT
def test_failed_first_publish_attempt_sends_one_event(
    browser: Browser, proxy: FaultProxy, subscriber: Subscriber, fault: Fault
) -> None:
    state = browser.started()
    proxy.inject("Publish", fault, times=1)

    assert browser.granted(state).parameters["outcome"] == "granted"
    assert len(subscriber.messages()) == 1


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.RESET])
def test_failed_restore_redirects_to_start_again(
    faulty_connector: Connector,
    proxy: FaultProxy,
    subscriber: Subscriber,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    browser = Browser(faulty_connector.restarted())  # its logger writes where capsys reads
    proxy.clear()
    state = browser.started(context="ctx-1")
    item = browser.connector.item(state)
    proxy.inject("Publish", fault)
    proxy.inject("PutItem", fault)
    capsys.readouterr()

    response = browser.granted(state)

    proxy.clear()
    assert item is not None
    assert response.status == 303
    reference = item["authorization_id"][:8]
    assert response.location == f"/callback/start-again?reference={reference}"
    page = browser.request("outcome", f"reference={reference}", outcome="start-again")
    start_query = urlencode({"context": "ctx-1", "return_to": RETURN_URL})
    assert f'href="/start?{escape(start_query)}"' in page.body
    assert subscriber.messages() == []
    printed = capsys.readouterr().out
    assert counts(printed) == [("PublishFailed", None), ("CallbackRefused", "not_restored")]
    errors = [json.loads(line) for line in printed.splitlines() if '"level":"ERROR"' in line]
    assert [error["message"] for error in errors] == ["Event not published", "State not restored"]
    assert {error["authorization_id"] for error in errors} == {item["authorization_id"]}
    assert all(error["error"] for error in errors)


@NOT_APPLIED
def test_failed_put_at_start_returns_503_without_cookie(
    browser: Browser, proxy: FaultProxy, fault: Fault
) -> None:
    before = browser.connector.states()
    proxy.inject("PutItem", fault)

    response = browser.start()

    assert_try_again(response)
    assert browser.connector.states() == before
    proxy.clear()
    assert browser.start().status == 302


def test_start_with_lost_put_response_succeeds(browser: Browser, proxy: FaultProxy) -> None:
    before = browser.connector.states()
    proxy.inject("PutItem", Fault.LOST, times=1)

    state = browser.started()

    assert proxy.attempts("PutItem") == 1
    assert browser.connector.states() - before == {state}
    assert browser.granted(state).parameters["outcome"] == "granted"


@NOT_APPLIED
def test_failed_delete_returns_503_and_retry_then_succeeds(
    browser: Browser, proxy: FaultProxy, subscriber: Subscriber, fault: Fault
) -> None:
    state = browser.started()
    before = browser.connector.item(state)
    proxy.inject("DeleteItem", fault)

    assert_try_again(browser.granted(state))

    assert browser.connector.item(state) == before is not None
    assert subscriber.messages() == []
    proxy.clear()
    assert browser.granted(state).parameters["outcome"] == "granted"
    assert len(subscriber.messages()) == 1


@FIRST_ATTEMPT
def test_failed_first_delete_attempt_still_consumes_the_state(
    browser: Browser, proxy: FaultProxy, subscriber: Subscriber, fault: Fault
) -> None:
    state = browser.started()
    proxy.inject("DeleteItem", fault, times=1)

    assert browser.granted(state).parameters["outcome"] == "granted"
    assert len(subscriber.messages()) == 1


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.CUT_OFF, Fault.SHORTENED, Fault.MALFORMED])
def test_unconfirmed_delete_redirects_to_start_again_without_event(
    browser: Browser,
    proxy: FaultProxy,
    subscriber: Subscriber,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    state = browser.started()
    proxy.inject("DeleteItem", fault, times=1)
    capsys.readouterr()

    response = browser.granted(state)

    assert (response.status, response.location) == (303, "/callback/start-again")
    assert browser.request("outcome", outcome="start-again").status == 503
    assert counts(capsys.readouterr().out) == [("CallbackRefused", "unconfirmed")]
    assert browser.connector.item(state) is None
    assert subscriber.messages() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("PutItem", "State not issued"),
        ("DeleteItem", "State not consumed"),
        ("Publish", "Event not published"),
    ],
)
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault.DENIED, "AccessDeniedException"),
        (Fault.LOST, "ConnectionClosedError"),
        (Fault.FAILED_LATE, None),
    ],
)
def test_failed_aws_call_logs_its_error_code(  # noqa: PLR0913, PLR0917 - fixtures
    faulty_connector: Connector,
    proxy: FaultProxy,
    capsys: pytest.CaptureFixture[str],
    call: str,
    message: str,
    fault: Fault,
    name: str | None,
) -> None:
    browser = Browser(faulty_connector.restarted())  # its logger writes where capsys reads
    proxy.clear()
    state = browser.started()
    proxy.inject(call, fault)
    capsys.readouterr()

    response = browser.start() if call == "PutItem" else browser.granted(state)

    proxy.clear()
    assert_try_again(response)
    printed = capsys.readouterr().out
    [error] = [json.loads(line) for line in printed.splitlines() if '"level":"ERROR"' in line]
    assert error["message"] == message
    # Without a response to the delete, callback does not know the authorization.
    assert ("authorization_id" in error) == (call != "DeleteItem")
    # A proxy's 502 has no error code, so botocore reports the status.
    assert error["error"] == (name or "502")


def test_slowest_aws_calls_fit_into_function_timeouts() -> None:
    template = infra.load()
    config = vars(CALL_CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    pauses = attempts - 1  # botocore's first pause lasts at most one second

    seconds_per_call = attempts * (config["connect_timeout"] + config["read_timeout"]) + pauses

    assert infra.function(template, "CallbackFunction")["Timeout"] >= 3 * seconds_per_call + 2
    assert infra.function(template, "StartFunction")["Timeout"] >= seconds_per_call + 2
