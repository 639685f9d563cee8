"""Faults and kills of the example subscriber: it sends no code twice, and nothing is stuck."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr

from demo import event_source
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack
from tests.integration import tokens_outcomes
from tests.integration.faults import ANY, Fault, FaultProxy, fault_proxies
from tests.integration.faults_page import section
from tests.integration.kills import APPLIED, BEFORE
from tests.integration.subscriber_outcomes import (
    CALLS,
    CLAIM,
    CONNECT,
    EVERY,
    EXCHANGE,
    FIRST,
    KILL,
    LANES,
    LOCK,
    RELEASE,
    SECRET,
    Call,
    Case,
    CountingQonto,
    Function,
    Outcome,
    Outcomes,
    Scenario,
    cases,
    cells,
    documented,
    lambda_event,
    subscriber_outcomes,
)
from tests.integration.subscription import (
    ExampleSubscriber,
    confirmation_of,
    granted,
    load,
    load_with,
)
from tests.slow import SEED, SLOW

SAMPLE = [
    Case(SECRET, EVERY, Fault.FAILED),
    Case(LOCK, FIRST, Fault.LOST),
    Case(CLAIM, FIRST, Fault.LOST),
    Case(CLAIM, KILL, APPLIED),
    Case(EXCHANGE, KILL, BEFORE),
    Case(EXCHANGE, KILL, APPLIED),
    Case(RELEASE, FIRST, Fault.LOST),
    Case(RELEASE, EVERY, Fault.RESET),
    Case(CONNECT, FIRST, Fault.LOST),
    Case(CONNECT, EVERY, Fault.LOST),
    Case(CONNECT, KILL, BEFORE),
]

TOKENS_SAMPLE = [
    Case(tokens_outcomes.CLAIM, FIRST, Fault.LOST),
    Case(tokens_outcomes.SEND, FIRST, Fault.LOST),
    Case(tokens_outcomes.RENEW, FIRST, Fault.LOST),
    Case(tokens_outcomes.DELETE, EVERY, Fault.DENIED),
]

# ------------------------------------------------------------------- single faults


def assert_outcomes[C: Case[Any], O](
    name: str,
    running: Outcomes[Any, C, O],
    chosen: list[C],
    assert_rules: Callable[[C, O], None],
    cells: Callable[[O], str],
) -> None:
    """Assert that the outcomes of *chosen* hold the rules, and are in the section *name*."""
    page = documented(section(name))
    for _ in range(2):  # again for those that differ: a busy machine causes timeouts
        found = running.of(chosen)
        for case, outcome in zip(chosen, found, strict=True):
            assert_rules(case, outcome)
        chosen = [
            case
            for case, outcome in zip(chosen, found, strict=True)
            if cells(outcome) != page[case.call.name, case.attempts, case.fault]
        ]

    assert chosen == []


@pytest.fixture(scope="module")
def running(aws: LocalAws, stack: Stack, microburst: str) -> Iterator[Outcomes[Any, Any, Any]]:
    """A runner of cases."""
    lanes = LANES if SLOW else 3
    with subscriber_outcomes(aws, microburst, stack.topic_arn, lanes) as found:
        yield found


def assert_nothing_is_stuck(case: Case[Scenario], outcome: Outcome) -> None:
    """Assert the rules that hold for each fault."""
    assert max(outcome.exchanges) <= 1, case
    assert not outcome.left, case
    assert not outcome.changed, case
    assert outcome.tokens == tuple(each == "connected" for each in outcome.grants), case
    ends = {case.call.scenario.end} | ({("lost",)} if case.call.may_lose else set())
    assert outcome.grants in ends, case
    assert outcome.app == outcome.grants[-1], case
    if outcome.app == "connected":
        assert outcome.exchanges[-1] == 1, case


def test_fault_at_any_call_sends_code_once(running: Outcomes[Any, Any, Outcome]) -> None:
    """The short form runs some of the cases."""
    chosen = list(cases(CALLS)) if SLOW else SAMPLE

    assert_outcomes("subscriber", running, chosen, assert_nothing_is_stuck, cells)


@pytest.fixture(scope="module")
def tokens_running(
    aws: LocalAws, stack: Stack, microburst: str
) -> Iterator[Outcomes[Any, Any, Any]]:
    """A runner of cases of the function `tokens`."""
    lanes = LANES if SLOW else 1
    with tokens_outcomes.tokens_outcomes(aws, microburst, stack.topic_arn, lanes) as found:
        yield found


def assert_connection_is_kept(
    case: Case[tokens_outcomes.Scenario], outcome: tokens_outcomes.Outcome
) -> None:
    """Assert the rules that hold for each fault."""
    end = case.call.scenario.end
    asked_in_vain = {"unavailable", "disconnecting", "an error", "handled", "comes again"}
    assert outcome.response in {end} | asked_in_vain, case
    assert outcome.message in {None, "connected", end}, case
    assert outcome.again in {None, end}, case
    assert outcome.found[1:] == (end, end == "connected", end), case
    assert not outcome.forgotten, case
    assert not outcome.left, case
    assert not outcome.useless, case
    assert not outcome.untrue, case
    assert not outcome.reuses, case
    is_due = outcome.response == "connected" and not sum(outcome.found.refreshes)
    assert not outcome.changed or is_due, case  # the next request refreshes what Qonto refused


def test_fault_of_tokens_loses_no_connection(
    tokens_running: Outcomes[Any, Any, tokens_outcomes.Outcome],
) -> None:
    """The short form runs some of the cases."""
    chosen = list(cases(tokens_outcomes.CALLS)) if SLOW else TOKENS_SAMPLE

    assert_outcomes(
        "tokens", tokens_running, chosen, assert_connection_is_kept, tokens_outcomes.cells
    )


@pytest.mark.parametrize(
    ("name", "calls"),
    [("subscriber", CALLS), ("tokens", tokens_outcomes.CALLS)],
    ids=["subscriber", "tokens"],
)
def test_page_has_each_case(name: str, calls: tuple[Call[Any], ...]) -> None:
    named = {(case.call.name, case.attempts, case.fault) for case in cases(calls)}

    assert set(documented(section(name))) == named


# ----------------------------------------------------------------- a late release


@pytest.fixture
def qonto() -> CountingQonto:
    return CountingQonto()


@pytest.fixture
def example(aws: LocalAws, stack: Stack, qonto: CountingQonto) -> ExampleSubscriber:
    """The example's stack, with an empty queue of its own."""
    return ExampleSubscriber(aws, stack.topic_arn, qonto)


