"""The outcome of every fault and kill at every call of the function `tokens`, to AWS and to Qonto.

A case makes a connection, then sends one request, or delivers one message that such a request sent
to the stack itself, with a fault. Then time passes. The messages in the queue are delivered, and
the caller asks again, unless it has its response.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import uuid4

from demo import event_source
from demo.gateway import Handler
from demo.local_aws import LocalAws
from demo.qonto import ShownError
from tests.integration.faults import Fault, FaultProxy, Hurry, _Call
from tests.integration.outcomes import REFUSED
from tests.integration.subscriber_outcomes import (
    LANES,
    Call,
    Case,
    CountingQonto,
    Function,
    Outcomes,
    lambda_event,
    with_fault,
)
from tests.integration.subscription import (
    STAGING_TOKEN,
    ExampleSubscriber,
    confirmation_of,
    granted,
    load,
    load_tokens,
)
from tests.lambda_runtime import FunctionError

TOKEN, DISCONNECT, MESSAGE = "token", "disconnect", "message"
NOTHING = "an empty queue"
MANY = 20  # deliveries, more than any case needs
FINAL = {"connected", "disconnected", "ended"}  # the caller does not ask again
REMINDED = 24  # seconds until the first message arrives; by then a claim is over
_STATUS = {Fault.DENIED: 401, Fault.THROTTLED: 429, Fault.FAILED: 500}


class QontoProxy(FaultProxy):
    """A proxy before mock Qonto. Its error responses are statuses, and name no OAuth error."""

    def _forwarded(self, call: _Call, fault: Fault | None) -> tuple[int, dict[str, str], bytes]:
        if fault in _STATUS:
            return _STATUS[fault], {}, b"{}"
        status, headers, body = super()._forwarded(call, None)
        return status, headers, body[: len(body) // 2] if fault is Fault.SHORTENED else body


class ProxiedQonto(CountingQonto):
    """Mock Qonto behind a proxy of its own, with a clock that can run ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.proxy = QontoProxy(self.url, "")
        self.token_endpoint = f"{self.proxy.dynamodb.url}/oauth2/token"
        self.environment = {
            "TOKEN_ENDPOINT": self.token_endpoint,
            "API_URL": self.proxy.dynamodb.url,
        }
        self.seconds_ahead = 0
        self.server.now = lambda: time.time() + self.seconds_ahead

    def takes(self, access_token: str) -> bool:
        """Tell whether the business API takes *access_token*."""
        try:
            self.server.organization(_headers(access_token))
        except ShownError as error:
            return error.status != HTTPStatus.UNAUTHORIZED
        return True

    def takes_any(self, code: str) -> bool:
        """Tell whether Qonto takes any token of the grant of *code*, one that was lost included."""
        store = self.server._tokens  # noqa: SLF001 - nothing outside sees them all
        tokens = [*store.access.values()], [*store.refresh.values()]
        return code.rpartition(".")[2] in {token.grant_id for each in tokens for token in each}


def _headers(access_token: str) -> dict[str, str]:
    return {
        "authorization": f"Bearer {access_token}",
        "x-qonto-staging-token": STAGING_TOKEN,
    }


@dataclass(frozen=True)
class Scenario:
    """The connection of a case, and the request or message that has the fault.

    Attributes:
        at: the request, or the message.
        interrupted: the request before it, to which Qonto did not respond.
        end: the status of the connection in the end.
        lives: how many seconds the access token lives.
        named: whether the organisation is known.
        claimed: whether another caller refreshes.
        revoked: whether the user ended the connection in Qonto.
        down: what all requests to the token endpoint meet during the request.
        scope: the scopes that the user granted.
        held: whether there is another event, which is not confirmed.

    """

    at: str = TOKEN
    interrupted: str = ""
    end: str = "connected"
    lives: int = 0
    named: bool = True
    claimed: bool = False
    revoked: bool = False
    down: str = ""
    scope: str = "offline_access organization.read"
    held: bool = False


