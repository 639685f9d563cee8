"""Many callbacks with one state at the same moment, in several processes with several threads."""

import copy
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

from demo.gateway import Handler, LambdaContext
from tests.integration.pair import load_handler

PROCESSES = 20
THREADS = 10  # as many as botocore keeps connections

type Event = dict[str, Any]
type Answer = dict[str, Any]

_handler: Handler
_processes_ready: Barrier


def callbacks_at_once(
    event: Event, environment: dict[str, str], *, read_then_delete: bool = False
) -> list[Answer]:
    """Return the answers to *event*, sent PROCESSES x THREADS times at the same moment.

    With *read_then_delete*, the handlers have a state store as we must never have it.
    """
    prepare = _load_reading_first if read_then_delete else _load
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as parent:
        return parent.submit(_fork, prepare, event, environment).result(timeout=120)


def _load(environment: dict[str, str]) -> Handler:
    return load_handler("callback.handler", environment)


def _load_reading_first(environment: dict[str, str]) -> Handler:
    handler = _load(environment)
    module: Any = sys.modules["callback.handler"]
    module.states = _read_then_delete(module.states)
    return handler


def _fork(
    load: Callable[[dict[str, str]], Handler], event: Event, environment: dict[str, str]
) -> list[Answer]:
    handler = load(environment)
    context = get_context("fork")
    barrier = context.Barrier(PROCESSES)
    with context.Pool(PROCESSES, initializer=_inherit, initargs=(handler, barrier)) as pool:
        results = [pool.apply_async(_race, (event,)) for _ in range(PROCESSES)]
        return [answer for result in results for answer in result.get(timeout=60)]


def _inherit(handler: Handler, barrier: Barrier) -> None:
    global _handler, _processes_ready
    _handler, _processes_ready = handler, barrier


def _race(event: Event) -> list[Answer]:
    # Connections are opened before the race: 200 at once are more than the embedded AWS takes.
    unknown = copy.deepcopy(event)
    unknown["rawQueryString"] = f"code=x&state={'x' * 43}"
    threads_ready = threading.Barrier(THREADS)

    def wait_for_the_other_processes() -> None:
        _processes_ready.wait(60)

    all_ready = threading.Barrier(THREADS, action=wait_for_the_other_processes)

    def call(_number: int) -> Answer:
        threads_ready.wait(60)
        _handler(unknown, LambdaContext("callback"))
        all_ready.wait(60)
        return dict(_handler(event, LambdaContext("callback")))

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(call, range(THREADS)))


def _read_then_delete(states: Any) -> object:  # noqa: ANN401 - the class as it was loaded anew
    """Return a store that looks first and deletes then."""
    state_store = sys.modules["state_store"]

    class ReadThenDelete:
        def consume(self, state: str, _browser_hash: str, _now: int) -> object:
            client, table = states._dynamodb, states._table_name  # noqa: SLF001 - the same table
            item = client.get_item(TableName=table, Key={"state": {"S": state}}).get("Item")
            if item is None:
                raise state_store.StateRefusedError("unknown")
            client.delete_item(TableName=table, Key={"state": {"S": state}})
            return state_store._authorization(item)  # noqa: SLF001 - the same reading

    return ReadThenDelete()
