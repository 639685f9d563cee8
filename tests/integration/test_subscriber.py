"""The example subscriber exchanges the code of each confirmed pair once, whatever happens to it."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any
from uuid import uuid4

import boto3
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from demo import event_source
from demo.gateway import Handler, LambdaContext
from demo.local_aws import LocalAws, Stack, free_port
from demo.template import ROOT
from tests.integration.faults import Fault, FaultProxy, fault_proxies
from tests.integration.forks import Fork, in_forks
from tests.integration.subscription import (
    CHALLENGE,
    CLIENT_SECRET,
    VERIFIER,
    Breaks,
    ExampleSubscriber,
    StandIn,
    granted,
    load,
    pair_of,
)
from tests.slow import SLOW

FAR = 31  # seconds; the function runs for 30 at most
PROCESSES = 4


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
def qonto(stand_in: StandIn) -> Iterator[StandIn]:
    """The stand-in, up, with nothing counted yet."""
    stand_in.instead, stand_in.breaks, stand_in.meanwhile = None, None, lambda: None
    stand_in.reached.clear()
    stand_in.server.exchanges_attempted = stand_in.server.exchanges_succeeded = 0
    with stand_in.up():
        yield stand_in


@pytest.fixture(scope="module")
def deployed(aws: LocalAws, stack: Stack, stand_in: StandIn) -> ExampleSubscriber:
    return ExampleSubscriber(aws, stack.topic_arn, stand_in)


@pytest.fixture
def example(deployed: ExampleSubscriber) -> ExampleSubscriber:
    """The example's stack with an empty queue, and its function after a cold start."""
    deployed.aws.sqs.purge_queue(QueueUrl=deployed.queue_url)
    deployed.handler = load(deployed.environment)
    return deployed


def confirmed(example: ExampleSubscriber, event: dict[str, Any]) -> dict[str, Any]:
    """Let *event* and the confirmation of its pair be taken in; return the event."""
    example.publish(event)
    example.poll()
    example.confirm(event)
    example.poll()
    return event


def with_a_log_of_its_own(example: ExampleSubscriber, **environment: str) -> Handler:
    """Return the function after a cold start; what it prints, the test reads."""
    handler: Handler = load(
        example.environment | {"POWERTOOLS_SERVICE_NAME": str(uuid4()), **environment}
    )
    return handler


def let_pass(example: ExampleSubscriber, event: dict[str, Any], seconds: int) -> None:
    """Let the attempt to exchange *event* have been *seconds* ago."""
    example.aws.dynamodb.update_item(
        TableName=example.stack.resources["GrantTable"],
        Key=example.key(event),
        UpdateExpression="SET attempted_at = :then",
        ExpressionAttributeValues={":then": {"N": str(int(time.time()) - seconds)}},
    )


# ------------------------------------------------------------------- confirmation


