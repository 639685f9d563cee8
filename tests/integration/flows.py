"""Many flows at once, in several processes, each with several callbacks."""

import copy
import os
import random
import re
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from callback.app import CallbackApp
from start.app import StartApp
from tests.integration.connector import REQUESTS, Connector, callback_app, start_app

PROCESSES = 4

_apps: dict[str, StartApp | CallbackApp] = {}


@dataclass(frozen=True)
class Started:
    """A flow whose browser is at Qonto."""

    context: str
    state: str
    cookie: str


@dataclass(frozen=True)
class Request:
    """A callback of the flow's browser, or of another browser with another code."""

    flow: Started
    kind: str  # first, duplicate, reload, wrong-browser
    at: int

    @property
    def code(self) -> str:
        """The authorization code, which differs for the wrong browser."""
        kind = "wrong" if self.kind == "wrong-browser" else "right"
        return f"ory_ac_{kind}_{self.flow.context}"

    @property
    def cookie(self) -> str:
        """The cookie of the browser that sends the request."""
        other = f"__Host-qonto-connect={'w' * 43}"
        return other if self.kind == "wrong-browser" else self.flow.cookie


@dataclass(frozen=True)
class CallbackResponse:
    """The response to a callback."""

    request: Request
    status: int
    outcome: str


def run(connector: Connector, flows: int, seed: int) -> list[CallbackResponse]:
    """Start *flows* flows and send four callbacks for each, shuffled by *seed*."""
    now = int(time.time())  # the local AWS removes expired items once a minute
    with ProcessPoolExecutor(
        PROCESSES,
        mp_context=get_context("spawn"),
        initializer=_load,
        initargs=(connector.start_environment, connector.callback_environment),
    ) as processes:
        contexts = [f"flow-{number}" for number in range(flows)]
        started = list(processes.map(_start, contexts, [now] * flows, chunksize=20))
        kinds = {"first": 1, "duplicate": 1, "wrong-browser": 2, "reload": 5}
        requests = [
            Request(flow, kind, now + seconds)
            for flow in started
            for kind, seconds in kinds.items()
        ]
        return list(processes.map(_call_back, _shuffled(requests, seed), chunksize=20))


def _shuffled(requests: Iterable[Request], seed: int) -> list[Request]:
    """Shuffle neighbouring requests, so that those of one flow meet in several processes."""
    order = random.Random(seed)  # noqa: S311 - repeatable
    numbered = sorted(
        (number + order.uniform(0, 400), request) for number, request in enumerate(requests)
    )
    return [request for _, request in numbered]


def _load(start: dict[str, str], callback: dict[str, str]) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - discards the log until the process ends
    _apps["start"] = start_app(start)
    _apps["callback"] = callback_app(callback)


def _start(context: str, now: int) -> Started:
    response = _invoke("start", f"context={context}", now)
    [state] = parse_qs(urlsplit(response["headers"]["Location"]).query)["state"]
    return Started(context, state, response["cookies"][0].partition(";")[0])


def _call_back(request: Request) -> CallbackResponse:
    query = urlencode({"code": request.code, "state": request.flow.state})
    response = _invoke("callback", query, request.at, request.cookie)
    location = response["headers"].get("Location", "")
    outcome = re.search(r"/callback/([a-z-]+)|[?&]outcome=([a-z-]+)", location)
    found = (outcome[1] or outcome[2]) if outcome else location
    return CallbackResponse(request, response["statusCode"], found)


def _invoke(function: str, query: str, now: int, *cookies: str) -> dict[str, Any]:
    request: dict[str, Any] = copy.deepcopy(REQUESTS[function])
    request["rawQueryString"] = query
    request["requestContext"]["timeEpoch"] = now * 1000
    request["cookies"] = list(cookies)
    return dict(_apps[function].handle(request))