REFRESH = Scenario()
NEAR = Scenario(lives=300)
NAMELESS = Scenario(named=False)
UNREACHABLE = Scenario(down=REFUSED)
UNANSWERED = Scenario(down=Fault.FAILED)
CLAIMED = Scenario(claimed=True)
REVOKED = Scenario(revoked=True, end="ended")
DISCONNECTED = Scenario(DISCONNECT, lives=3600, end="disconnected")
DISCONNECTED_LATE = Scenario(DISCONNECT, end="disconnected")
DISCONNECTED_TWICE = Scenario(DISCONNECT, lives=3600, held=True, end="disconnected")
NOT_REVOKED = Scenario(DISCONNECT, lives=3600, scope="offline_access", end="disconnected")
FINISH_REFRESH = Scenario(MESSAGE, TOKEN)
FINISH_DISCONNECTION = Scenario(MESSAGE, DISCONNECT, lives=3600, end="disconnected")

CLAIM = Call("claim: `UpdateItem` of the grant, for a refresh", REFRESH)
SEND = Call("refresh: `POST` of the refresh token to the token endpoint", REFRESH)
RENEW = Call("renew: `UpdateItem` of the grant, with new tokens", REFRESH, 2)
DELETE = Call("delete: `UpdateItem` of the grant, after the revocation", DISCONNECTED, 6)
CALLS: tuple[Call[Scenario], ...] = (
    Call("find: `Query` of the grants, for a token", REFRESH),
    Call("secret: `GetSecretValue`, for a refresh", REFRESH),
    Call("remind: `SendMessageBatch`, for a refresh", REFRESH),
    CLAIM,
    SEND,
    Call("refresh: `POST` of the refresh token, five minutes before the end", NEAR),
    RENEW,
    Call("read: `GetItem` of the grant, after a refresh", REFRESH),
    Call("name: `GET` of the organization, after a refresh", NAMELESS),
    Call("name: `UpdateItem` of the grant, after a refresh", NAMELESS, 3),
    Call("release: `UpdateItem` of the grant, when Qonto was not reached", UNREACHABLE, 2),
    Call("release: `UpdateItem` of the grant, when Qonto responds with 500", UNANSWERED, 2),
    Call("read: `GetItem` of the grant, when there was no refresh", UNREACHABLE),
    Call("wait: `GetItem` of the grant, while another caller refreshes", CLAIMED),
    Call("end: `UpdateItem` of the grant, when Qonto responds `invalid_grant`", REVOKED, 2),
    Call("read: `GetItem` of the grant, after its end", REVOKED),
    Call("tell: `UpdateItem` of the connection, after its end", REVOKED, 3),
    Call("find: `Query` of the grants, for a disconnection", DISCONNECTED),
    Call("remind: `SendMessageBatch`, for a disconnection", DISCONNECTED),
    Call("mark: `UpdateItem` of the grant, for a disconnection", DISCONNECTED, 2),
    Call("find others: `Query` of the grants", DISCONNECTED, 2),
    Call("mark: `UpdateItem` of another grant", DISCONNECTED_TWICE, 5),
    Call("tell: `UpdateItem` of the connection, for a disconnection", DISCONNECTED, 5),
    Call("read: `Query` of the grants, before the revocation", DISCONNECTED, 3),
    Call("secret: `GetSecretValue`, for a revocation", DISCONNECTED),
    Call("revoke: `DELETE` of the consents", DISCONNECTED),
    Call("find: `Query` of the grants, after the revocation", DISCONNECTED, 4),
    DELETE,
    Call("delete: `UpdateItem` of the grant, when Qonto refuses", NOT_REVOKED, 6),
    Call("read: `GetItem` of the grant, after the revocation", DISCONNECTED),
    Call("claim: `UpdateItem` of the grant, to revoke with new tokens", DISCONNECTED_LATE, 6),
    Call("refresh: `POST` of the refresh token, to revoke with new tokens", DISCONNECTED_LATE),
    Call("renew: `UpdateItem` of the grant, to revoke with new tokens", DISCONNECTED_LATE, 7),
    Call("find: `Query` of the grants, to finish a refresh", FINISH_REFRESH),
    Call("claim: `UpdateItem` of the grant, to finish a refresh", FINISH_REFRESH),
    Call("refresh: `POST` of the refresh token, to finish a refresh", FINISH_REFRESH),
    Call("renew: `UpdateItem` of the grant, to finish a refresh", FINISH_REFRESH, 2),
    Call("find: `Query` of the grants, to finish a disconnection", FINISH_DISCONNECTION),
    Call("revoke: `DELETE` of the consents, to finish a disconnection", FINISH_DISCONNECTION),
    Call("delete: `UpdateItem` of the grant, to finish a disconnection", FINISH_DISCONNECTION, 6),
)