@pytest.fixture
def proxy(aws: LocalAws, microburst: str) -> Iterator[FaultProxy]:
    with fault_proxies(aws, microburst, 1) as [found]:
        yield found


def exchanges_around_late_release(
    example: ExampleSubscriber, qonto: CountingQonto, proxy: FaultProxy, releasing: Handler
) -> int:
    """Return how often a code is sent if the retry of a release comes late.

    *releasing* calls AWS by *proxy*. It cannot connect to Qonto and undoes its claim, but the
    response of AWS is lost. Before the retry of that call is applied, a second delivery claims and
    sends the code. The third delivery is the one that *releasing* asked for.
    """
    event = granted(qonto)
    confirmation = lambda_event(json.dumps(confirmation_of(event)))
    context = LambdaContext("subscriber")
    example.handler(lambda_event(json.dumps(event)), context)
    proxy.inject("UpdateItem", Fault.LOST, after=1, times=1)
    proxy.inject("UpdateItem", Fault.DELAYED, times=1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(releasing, confirmation, context)
        proxy.wait_for("UpdateItem")
        proxy.wait_for("UpdateItem")

        def retry_release() -> None:
            proxy.released.set()
            first.result()

        with qonto.up():
            qonto.meanwhile = retry_release
            example.handler(confirmation, context)
            example.handler(confirmation, context)
    return qonto.received[event["data"]["code"]]


def test_late_release_undoes_no_later_claim(
    example: ExampleSubscriber, qonto: CountingQonto, proxy: FaultProxy
) -> None:
    releasing = load(example.environment | proxy.endpoints)

    assert exchanges_around_late_release(example, qonto, proxy, releasing) == 1


def test_late_release_without_owner_sends_twice(
    example: ExampleSubscriber, qonto: CountingQonto, proxy: FaultProxy
) -> None:
    """The test above can fail."""
    releasing = load_with(example.environment | proxy.endpoints, release=release_without_owner)

    assert exchanges_around_late_release(example, qonto, proxy, releasing) == 2


def release_without_owner(grants: Any, claimed: Any) -> None:  # noqa: ANN401 - of the loaded module
    """Undo any claim."""
    exchanging = Attr("status").eq("exchanging")
    values = {"status": "held"}
    grants._update(claimed, exchanging, values, ("owner", "claimed_at"))  # noqa: SLF001


# ------------------------------------------------------------------------- a load

ROUND = 100 if SLOW else 30
EVENTS = 1000 if SLOW else ROUND
# The client repeats these at once, so that they cost no connection.
REPEATED = [Fault.THROTTLED, Fault.FAILED, Fault.RESET, Fault.FAILED_LATE, Fault.LOST]
# The messages of a flow in three phases: event, confirmation and repudiation. A small letter is of
# a second authorization with the same code.
FLOWS = {
    "connected": ["E C", "C E", "EC", "EE CC EC", "C EEE C"],
    "unconfirmed": ["E"],
    "repudiated first": ["R EC", "E R C", "C R E"],
    "repudiated": ["EC R C", "C E R", ". ECR"],
    "copied": ["Ee Cc", "EC ec", "e Ec C"],
}


@dataclass
class Flow:
    """An authorization, and perhaps a second one with the same code."""

    kind: str
    phases: list[str]
    events: list[dict[str, Any]]

    @property
    def code(self) -> str:
        """The code of all its events."""
        return str(self.events[0]["data"]["code"])

    def send(self, example: ExampleSubscriber, letter: str) -> None:
        """Send the message that *letter* stands for."""
        event = self.events[letter.islower()]
        if letter in "Ee":
            example.send(json.dumps(event))
        elif letter in "Cc":
            example.confirm(event)
        else:
            example.repudiate(event)


def new_flow(qonto: CountingQonto, random: Random) -> Flow:
    """Return a flow of any kind, whose user has allowed."""
    kind = random.choice(list(FLOWS))
    phases = random.choice(FLOWS[kind]).split()
    events = [granted(qonto)]
    if kind == "copied":
        events.append(granted(qonto, code=events[0]["data"]["code"]))
    return Flow(kind, phases, events)


@dataclass
class Worker:
    """One of the processes that receive from the queue; some of its batches fail or kill it."""

    function: Function
    random: Random
    batches: int = 0
    kills: int = 0
    progress: bool = False

    def poll(self, example: ExampleSubscriber, batches: int) -> None:
        """Receive up to *batches* batches, while there are messages that can be handled."""
        self.progress = True
        while (
            self.progress
            and batches
            and event_source.poll(example.aws.sqs, example.queue_url, self.handle, retry_seconds=0)
        ):
            batches -= 1

    def handle(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """Handle a batch, as the function's handler does."""
        self.batches += 1
        messages = len(event["Records"])
        after = self.random.randrange(2 * messages)  # each message leads to two calls or more
        if self.batches % 6 == 3:
            self.kills += 1
            self._inject(self.random.choice([Fault.HANGING, Fault.HELD]), after)
            result = self._killed(event)
        else:
            self._inject(self.random.choice(REPEATED), after)
            result = self.function(event)
        self.function.proxy.clear()
        self.progress = len(result["batchItemFailures"]) < messages
        return result

    def _inject(self, fault: Fault, after: int) -> None:
        self.function.proxy.inject(ANY, fault, after=after, times=1)

    def _killed(self, event: dict[str, Any]) -> dict[str, Any]:
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(self.function, event)
            self.function.proxy.wait_for(ANY)
            self.function.kill()
            return result.result()


@dataclass
class Load:
    """The queue's messages, handled by two workers at once."""

    example: ExampleSubscriber
    workers: list[Worker]
    interrupted: set[str] = field(default_factory=set)

    def poll(self, batches: int = 1000) -> None:
        """Let the workers receive."""
        with ThreadPoolExecutor(len(self.workers)) as threads:
            list(threads.map(lambda worker: worker.poll(self.example, batches), self.workers))

    def drain(self) -> None:
        """Let the workers receive until no message is left."""
        while waiting := self.example.waiting():
            self.poll()
            if self.example.waiting() == waiting:  # only those whose exchange was interrupted
                self._let_claims_age()

    def _let_claims_age(self) -> None:
        pages = self.example.aws.dynamodb.get_paginator("scan").paginate(
            TableName=self.example.stack.resources["GrantTable"],
            FilterExpression="#status = :exchanging",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":exchanging": {"S": "exchanging"}},
        )
        for item in (item for page in pages for item in page["Items"]):
            self.interrupted.add(item["code"]["S"])
            key = {"subject": item["authorization_id"]["S"], "id": item["event_id"]["S"]}
            self.example.outlive_claim(key)


@pytest.fixture
def load_of_two(aws: LocalAws, microburst: str, example: ExampleSubscriber) -> Iterator[Load]:
    """Two workers. The queue has no dead-letter queue, so that messages stay in it."""
    with ExitStack() as block:
        proxies = block.enter_context(fault_proxies(aws, microburst, 2, retry_after=False))
        functions = [block.enter_context(Function(example.environment, proxy)) for proxy in proxies]
        workers = [
            Worker(each, Random(SEED + number))  # noqa: S311 - repeatable
            for number, each in enumerate(functions)
        ]
        yield Load(example, workers)


def assert_ended_well(flow: Flow, load: Load, exchanges: int) -> None:
    """Assert what each grant of *flow* came to, and what the app reads."""
    one, exchanged = ("lost", exchanges) if flow.code in load.interrupted else ("connected", 1)
    ends = {
        "connected": ([one], exchanged),
        "copied": (sorted([one, "failed"]), exchanged),
        "unconfirmed": (["held"], 0),
        "repudiated first": (["repudiated"], 0),
        "repudiated": (["repudiated"], exchanges),
    }
    grants = [load.example.grant(event) for event in flow.events]
    statuses = [grant["status"] for grant in grants]
    assert (sorted(statuses), exchanges) == ends[flow.kind], flow
    assert exchanges <= 1, flow
    for event, grant in zip(flow.events, grants, strict=True):
        assert ("tokens" in grant) == (grant["status"] == "connected"), flow
        read = load.example.status(event)
        assert read == (None if flow.kind == "unconfirmed" else grant["status"]), flow


def test_thousand_codes_are_sent_once_each(load_of_two: Load, qonto: CountingQonto) -> None:
    """The short form has thirty."""
    random = Random(SEED)  # noqa: S311 - repeatable
    flows = []
    for _ in range(EVENTS // ROUND):
        of_round = [new_flow(qonto, random) for _ in range(ROUND)]
        flows += of_round
        for phase in range(3):
            messages = [
                (flow, letter)
                for flow in of_round
                for letter in "".join(flow.phases[phase : phase + 1]).strip(".")
            ]
            random.shuffle(messages)
            for flow, letter in messages:
                flow.send(load_of_two.example, letter)
            load_of_two.poll(batches=2)  # Qonto refuses connections
            with qonto.up():
                load_of_two.drain()

    for flow in flows:
        assert_ended_well(flow, load_of_two, qonto.received[flow.code])
    kills = sum(worker.kills for worker in load_of_two.workers)
    assert len(load_of_two.interrupted) <= kills
    assert kills
