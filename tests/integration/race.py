"""Many callbacks with one state at the same moment, in several processes with several threads."""

import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from demo.gateway import Handler, LambdaContext
from tests.integration.forks import Answer, Event, Fork, in_forks
from tests.integration.pair import load_handler

PROCESSES = 20
THREADS = 10  # as many as botocore keeps connections


def callbacks_at_once(
    event: Event, environment: dict[str, str], *, read_then_delete: bool = False
) -> list[Answer]:
    """Return the answers to *event*, sent PROCESSES x THREADS times at the same moment.

    With *read_then_delete*, the handlers have a state store as we must never have it.
    """
    load = _load_reading_first if read_then_delete else _load
    return in_forks(PROCESSES, load, environment, _race, event)


def _load(environment: dict[str, str]) -> Handler:
    return load_handler("callback.handler", environment)


def _load_reading_first(environment: dict[str, str]) -> Handler:
    handler = _load(environment)
    module: Any = sys.modules["callback.handler"]
    module.states = _read_then_delete(module.states)
    return handler


def _race(fork: Fork, event: Event) -> list[Answer]:
    # Connections are opened before the race: 200 at once are more than the local AWS takes.
    unknown = copy.deepcopy(event)
    unknown["rawQueryString"] = f"code=x&state={'x' * 43}"
    threads_ready = threading.Barrier(THREADS)

    def wait_for_the_other_processes() -> None:
        fork.all_ready.wait(60)

    all_ready = threading.Barrier(THREADS, action=wait_for_the_other_processes)

    def call(_number: int) -> Answer:
        threads_ready.wait(60)
        fork.handler(unknown, LambdaContext("callback"))
        all_ready.wait(60)
        return dict(fork.handler(event, LambdaContext("callback")))

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
