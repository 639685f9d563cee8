"""Many callbacks with one state at the same moment, in several processes with several threads."""

import copy
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from authorization import PendingAuthorization, to_item
from demo.gateway import Handler, LambdaContext
from state_store import ResponseInFlightError, StateStore
from tests.integration.connector import callback_app
from tests.integration.forks import Fork, Request, Response, in_forks

PROCESSES = 20
THREADS = 10  # botocore keeps as many connections


class ReadThenWrite(StateStore):
    """A wrong state store, which reads the item and claims it in a second call."""

    def claim(
        self,
        state: str,
        browser_hash: str,  # noqa: ARG002 - does not matter in a race of one browser
        response_hash: str,
        now: int,
    ) -> PendingAuthorization:
        """Claim *state*, if no other response had claimed it when it was read."""
        table, key = self._table_name, to_item({"state": state})
        item = self._dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
        authorization = PendingAuthorization.from_item(item)
        if authorization.response_hash not in {None, response_hash}:
            raise ResponseInFlightError(authorization.reference)
        claim = {"response_hash": response_hash, "claimed_at": now}
        self._dynamodb.put_item(TableName=table, Item=item | to_item(claim))
        return authorization


def callbacks_at_once(
    request: Request,
    environment: dict[str, str],
    *,
    processes: int = PROCESSES,
    different: bool = False,
    state_store: type[StateStore] | None = None,
) -> list[Response]:
    """Return the responses to *request*, sent *processes* x THREADS times at the same moment.

    Each has a code of its own, if they are *different*. Callback uses a *state_store*.
    """
    load = partial(_load, state_store=state_store)
    work = partial(_race, different=different)
    return in_forks(processes, load, environment, work, request)


def _load(environment: dict[str, str], state_store: type[StateStore] | None) -> Handler:
    # Not a default: a process pickles a class by its name, and a cold start imports it again.
    app = callback_app(environment, state_store or StateStore)
    return lambda request, _context: app.handle(request)


def _race(fork: Fork, request: Request, *, different: bool) -> list[Response]:
    # Each thread connects before the race: the local AWS cannot accept 200 at once.
    unknown = copy.deepcopy(request)
    unknown["rawQueryString"] = f"code=x&state={'x' * 43}"
    threads_ready = threading.Barrier(THREADS)

    def wait_for_the_other_processes() -> None:
        fork.all_ready.wait(60)

    all_ready = threading.Barrier(THREADS, action=wait_for_the_other_processes)

    def call(number: int) -> Response:
        own = copy.deepcopy(request)
        if different:
            own["rawQueryString"] = f"code=code-{os.getpid()}-{number}&{own['rawQueryString']}"
        threads_ready.wait(60)
        fork.handler(unknown, LambdaContext("callback"))
        all_ready.wait(60)
        return dict(fork.handler(own, LambdaContext("callback")))

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(call, range(THREADS)))
