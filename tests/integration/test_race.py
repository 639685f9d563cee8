"""Simultaneous callbacks with one state: 200 with one response, 100 with different ones."""

import copy
from collections import Counter
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.connector import CODE, NOW, REQUESTS, RETURN_URL, Browser, Subscriber
from tests.integration.race import PROCESSES, THREADS, ReadThenWrite, callbacks_at_once

TRY_AGAIN = (409, "")


@pytest.fixture
def callback_request(browser: Browser) -> dict[str, Any]:
    """Return a callback request without a code."""
    request: dict[str, Any] = copy.deepcopy(REQUESTS["callback"])
    request["rawQueryString"] = urlencode({"state": browser.started()})
    request["requestContext"]["timeEpoch"] = NOW * 1000
    request["cookies"] = [f"{name}={value}" for name, value in browser.cookies.items()]
    return request


def outcomes(responses: list[dict[str, Any]]) -> Counter[tuple[int, str]]:
    """Count the responses by status and location."""
    return Counter(
        (response["statusCode"], response["headers"].get("Location", "")) for response in responses
    )


def test_200_callbacks_with_one_response_end_alike(
    browser: Browser, subscriber: Subscriber, callback_request: dict[str, Any]
) -> None:
    callback_request["rawQueryString"] += f"&code={CODE}"

    responses = callbacks_at_once(callback_request, browser.connector.callback_environment)

    assert PROCESSES * THREADS == 200
    [((status, location), number)] = outcomes(responses).items()
    assert (status, number) == (303, 200)
    assert location.startswith(f"{RETURN_URL}?authorization_id=")
    assert len({message["id"] for message in subscriber.messages()}) == 1


def test_100_callbacks_with_different_responses_publish_one(
    browser: Browser, subscriber: Subscriber, callback_request: dict[str, Any]
) -> None:
    responses = callbacks_at_once(
        callback_request,
        browser.connector.callback_environment,
        processes=PROCESSES // 2,
        different=True,
    )

    ended = outcomes(responses)
    assert ended.total() == 100
    [(status, location)] = ended.keys() - {TRY_AGAIN}
    assert status == 303
    assert location.startswith(f"{RETURN_URL}?authorization_id=")
    assert len(subscriber.messages()) == 1


def test_read_then_write_store_publishes_several_responses(
    browser: Browser, subscriber: Subscriber, callback_request: dict[str, Any]
) -> None:
    callbacks_at_once(
        callback_request,
        browser.connector.callback_environment,
        processes=PROCESSES // 2,
        different=True,
        state_store=ReadThenWrite,
    )

    assert len({message["id"] for message in subscriber.messages()}) > 1
