"""Many callbacks with one state at the same moment, in several processes with several threads."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from authorization import PendingAuthorization
from demo.gateway import Handler, LambdaContext
from outcomes import Outcome
from state_store import StateRefusedError, StateStore
from tests.integration.connector import callback_app
from tests.integration.forks import Fork, Request, Response, in_forks

PROCESSES = 20
THREADS = 10  # botocore keeps as many connections


class ReadThenDelete(StateStore):
    """A wrong state store, which reads the item and deletes it in a second call."""

    def consume(self, state: str, browser_hash: str, now: int) -> PendingAuthorization:  # noqa: ARG002
        """Return the authorization of *state* without any check."""
        table, key = self._table_name, {"state": {"S": state}}
        item = self._dynamodb.get_item(TableName=table, Key=key).get("Item")
        if item is None:
            raise StateRefusedError(Outcome.UNKNOWN)
        self._dynamodb.delete_item(TableName=table, Key=key)
        return PendingAuthorization.from_item(item)


def callbacks_at_once(
    request: Request, environment: dict[str, str], state_store: type[StateStore] = StateStore
) -> list[Response]:
    """Return the responses to *request*, sent PROCESSES x THREADS times at the same moment.

    Callback uses a *state_store*.
    """
    load = partial(_load, state_store=state_store)
    return in_forks(PROCESSES, load, environment, _race, request)


def _load(environment: dict[str, str], state_store: type[StateStore]) -> Handler:
    app = callback_app(environment, state_store)
    return lambda request, _context: app.handle(request)


def _race(fork: Fork, request: Request) -> list[Response]:
    # Each thread connects before the race: the local AWS cannot accept 200 at once.
    unknown = copy.deepcopy(request)
    unknown["rawQueryString"] = f"code=x&state={'x' * 43}"
    threads_ready = threading.Barrier(THREADS)

    def wait_for_the_other_processes() -> None:
        fork.all_ready.wait(60)

    all_ready = threading.Barrier(THREADS, action=wait_for_the_other_processes)

    def call(_number: int) -> Response:
        threads_ready.wait(60)
        fork.handler(unknown, LambdaContext("callback"))
        all_ready.wait(60)
        return dict(fork.handler(request, LambdaContext("callback")))

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(call, range(THREADS)))