class Found(NamedTuple):
    """The state in the end.

    Attributes:
        refreshes: how often the token endpoint received each refresh token.
        grant: the status of the grant.
        tokens: whether it has tokens.
        app: the status that the app reads.

    """

    refreshes: tuple[int, ...]
    grant: str
    tokens: bool
    app: str | None


class Outcome(NamedTuple):
    """The outcome of a case, when no message is left.

    Attributes:
        response: what the caller gets.
        message: the status of the grant after the messages; None if there was none.
        forgotten: whether something was begun, and no message said so.
        again: what the caller gets when it asks again; None if it need not.
        found: the state then.
        left: whether a message could not be handled in the end.
        useless: whether the caller got a token that Qonto does not take.
        untrue: whether the caller got `disconnected`, and Qonto took a token.
        reuses: how many refresh tokens Qonto received after their grace.
        changed: whether another delivery, and another request, changed anything.

    """

    response: str
    message: str | None
    forgotten: bool
    again: str | None
    found: Found
    left: bool
    useless: bool
    untrue: bool
    reuses: int
    changed: bool


class Lane(NamedTuple):
    """A process of both functions, with a mock Qonto and a queue of its own."""

    function: Function
    qonto: ProxiedQonto
    queue_url: str


class _Run:
    """One case, with a connection of its own."""

    def __init__(self, example: ExampleSubscriber, lane: Lane, case: Case[Scenario]) -> None:
        self._example, self._case = example, case
        self._function, self._qonto, self._queue_url = lane
        self._scenario = case.call.scenario
        self._event = granted(self._qonto, granted_scope=self._scenario.scope)
        self._useless = self._untrue = False

    def outcome(self) -> Outcome:
        self._connect()
        if self._scenario.interrupted:
            self._qonto.proxy.inject("POST", Fault.LOST)
            self._qonto.proxy.inject("DELETE", Fault.RESET)
            self._ask(self._scenario.interrupted)
            self._qonto.proxy.clear()
        response = self._ask_with_fault()
        begun = self._refreshes or self._grant["status"] == "disconnecting"
        self._let_claims_age()
        message = self._status if self._settle() else None
        again = None if response in FINAL else self._ask(self._request)
        self._settle()
        found = self._found()
        self._deliver(self._subject | {"unfinished": True})
        self._ask(self._request)
        return Outcome(
            response,
            message,
            bool(begun) and message is None,
            again,
            found,
            self._settle() == MANY,
            self._useless,
            self._untrue,
            self._qonto.server.reuses,
            self._found() != found,
        )

    @property
    def _request(self) -> str:
        return self._scenario.interrupted or self._scenario.at

    def _connect(self) -> None:
        self._qonto.reset()
        self._qonto.received.clear()
        self._qonto.seconds_ahead = 0
        self._deliver(self._event, confirmation_of(self._event))
        if self._case.call.operation == "GetSecretValue":
            self._function.restart()  # it keeps the secret for a minute
        if self._scenario.held:
            in_a_minute = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
            other = granted(self._qonto) | {"time": in_a_minute}
            self._deliver(other | {"subject": self._event["subject"]})
        issued_at = int(time.time()) - 3600 + self._scenario.lives
        self._example.change_grant(self._event, "issued_at", {"N": str(issued_at)})
        if not self._scenario.named:
            self._example.change_grant(self._event, "organization", {"NULL": True})
        if self._scenario.claimed:
            self._claim("of-another-caller", int(time.time()))
        if self._scenario.revoked:
            access_token = self._grant["tokens"]["access_token"]["S"]
            self._qonto.server.revoke_consents(_headers(access_token))

    def _deliver(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self._function(lambda_event(json.dumps(message)))

    def _claim(self, owner: str, claimed_at: int) -> None:
        claim = {"owner": {"S": owner}, "claimed_at": {"N": str(claimed_at)}}
        self._example.change_grant(self._event, "refresh", {"M": claim})

    @property
    def _subject(self) -> dict[str, Any]:
        return {"authorization_id": self._event["subject"]}

    @property
    def _code(self) -> str:
        return str(self._event["data"]["code"])

    def _ask_with_fault(self) -> str:
        qonto, function = self._qonto.proxy, self._function
        proxy = qonto if self._case.call.operation in {"POST", "DELETE", "GET"} else function.proxy
        if self._scenario.down == REFUSED:
            qonto.dynamodb.refuse()
        elif self._scenario.down:
            qonto.inject("POST", Fault(self._scenario.down))
        try:
            return with_fault(self._case, proxy, function, lambda: self._ask(self._scenario.at))
        finally:
            qonto.clear()

    def _ask(self, name: str) -> str:
        """Send a request, and return the status of the response; or deliver a message."""
        if name == MESSAGE:
            return self._poll()
        request = self._subject | {"disconnect": name == DISCONNECT}
        try:
            response = self._function(request)
        except FunctionError:
            return "an error"
        status = str(response["status"])
        if status == "connected":
            self._useless |= not self._qonto.takes(response["access_token"])
        if status == "disconnected" and response["revoked"]:
            self._untrue |= self._qonto.takes_any(self._code)
        return status

    def _poll(self) -> str:
        """Deliver a message of the queue, if there is one, and return what became of it."""
        results = []

        def handle(event: dict[str, Any], _context: object) -> dict[str, Any]:
            results.append(self._function(event))
            return results[0]

        queue = self._example.aws.sqs, self._queue_url
        event_source.poll(*queue, handle, batch_size=1, retry_seconds=0)
        if not results:
            return NOTHING
        return "comes again" if results[0]["batchItemFailures"] else "handled"

    def _settle(self) -> int:
        """Deliver messages until the queue is empty; return how often one was delivered."""
        return next((number for number in range(MANY) if self._poll() == NOTHING), MANY)

    def _let_claims_age(self) -> None:
        self._qonto.seconds_ahead += REMINDED
        if "refresh" in self._grant:
            owner = self._grant["refresh"]["owner"]["S"]
            self._claim(owner, int(time.time()) - REMINDED)

    @property
    def _grant(self) -> dict[str, Any]:
        return self._example.grant(self._event)

    @property
    def _status(self) -> str:
        return str(self._grant["status"]) + (", unfinished" if "refresh" in self._grant else "")

    @property
    def _refreshes(self) -> tuple[int, ...]:
        received = self._qonto.received
        return tuple(number for name, number in received.items() if name.startswith("ory_rt_"))

    def _found(self) -> Found:
        app = self._example.status(self._event)
        return Found(self._refreshes, self._status, "tokens" in self._grant, app)


COLUMNS = "The caller gets | After the messages | It asks again | Refreshes | Grant | The app reads"


def cells(outcome: Outcome) -> str:
    """Return the cells of *outcome* in a table."""
    refreshes, grant, _, app = outcome.found
    counts = ", ".join(map(str, refreshes)) or "0"
    texts = outcome.response, outcome.message, outcome.again, counts, grant, app
    return " | ".join(text or "-" for text in texts)


def load_both(environment: dict[str, str]) -> Handler:
    """Load both handlers into one process: in a case, one of them runs at a time."""
    subscriber, tokens = load(environment), load_tokens(environment)
    return lambda event, context: (subscriber if "Records" in event else tokens)(event, context)


@contextmanager
def tokens_outcomes(
    aws: LocalAws, microburst: str, topic_arn: str, lanes: int = LANES
) -> Iterator[Outcomes[Lane, Case[Scenario], Outcome]]:
    """Run processes and proxies inside the block, and yield a runner with a stack of its own."""
    with ExitStack() as block:
        found = []
        example = ExampleSubscriber(aws, topic_arn, CountingQonto())
        for _ in range(lanes):
            proxy = block.enter_context(Hurry(aws.endpoint_url, microburst))
            mock = ProxiedQonto()
            block.enter_context(mock.proxy)
            block.enter_context(mock.up())
            queue = aws.sqs.create_queue(QueueName=f"tokens-{uuid4()}")
            environment = example.environment | mock.environment
            environment["QUEUE_URL"] = queue["QueueUrl"]
            function = Function(environment, proxy, load_both)
            found.append(Lane(block.enter_context(function), mock, queue["QueueUrl"]))
        yield Outcomes(found, lambda lane, case: _Run(example, lane, case).outcome())
