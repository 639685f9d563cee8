"""Of 200 simultaneous callbacks with one state, exactly one is granted."""

import copy
from collections import Counter
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.connector import CODE, NOW, REQUESTS, RETURN_URL, Browser, Subscriber
from tests.integration.race import PROCESSES, THREADS, ReadThenDelete, callbacks_at_once


@pytest.fixture
def callback_request(browser: Browser) -> dict[str, Any]:
    """Return a callback request that would be granted alone."""
    request: dict[str, Any] = copy.deepcopy(REQUESTS["callback"])
    request["rawQueryString"] = urlencode({"code": CODE, "state": browser.started()})
    request["requestContext"]["timeEpoch"] = NOW * 1000
    request["cookies"] = [f"{name}={value}" for name, value in browser.cookies.items()]
    return request


def outcomes(responses: list[dict[str, Any]]) -> Counter[tuple[int, str]]:
    """Count the responses by status and by location without its query."""
    return Counter(
        (response["statusCode"], response["headers"].get("Location", "").partition("?")[0])
        for response in responses
    )


def test_200_callbacks_with_one_state_publish_one_event(
    browser: Browser, subscriber: Subscriber, callback_request: dict[str, Any]
) -> None:
    responses = callbacks_at_once(callback_request, browser.connector.callback_environment)

    assert PROCESSES * THREADS == 200
    assert outcomes(responses) == {(303, RETURN_URL): 1, (303, "/callback/used"): 199}
    assert len(subscriber.messages()) == 1


def test_read_then_delete_store_publishes_several_events(
    browser: Browser, subscriber: Subscriber, callback_request: dict[str, Any]
) -> None:
    responses = callbacks_at_once(
        callback_request, browser.connector.callback_environment, ReadThenDelete
    )

    assert outcomes(responses)[303, RETURN_URL] > 1
    assert len(subscriber.messages()) > 1
