"""Tests of a deployed stack: one that `sam deploy` creates locally, or on demand one in AWS.

The local stack is in the local AWS. Its functions run from packages built for this machine, with
the variables of the deployed functions. `make test` never tests a stack in AWS. To test one, set
STACK_NAME and use the credentials and the region of the shell: `make verify STACK_NAME=…`. Each
line of its result has what docs/first-deploy.md expects; that page says what to do otherwise.

Never name a stack that has users: its subscribers get an event for each granted and failed
authorization, with a code that Qonto does not know. The tests change nothing else. They need
for the stack cloudformation:DescribeStacks and DescribeStackResources;
for its topic sns:Subscribe and Unsubscribe;
and for a queue named subscriber-*, which the tests delete at their end, sqs:CreateQueue,
GetQueueAttributes, SetQueueAttributes, ReceiveMessage, DeleteMessage and DeleteQueue.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import boto3
import httpx2
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from starlette.testclient import TestClient

from demo import gateway, qonto
from demo import template as infra
from demo.local_aws import ministack, subscribe_queue
from demo.template import Json
from tests.e2e import sam
from tests.e2e.deployed_stack import Deployed, Stack, environment_of
from tests.support.slow import slow

# A stack, a function that returns a browser, and clients of SNS and SQS.
type Surroundings = tuple[Stack, Callable[[], httpx2.Client], Json, Json]

STACK_NAME = os.environ.get("STACK_NAME")
LOCAL_STACK = "qonto-connect-e2e"
PARAMETERS = {
    "ClientId": "client-1",
    "ReturnUrls": "https://app.example.com/connected https://app.example.com/back?tab=bank",
    "AppName": "Ledgerly & Söhne",
}


@pytest.fixture(
    scope="session", params=["_in_aws" if STACK_NAME else pytest.param("_local", marks=slow)]
)
def deployed(request: pytest.FixtureRequest) -> Iterator[Deployed]:
    """The deployed stack under test, local or in AWS, with a queue subscribed to its topic."""
    surroundings: Surroundings = request.getfixturevalue(request.param)
    stack, browser, sns, sqs = surroundings
    queue_url, subscription_arn = subscribe_queue(sns, sqs, stack.outputs["TopicArn"])
    redirect_uris = [stack.outputs["RedirectUri"]]
    server = qonto.AuthorizationServer(stack.parameters["ClientId"], "secret", redirect_uris)
    yield Deployed(stack, browser, sqs, queue_url, server)
    sns.unsubscribe(SubscriptionArn=subscription_arn)
    sqs.delete_queue(QueueUrl=queue_url)


@pytest.fixture
def browser(deployed: Deployed) -> Iterator[httpx2.Client]:
    """A browser without cookies, which follows no redirect by itself."""
    with closing(deployed.browser()) as client:
        yield client


@pytest.fixture(scope="session")
def _local(
    packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Surroundings]:
    with ministack() as aws, ExitStack() as stopping:
        sam.deploy(aws, LOCAL_STACK, PARAMETERS, tmp_path_factory.mktemp("build"))
        stack = Stack(aws.cloudformation, LOCAL_STACK)

        def handler(logical_id: str) -> gateway.Handler:
            process = environment_of(aws, stack.resources[logical_id], packages[logical_id])
            stopping.enter_context(process)
            return lambda request, _context: process.invoke(request)

        handlers = {logical_id: handler(logical_id) for logical_id in packages}
        api = gateway.application(gateway.routes(infra.load()), handlers)
        browser = partial(TestClient, api, stack.url, follow_redirects=False)
        yield stack, browser, aws.sns, aws.sqs


@pytest.fixture(scope="session")
def _in_aws() -> Surroundings:
    try:
        stack = Stack(boto3.client("cloudformation"), str(STACK_NAME))
    except (BotoCoreError, ClientError) as error:
        pytest.exit(f"{STACK_NAME} cannot be read: {error} Check name, region and credentials.", 1)
    browser = partial(httpx2.Client, base_url=stack.url, timeout=30, http2=True)
    return stack, browser, boto3.client("sns"), boto3.client("sqs")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line for each test of a stack in AWS, with what it expects."""
    if not STACK_NAME:
        return
    page = (infra.ROOT / "docs" / "first-deploy.md").read_text("utf-8")
    rows = dict(re.findall(r"(?m)^\| `(test_\w+)` \| (.+?) \|", page))
    for outcome, word in {"passed": "ok", "failed": "NOT OK"}.items():
        for report in terminalreporter.getreports(outcome):
            name = report.location[2]
            title = name.removeprefix("test_").replace("_", " ")
            expected = rows.get(name.partition("[")[0], "")
            terminalreporter.line(f"{word:7} {title}: expected {expected}")
