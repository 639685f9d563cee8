"""The matrix of `tokens`: each fault and kill while a caller gets a token or ends a connection.

A case makes a connection, then sends one request, or delivers one message that such a request sent
to the stack itself, with a fault. Then time passes. The messages in the queue are delivered, and
the caller asks again, unless it has its response.
"""

import time
from dataclasses import dataclass
from typing import Any

from demo import event_source
from tests.integration.matrix import Case, calls
from tests.integration.subscriber_outcomes import Lane
from tests.support.faults import Fault
from tests.support.lambda_runtime import FunctionError
from tests.support.subscription import confirmation_of, granted, later_than

COLUMNS = "The caller gets | After the messages | It asks again | Refreshes | Grant | The app reads"
NOTHING = "an empty queue"
MANY = 20  # deliveries, more than any case needs
FINAL = {"connected", "disconnected", "ended"}  # the caller does not ask again
IN_VAIN = {"unavailable", "disconnecting", "an error", "handled", "comes again"}
REMINDED = 24  # seconds until the first message arrives; by then a claim is over


@dataclass(frozen=True, eq=False)
class Scenario:
    """The connection of a case, and its request; fault_calls.toml describes the fields."""

    at: str = "token"
    interrupted: str = ""
    end: str = "connected"
    lives: int = 0
    named: bool = True
    claimed: bool = False
    revoked: bool = False
    qonto: str = ""
    scope: str = "offline_access organization.read"
    held: bool = False


CALLS = calls("tokens", Scenario)


def outcome(lane: Lane, case: Case) -> str:
    """Return the cells of the outcome of *case*, with a connection of its own."""
    scenario, end = case.call.scenario, case.call.scenario.end
    connection = Connection(lane, scenario)
    if case.call.operation == "GetSecretValue":
        lane.function.restart()  # it keeps the secret for a minute
    request = scenario.interrupted or scenario.at
    if scenario.interrupted:
        lane.qonto.proxy.inject("POST", Fault.LOST)
        lane.qonto.proxy.inject("DELETE", Fault.RESET)
        connection.ask(request)
        lane.qonto.proxy.clear()
    with lane.failing(case):
        response = connection.ask(scenario.at)
    refreshes, status, *_ = connection.found()
    connection.age()
    message = connection.found()[1] if connection.settle() else None
    again = None if response in FINAL else connection.ask(request)
    connection.settle()
    found = connection.found()

    assert response in {end} | IN_VAIN
    assert message in {None, "connected", end}
    assert again in {None, end}
    assert found[1:] == (end, end == "connected", end)
    is_begun = refreshes or status.startswith("disconnecting")
    assert message or not is_begun  # else it would be forgotten if nobody asked again
    # Another message and another request change nothing, unless the token must still be refreshed.
    assert lane.handle(connection.subject | {"unfinished": True})
    connection.ask(request)
    connection.settle()
    is_due = response == "connected" and not sum(found[0])
    assert is_due or connection.found() == found
    assert not lane.qonto.server.reuses  # of a refresh token after its grace
    counts = ", ".join(map(str, found[0])) or "0"
    return " | ".join(each or "-" for each in (response, message, again, counts, end, end))


class Connection:
    """A connection whose grant is as a scenario says, and its caller."""

    def __init__(self, lane: Lane, scenario: Scenario) -> None:
        self._lane, self._qonto, self._example = lane, lane.qonto, lane.example
        self._qonto.reset()
        self._qonto.proxy.received.clear()
        self._qonto.seconds_ahead = 0
        self._event = granted(lane.qonto, granted_scope=scenario.scope)
        self.subject = {"authorization_id": self._event["subject"]}
        messages = [self._event, confirmation_of(self._event)]
        if scenario.held:
            messages.append(later_than(self._event, self._qonto, context=None))
        assert all(lane.handle(message) for message in messages)
        now = int(time.time())
        self._change(issued_at=now - 3600 + scenario.lives)
        if not scenario.named:
            self._change(organization=None)
        if scenario.claimed:
            self._change(refresh={"owner": "of-another-caller", "claimed_at": now})
        if scenario.revoked:
            self._qonto.revoke(self._grant["tokens"]["access_token"])

    @property
    def _grant(self) -> dict[str, Any]:
        return self._example.grant(self._event)

    def _change(self, **attributes: Any) -> None:  # noqa: ANN401 - DynamoDB's types
        self._example.change(self._event, **attributes)

    def age(self, seconds: int = REMINDED) -> None:
        """Let time pass, for example until the first message has arrived."""
        self._qonto.seconds_ahead += seconds
        self._change(issued_at=self._grant["issued_at"] - seconds)
        if claim := self._grant.get("refresh"):
            self._change(refresh=claim | {"claimed_at": int(time.time()) - seconds})

    def ask(self, name: str) -> str:
        """Send a request, and return the status of the response; or deliver a message."""
        if name == "message":
            return self._poll()
        try:
            response = self._lane.function(self.subject | {"disconnect": name == "disconnect"})
        except FunctionError:
            return "an error"
        status = str(response["status"])
        if status == "connected":
            assert self._qonto.takes(response["access_token"])
        if status == "disconnected" and response["revoked"]:
            assert not self._qonto.takes_any(self._event["data"]["code"])
        return status

    def _poll(self) -> str:
        """Deliver a message of the queue, if there is one, and return what became of it."""
        results = []

        def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
            results.append(self._lane.function(event))
            return results[0]

        queue = self._example.aws.sqs, self._lane.queue_url
        event_source.poll(*queue, handle, batch_size=1, retry_seconds=0)
        if not results:
            return NOTHING
        return "comes again" if results[0]["batchItemFailures"] else "handled"

    def settle(self) -> int:
        """Deliver messages until the queue is empty; return how often one was delivered."""
        return next(number for number in range(MANY) if self._poll() == NOTHING)

    def found(self) -> tuple[tuple[int, ...], str, bool, str | None]:
        """Return the uses of each refresh token, the grant's status and tokens, and the app's."""
        received = self._qonto.proxy.received.items()
        refreshes = tuple(number for name, number in received if name.startswith("ory_rt_"))
        grant, app = self._grant, self._example.connection(self._event)
        status = grant["status"] + (", unfinished" if "refresh" in grant else "")
        return refreshes, status, "tokens" in grant, app.get("status")