def test_a_code_is_held_until_its_pair_is_confirmed(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = granted(qonto)

    example.publish(event)
    example.poll()
    before = (qonto.exchanges, example.grant(event)["state"], example.waiting())
    example.confirm(event)
    example.poll()

    assert before == ((0, 0), "held", 0)
    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"
    assert example.waiting() == 0


def test_a_confirmation_may_come_before_its_event(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = granted(qonto)

    example.confirm(event)
    example.poll()
    pending = example.status(event)
    example.publish(event)
    example.poll()

    assert pending == "pending"
    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"


@pytest.mark.parametrize("change", [{"context": "theirs"}, {"authorization_id": "another"}])
def test_half_a_pair_confirms_nothing(
    example: ExampleSubscriber, qonto: StandIn, change: dict[str, str]
) -> None:
    event = granted(qonto)
    example.publish(event)
    example.poll()

    example.confirm(event, **change)
    example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["state"] == "held"


def test_who_confirms_another_context_learns_nothing_of_the_connection(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = confirmed(example, granted(qonto))

    example.confirm(event, context="theirs")
    example.poll()

    theirs = event | {"data": event["data"] | {"context": "theirs"}}
    assert example.status(event) == "connected"
    assert example.status(theirs) == "pending"


def test_an_event_without_a_context_is_never_exchanged(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = granted(qonto, context=None)

    example.publish(event)
    example.send(json.dumps({"authorization_id": event["subject"], "context": "made-up"}))
    example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.waiting() == 0


def test_a_code_that_nobody_confirms_ends_without_an_error(
    example: ExampleSubscriber, qonto: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table forgets it; nothing is left in the queue, and nothing is logged as wrong."""
    event = granted(qonto)
    example.handler = with_a_log_of_its_own(example)

    example.publish(event)
    example.poll()

    grant = example.grant(event)
    assert int(grant["expires_at"]) > int(grant["code_expires_at"])
    assert example.waiting() == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("first", ["event", "confirmation"])
def test_a_code_that_is_confirmed_too_late_is_expired(
    example: ExampleSubscriber, qonto: StandIn, first: str
) -> None:
    event = granted(qonto, expires_in=0)
    steps = [example.publish, example.confirm]

    for step in steps if first == "event" else reversed(steps):
        step(event)
        example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.status(event) == "expired"
    assert example.waiting() == 0


def test_without_required_confirmation_each_code_is_exchanged(
    aws: LocalAws, stack: Stack, qonto: StandIn
) -> None:
    no_app = ExampleSubscriber(
        aws, stack.topic_arn, qonto, RequireConfirmation="false", AppRoleArn=""
    )
    event = granted(qonto, context=None)

    no_app.publish(event)
    no_app.poll()

    assert qonto.exchanges == (1, 1)
    assert no_app.grant(event)["state"] == "connected"


# ------------------------------------------------------------------- the exchange


def test_the_tokens_take_the_place_of_the_code(example: ExampleSubscriber, qonto: StandIn) -> None:
    event = confirmed(example, granted(qonto))

    grant = example.grant(event)
    assert grant["tokens"]["access_token"]["S"].startswith("ory_at_")
    assert grant["tokens"]["refresh_token"]["S"].startswith("ory_rt_")
    assert {"code", "code_verifier", "expires_at"}.isdisjoint(grant)  # and it stays


def test_the_app_reads_a_status_and_a_name_and_no_secret(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = confirmed(example, granted(qonto))

    item = example.connection(event)

    assert item == {
        **{name: {"S": value} for name, value in pair_of(event).items()},
        "status": {"S": "connected"},
        "organization": {"S": "Atelier Martin"},
    }


def test_the_code_verifier_is_sent_where_there_is_one(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    code = qonto.allow(code_challenge=CHALLENGE, code_challenge_method="S256")

    event = confirmed(example, granted(qonto, code=code, code_verifier=VERIFIER))

    assert example.status(event) == "connected"


def test_tokens_that_open_no_organization_are_a_connection(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = confirmed(example, granted(qonto, code=qonto.allow(scope="offline_access")))

    assert example.status(event) == "connected"


def test_the_secret_goes_to_no_other_address(example: ExampleSubscriber, qonto: StandIn) -> None:
    event = granted(qonto, token_endpoint=f"http://localhost:{qonto.port}/oauth2/token")

    confirmed(example, event)

    assert qonto.exchanges == (0, 0)
    assert example.waiting() == 1  # until it is a dead letter


@pytest.mark.parametrize("body", ["no JSON", "[]", '{"type": "qonto-connect"}', '{"context": "c"}'])
def test_what_is_no_message_stays_in_the_queue_alone(
    example: ExampleSubscriber, qonto: StandIn, body: str
) -> None:
    event = granted(qonto)
    example.send(body)
    example.confirm(event)
    example.publish(event)

    example.poll()

    assert example.status(event) == "connected"
    assert example.waiting() == 1


def test_only_granted_events_reach_the_queue(example: ExampleSubscriber, qonto: StandIn) -> None:
    failed = json.loads((ROOT / "docs" / "examples" / "failed.json").read_text("utf-8"))

    example.publish(failed)
    example.publish(granted(qonto))

    assert example.waiting() == 1


# ------------------------------------------------------------------ at most once


def test_a_second_delivery_changes_nothing(example: ExampleSubscriber, qonto: StandIn) -> None:
    event = confirmed(example, granted(qonto))

    for _ in range(2):
        confirmed(example, event)

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"
    assert example.waiting() == 0


def test_two_answers_of_one_authorization_are_exchanged_once_each(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    first = granted(qonto)
    second = granted(qonto, context=first["data"]["context"]) | {"subject": first["subject"]}

    for event in (first, second):
        example.publish(event)
        example.poll()
    example.confirm(first)
    example.poll()

    assert qonto.exchanges == (2, 2)
    assert example.status(first) == "connected"


def test_a_failure_after_a_connection_leaves_it_connected(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    first = confirmed(example, granted(qonto))
    second = granted(qonto, context=first["data"]["context"], code="ory_ac_unknown")

    confirmed(example, second | {"subject": first["subject"]})

    assert qonto.exchanges == (2, 1)
    assert example.status(first) == "connected"


def _load_without_lock(environment: dict[str, str]) -> Handler:
    handler: Handler = load(environment)
    module: Any = sys.modules["subscriber.handler"]
    module.grants.claim = _take_it_as_free
    return handler


def _take_it_as_free(_grant: object, _now: int) -> None:
    """Leave the item as it is."""


def _handle(fork: Fork, event: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(fork.handler(event, LambdaContext("subscriber")))]


def at_once(example: ExampleSubscriber, event: dict[str, Any], *, lock: bool = True) -> None:
    """Hand one confirmed event to PROCESSES copies of the function at the same moment."""
    example.confirm(event)
    example.poll()
    example.publish(event)
    received = example.aws.sqs.receive_message(QueueUrl=example.queue_url)["Messages"]
    lambda_event = event_source.lambda_event(received, example.queue_url)
    loaded = load if lock else _load_without_lock
    in_forks(PROCESSES, loaded, example.environment, _handle, lambda_event)


def test_of_several_at_once_one_exchanges(example: ExampleSubscriber, qonto: StandIn) -> None:
    event = granted(qonto)

    at_once(example, event)

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"


def test_without_the_lock_several_would(example: ExampleSubscriber, qonto: StandIn) -> None:
    """The test above can fail."""
    at_once(example, granted(qonto), lock=False)

    assert qonto.exchanges[0] > 1


# --------------------------------------------------------------------- crashes


def _poll_once(environment: dict[str, str], queue_url: str) -> None:
    handler = load(environment)
    os.environ |= environment
    event_source.poll(boto3.client("sqs"), queue_url, handler)


def crash(example: ExampleSubscriber, qonto: StandIn, where: Breaks) -> dict[str, Any]:
    """Kill the function while it waits for Qonto's answer; return the event."""
    event = granted(qonto)
    example.confirm(event)
    example.poll()
    example.publish(event)
    qonto.breaks = where
    function = get_context("spawn").Process(
        target=_poll_once, args=(example.environment, example.queue_url)
    )
    function.start()
    assert qonto.reached.wait(30)
    assert function.pid
    os.kill(function.pid, signal.SIGKILL)
    function.join()
    qonto.breaks = None
    example.publish(event)  # it comes again
    return event


@pytest.mark.parametrize(("where", "succeeded"), [("before", 0), ("after", 1)])
def test_an_attempt_that_was_killed_is_lost_and_never_repeated(
    example: ExampleSubscriber, qonto: StandIn, where: Breaks, succeeded: int
) -> None:
    event = crash(example, qonto, where)

    example.poll()
    too_early = example.grant(event)["state"]
    let_pass(example, event, FAR)
    example.poll()

    assert too_early == "exchanging"  # who knows whether it is still running
    assert qonto.exchanges == (succeeded, succeeded)
    assert example.grant(event)["state"] == "lost"
    assert "code" not in example.grant(event)
    assert example.status(event) == "lost"


def test_a_crash_after_the_tokens_are_kept_is_made_good(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = confirmed(example, granted(qonto))
    example.aws.dynamodb.update_item(  # as it was before the app was told
        TableName=example.stack.resources["ConnectionTable"],
        Key={name: {"S": value} for name, value in pair_of(event).items()},
        UpdateExpression="SET #status = :pending",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":pending": {"S": "pending"}},
    )

    example.publish(event)
    example.poll()

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "connected"


# ---------------------------------------------------------------------- faults


def test_a_request_that_never_left_is_sent_when_qonto_is_back(
    example: ExampleSubscriber, stand_in: StandIn
) -> None:
    stand_in.server.exchanges_attempted = stand_in.server.exchanges_succeeded = 0
    event = confirmed(example, granted(stand_in))
    while_down = (example.grant(event)["state"], example.status(event), example.waiting())

    with stand_in.up():
        example.poll()

    assert while_down == ("held", "pending", 1)
    assert stand_in.exchanges == (1, 1)
    assert example.status(event) == "connected"
    assert example.waiting() == 0


def test_a_name_that_does_not_resolve_is_no_attempt(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    nowhere = "http://qonto.invalid/oauth2/token"
    example.handler = load(example.environment | {"TOKEN_ENDPOINT": nowhere})

    event = confirmed(example, granted(qonto, token_endpoint=nowhere))

    assert example.grant(event)["state"] == "held"
    assert example.waiting() == 1


def test_without_the_client_secret_nothing_is_attempted(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    example.handler = load(example.environment | {"AWS_ENDPOINT_URL_SECRETS_MANAGER": down})
    event = confirmed(example, granted(qonto))
    while_down = (example.grant(event)["state"], qonto.exchanges, example.waiting())

    example.handler = load(example.environment)
    example.poll()

    assert while_down == ("held", (0, 0), 1)
    assert example.status(event) == "connected"


@pytest.fixture
def faults(example: ExampleSubscriber, microburst: str) -> Iterator[FaultProxy]:
    """What may happen to the function's calls of DynamoDB."""
    with fault_proxies(example.aws, microburst, 1) as [proxy]:
        example.handler = load(example.environment | proxy.endpoints)
        yield proxy


def test_an_attempt_that_may_not_be_on_record_is_not_made(
    example: ExampleSubscriber, qonto: StandIn, faults: FaultProxy
) -> None:
    """DynamoDB took the claim, its answer got lost, and a second claim finds the first."""
    event = granted(qonto)
    example.confirm(event)
    example.poll()
    faults.inject("UpdateItem", Fault.LOST, times=1)

    example.publish(event)
    example.poll()
    let_pass(example, event, FAR)
    example.poll()

    assert qonto.exchanges == (0, 0)
    assert example.status(event) == "lost"
    assert example.waiting() == 0


def test_tokens_that_could_not_be_kept_are_lost(
    example: ExampleSubscriber, qonto: StandIn, faults: FaultProxy
) -> None:
    qonto.meanwhile = lambda: faults.inject("UpdateItem", Fault.FAILED)
    event = confirmed(example, granted(qonto))
    faults.clear()
    let_pass(example, event, FAR)

    example.poll()

    assert qonto.exchanges == (1, 1)
    assert example.status(event) == "lost"
    assert example.waiting() == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (JSONResponse({"error": "invalid_grant"}, 400), "invalid_grant"),
        (JSONResponse({"error": "too_many"}, 429), "too_many"),
        (PlainTextResponse("slow down", 429), "HTTP 429"),
        (JSONResponse(["?"], 404), "HTTP 404"),
    ],
)
def test_a_refused_exchange_has_failed_and_is_not_repeated(
    example: ExampleSubscriber, qonto: StandIn, answer: Response, reason: str
) -> None:
    qonto.instead = answer
    event = confirmed(example, granted(qonto))

    qonto.instead = None
    confirmed(example, event)

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["reason"] == reason
    assert "code" not in example.grant(event)
    assert example.status(event) == "failed"
    assert example.waiting() == 0


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (PlainTextResponse("", 500), "HTTP 500"),
        (PlainTextResponse("", 503), "HTTP 503"),
        (PlainTextResponse("", 302, headers={"Location": "/"}), "HTTP 302"),
        (PlainTextResponse("<html>", 200), "no-tokens"),
        (JSONResponse({"access_token": ""}), "no-tokens"),
        (PlainTextResponse("{", headers={"Content-Length": "9"}), "RemoteProtocolError|ReadError"),
    ],
)
def test_an_answer_that_says_nothing_is_lost_and_the_code_not_tried_again(
    example: ExampleSubscriber, qonto: StandIn, answer: Response, reasons: str
) -> None:
    qonto.instead = answer
    event = confirmed(example, granted(qonto))

    qonto.instead = None
    confirmed(example, event)

    assert qonto.exchanges == (0, 0)
    assert example.grant(event)["reason"] in reasons.split("|")
    assert example.status(event) == "lost"
    assert example.waiting() == 0


def test_a_code_that_qonto_does_not_know_has_failed(
    example: ExampleSubscriber, qonto: StandIn
) -> None:
    event = confirmed(example, granted(qonto, code="ory_ac_unknown"))

    assert example.grant(event)["reason"] == "invalid_grant"
    assert example.status(event) == "failed"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ({"client_secret": "wrong", "staging_token": "of-the-sandbox"}, "invalid_client"),
        ({"client_secret": CLIENT_SECRET}, "unauthorized"),
    ],
)
def test_wrong_credentials_fail(
    aws: LocalAws, stack: Stack, qonto: StandIn, secret: dict[str, str], reason: str
) -> None:
    misled = ExampleSubscriber(aws, stack.topic_arn, qonto, secret)

    event = confirmed(misled, granted(qonto))

    assert misled.grant(event)["reason"] == reason
    assert misled.status(event) == "failed"


# ----------------------------------------------------------------------- leaks


def test_no_log_line_holds_a_secret(
    example: ExampleSubscriber, qonto: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = {"POWERTOOLS_LOG_LEVEL": "DEBUG", "POWERTOOLS_LOGGER_LOG_EVENT": "true"}
    example.handler = with_a_log_of_its_own(example, **loud)
    good = granted(qonto, code_verifier=None)
    bad = granted(qonto, code="ory_ac_unknown")
    misplaced = granted(qonto, token_endpoint="http://elsewhere/")

    for event in (good, bad, misplaced):
        confirmed(example, event)
    example.send(json.dumps(good | {"specversion": "0.3"}))
    example.poll()

    printed = "".join(capsys.readouterr())
    assert "Grant connected" in printed
    assert "ValidationError" in printed
    secrets = ("ory_ac_", "ory_at_", CLIENT_SECRET, good["data"]["context"])
    assert [it for it in (*secrets, "input_value") if it in printed] == []


# -------------------------------------------------------------------- the whole


ROUND = 100
EVENTS = 1000 if SLOW else ROUND


def _start(environment: dict[str, str]) -> None:
    os.environ |= environment
    globals()["_worker"] = (load(environment), boto3.client("sqs"))


def _drain(queue_url: str) -> None:
    handler, sqs = globals()["_worker"]
    while event_source.poll(sqs, queue_url, handler, retry_seconds=0):
        pass


def _pass_on(example: ExampleSubscriber, workers: ProcessPoolExecutor) -> None:
    for each in [workers.submit(_drain, example.queue_url) for _ in range(2)]:
        each.result()


def test_a_thousand_events_end_in_one_exchange_each(
    example: ExampleSubscriber, stand_in: StandIn
) -> None:
    """Every tenth is delivered twice, every twentieth fails before its request leaves.

    The short form has a hundred.
    """
    server = stand_in.server
    server.exchanges_attempted = server.exchanges_succeeded = 0
    events = [granted(stand_in) for _ in range(EVENTS)]
    not_sent = 0

    with ProcessPoolExecutor(
        2, get_context("spawn"), initializer=_start, initargs=(example.environment,)
    ) as workers:
        for start in range(0, EVENTS, ROUND):
            for index in range(start, start + ROUND, 20):  # nobody listens yet
                confirmed(example, events[index])
                not_sent += example.grant(events[index])["state"] == "held"
            with stand_in.up():
                for index in range(start, start + ROUND):
                    if index % 2:
                        example.confirm(events[index])
                    for _ in range((index % 20 > 0) + (index % 10 == 0)):
                        example.publish(events[index])
                    if index % 2 == 0:
                        example.confirm(events[index])
                while example.waiting():
                    _pass_on(example, workers)

    assert not_sent == EVENTS // 20
    assert stand_in.exchanges == (EVENTS, EVENTS)
    assert {example.status(event) for event in events} == {"connected"}
