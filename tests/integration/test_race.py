"""Simultaneous callbacks with one state, in several processes with several threads."""

import copy
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
from botocore.config import Config

from aws import CALL_CONFIG
from demo.gateway import Handler, LambdaContext
from tests.support.connector import CODE, REQUESTS, RETURN_URL, Browser, Subscriber, build
from tests.support.forks import Fork, Json, in_forks
from tests.support.slow import SLOW

PROCESSES = 20 if SLOW else 5
THREADS = 10  # of each process, because botocore keeps as many connections


def load(environments: Json) -> Handler:
    """Return the handler of callback, with time for 200 calls at once."""
    patient = CALL_CONFIG.merge(Config(connect_timeout=60, read_timeout=60))
    with patch("tests.support.connector.CALL_CONFIG", patient):
        _, app = build(environments)
    return lambda request, _context: app.handle(request)


def call_back(fork: Fork, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Send *request* in each thread at the same moment as all other processes."""
    unknown = copy.deepcopy(request)
    unknown["rawQueryString"] = f"code=x&state={'x' * 43}"

    def others_ready() -> None:
        fork.all_ready.wait(60)

    all_ready = threading.Barrier(THREADS, action=others_ready)

    def call(number: int) -> dict[str, Any]:
        own = copy.deepcopy(request)
        own["rawQueryString"] = own["rawQueryString"].format(f"{os.getpid()}-{number}")
        # Each thread connects before the race: the local AWS cannot accept 200 at once.
        fork.handler(unknown, LambdaContext("callback"))
        all_ready.wait(60)
        return dict(fork.handler(own, LambdaContext("callback")))

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(call, range(THREADS)))


@pytest.mark.parametrize("code", [CODE, "code-{}"], ids=["equal", "different"])
@pytest.mark.claim("S3", "T5")
def test_simultaneous_callbacks_have_one_outcome(
    browser: Browser, subscriber: Subscriber, code: str
) -> None:
    request = copy.deepcopy(REQUESTS["callback"])
    request["rawQueryString"] = f"code={code}&state={browser.started()}"
    request["cookies"] = [f"{name}={value}" for name, value in browser.cookies.items()]

    environments = browser.connector.environments
    responses = in_forks(PROCESSES, load, environments, call_back, request)

    ended = Counter((each["statusCode"], each["headers"].get("Location")) for each in responses)
    assert ended.total() == PROCESSES * THREADS
    assert code != CODE or (409, None) not in ended
    [(status, location)] = ended.keys() - {(409, None)}  # 409: another response is in flight
    assert status == 303
    assert location.startswith(f"{RETURN_URL}?authorization_id=")
    assert len({message["id"] for message in subscriber.messages()}) == 1
