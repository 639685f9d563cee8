"""Many flows at once, in several processes: each started, then answered more often than once."""

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

from demo.gateway import Handler, LambdaContext
from tests.integration.pair import EVENTS, Pair, load_handler
from tests.slow import SLOW

PROCESSES = 4 if SLOW else 2

_handlers: dict[str, Handler] = {}


@dataclass(frozen=True)
class Started:
    """A flow whose browser is at Qonto."""

    context: str
    state: str
    cookie: str


@dataclass(frozen=True)
class Request:
    """A browser's way back: of the right one, or of another one with a code of its own."""

    flow: Started
    kind: str  # first, duplicate, reload, wrong-browser
    at: int

    @property
    def code(self) -> str:
        """What only this kind of request brings."""
        kind = "wrong" if self.kind == "wrong-browser" else "right"
        return f"ory_ac_{kind}_{self.flow.context}"

    @property
    def cookie(self) -> str:
        """The browser's own."""
        other = f"__Host-qonto-connect={'w' * 43}"
        return other if self.kind == "wrong-browser" else self.flow.cookie


@dataclass(frozen=True)
class Answered:
    """What a browser got."""

    request: Request
    status: int
    outcome: str


def run(pair: Pair, flows: int, seed: int) -> list[Answered]:
    """Start *flows* flows, and answer each four times, all of it shuffled by *seed*."""
    now = int(time.time())  # the local AWS removes what has expired once a minute
    with ProcessPoolExecutor(
        PROCESSES,
        mp_context=get_context("spawn"),
        initializer=_load,
        initargs=(pair.start_environment, pair.callback_environment),
    ) as processes:
        contexts = [f"flow-{number}" for number in range(flows)]
        started = list(processes.map(_start, contexts, [now] * flows, chunksize=20))
        kinds = {"first": 1, "duplicate": 1, "wrong-browser": 2, "reload": 5}
        requests = [
            Request(flow, kind, now + seconds)
            for flow in started
            for kind, seconds in kinds.items()
        ]
        return list(processes.map(_answer, _shuffled(requests, seed), chunksize=20))


def _shuffled(requests: Iterable[Request], seed: int) -> list[Request]:
    """Shuffle what is near each other, so that requests of one flow meet in several processes."""
    order = random.Random(seed)  # noqa: S311 - repeatable
    numbered = sorted(
        (number + order.uniform(0, 400), request) for number, request in enumerate(requests)
    )
    return [request for _, request in numbered]


def _load(start: dict[str, str], callback: dict[str, str]) -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - the log, for as long as they run
    _handlers["start"] = load_handler("start.handler", start)
    _handlers["callback"] = load_handler("callback.handler", callback)


def _start(context: str, now: int) -> Started:
    answer = _invoke("start", f"context={context}", now)
    [state] = parse_qs(urlsplit(answer["headers"]["Location"]).query)["state"]
    return Started(context, state, answer["cookies"][0].partition(";")[0])


def _answer(request: Request) -> Answered:
    query = urlencode({"code": request.code, "state": request.flow.state})
    answer = _invoke("callback", query, request.at, request.cookie)
    location = answer["headers"].get("Location", "")
    outcome = re.search(r"/callback/([a-z-]+)|[?&]outcome=([a-z-]+)", location)
    found = (outcome[1] or outcome[2]) if outcome else location
    return Answered(request, answer["statusCode"], found)


def _invoke(function: str, query: str, now: int, *cookies: str) -> dict[str, Any]:
    event: dict[str, Any] = copy.deepcopy(EVENTS[function])
    event["rawQueryString"] = query
    event["requestContext"]["timeEpoch"] = now * 1000
    event["cookies"] = list(cookies)
    return dict(_handlers[function](event, LambdaContext(function)))
