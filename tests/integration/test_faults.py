"""What a person sees, and what is in table and queue, when AWS fails.

Between the real clients and the local AWS stands a proxy that makes calls fail.
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

NOT_TAKEN = pytest.mark.parametrize(
    "fault", [Fault.DENIED, Fault.THROTTLED, Fault.FAILED, Fault.RESET, Fault.HANGING]
)
FIRST_ATTEMPT = pytest.mark.parametrize(
    "fault", [Fault.THROTTLED, Fault.FAILED, Fault.RESET, Fault.HANGING]
)


@pytest.fixture(scope="module")
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    """A proxy of this module's own."""
    with fault_proxies(aws, microburst, 1) as [running]:
        yield running


@pytest.fixture(scope="module")
def faulty_connector(aws: LocalAws, stack: Stack, proxy: FaultProxy) -> Connector:
    """A pair whose calls go through the proxy."""
    return Connector(aws, stack, **proxy.endpoints)


@pytest.fixture
def browser(faulty_connector: Connector, proxy: FaultProxy) -> Iterator[Browser]:
    """A browser at that pair, which works until a test says otherwise."""
    proxy.clear()
    yield Browser(faulty_connector)
    proxy.clear()


def counts(printed: str) -> list[tuple[str, str | None]]:
    """Return the metrics that were written, each with its reason."""
    blobs = [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]
    return [
        (metric["Name"], blob.get("reason"))
        for blob in blobs
        for directive in blob["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    ]


def assert_try_again(response: Response) -> None:
    """Assert that the person is offered the same address again, and no success."""
    assert response.status == 503
    assert '<a href="">Try again</a>' in response.body
    assert "Location" not in response.headers
    assert response.cookies == []


@NOT_TAKEN
def test_a_publish_that_fails_is_a_503_and_the_same_address_then_works(
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
def test_after_try_again_the_browser_is_at_an_address_without_code_or_state(
    browser: Browser, proxy: FaultProxy, call: str
) -> None:
    state = browser.started()
    proxy.inject(call, Fault.DENIED)
    assert_try_again(browser.granted(state))
    proxy.clear()

    response = browser.granted(state)  # what the page's link leads to

    assert response.status == 303
    assert CODE not in response.location
    assert state not in response.location


def test_a_publish_that_was_taken_unheard_comes_again_with_the_same_id(
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
def test_a_publish_whose_first_attempt_fails_is_one_event(
    browser: Browser, proxy: FaultProxy, subscriber: Subscriber, fault: Fault
) -> None:
    state = browser.started()
    proxy.inject("Publish", fault, times=1)

    assert browser.granted(state).parameters["outcome"] == "granted"
    assert len(subscriber.messages()) == 1


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.RESET])
def test_a_state_that_cannot_be_restored_means_start_again(
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
    assert [it["message"] for it in errors] == ["Event not published", "State not restored"]
    assert {it["authorization_id"] for it in errors} == {item["authorization_id"]}
    assert all(it["error"] for it in errors)


@NOT_TAKEN
def test_a_start_whose_state_is_not_stored_is_a_503_and_sets_no_cookie(
    browser: Browser, proxy: FaultProxy, fault: Fault
) -> None:
    before = browser.connector.states()
    proxy.inject("PutItem", fault)

    response = browser.start()

    assert_try_again(response)
    assert browser.connector.states() == before
    proxy.clear()
    assert browser.start().status == 302


def test_a_start_whose_answer_is_lost_once_succeeds(browser: Browser, proxy: FaultProxy) -> None:
    before = browser.connector.states()
    proxy.inject("PutItem", Fault.LOST, times=1)

    state = browser.started()

    assert proxy.attempts("PutItem") == 1
    assert browser.connector.states() - before == {state}
    assert browser.granted(state).parameters["outcome"] == "granted"


@NOT_TAKEN
def test_a_state_that_is_not_consumed_is_a_503_and_the_same_address_then_works(
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
def test_a_delete_whose_first_attempt_fails_consumes_the_state(
    browser: Browser, proxy: FaultProxy, subscriber: Subscriber, fault: Fault
) -> None:
    state = browser.started()
    proxy.inject("DeleteItem", fault, times=1)

    assert browser.granted(state).parameters["outcome"] == "granted"
    assert len(subscriber.messages()) == 1


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.CUT_OFF, Fault.SHORTENED, Fault.MALFORMED])
def test_a_delete_that_was_taken_unheard_means_start_again_and_no_event(
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


@pytest.mark.parametrize("call", ["PutItem", "DeleteItem", "Publish"])
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault.DENIED, "AccessDeniedException"),
        (Fault.LOST, "ConnectionClosedError"),
        (Fault.FAILED_LATE, None),
    ],
)
def test_the_log_says_what_aws_said_or_how_its_call_ended(  # noqa: PLR0913, PLR0917 - fixtures
    faulty_connector: Connector,
    proxy: FaultProxy,
    capsys: pytest.CaptureFixture[str],
    call: str,
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
    # Something in between has no name for it; botocore takes the status, or nothing at all.
    assert error["error"] in ({name} if name else {"502", "Unknown"})


def test_all_calls_at_their_slowest_fit_into_the_time_out_of_callback() -> None:
    template = infra.load()
    config = vars(CALL_CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    pauses = attempts - 1  # botocore's first pause is at most a second long

    a_call = attempts * (config["connect_timeout"] + config["read_timeout"]) + pauses

    assert infra.function(template, "CallbackFunction")["Timeout"] >= 3 * a_call + 2
    assert infra.function(template, "StartFunction")["Timeout"] >= a_call + 2
