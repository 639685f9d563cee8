"""Tests of a deployed stack: one that `sam deploy` creates locally, and one in AWS on demand.

The local stack is in the local AWS. Its functions run from packages built for this machine, with
the variables of the deployed functions. `make test` never tests a stack in AWS. To test one, set
STACK_NAME and use the credentials and the region of the shell:

    STACK_NAME=qonto-connect-staging .venv/bin/pytest tests/e2e

The run ends with a report to paste into an issue, which docs/first-deploy.md explains; a test with
`@pytest.mark.point` records what it sees of that point.

Never name a stack that has users: its subscribers get an event for each granted and failed
authorization, with a code that Qonto does not know. The tests change nothing else. They need
for the stack cloudformation:DescribeStacks and DescribeStackResources;
for its topic sns:Subscribe, Unsubscribe and GetTopicAttributes;
for a queue named subscriber-*, which the tests delete at their end, sqs:CreateQueue,
GetQueueAttributes, SetQueueAttributes, ReceiveMessage, DeleteMessage and DeleteQueue;
for its table dynamodb:DescribeTimeToLive, GetResourcePolicy and GetItem, which the table denies;
and apigateway:GET for its stage, logs:DescribeLogGroups and cloudwatch:DescribeAlarms. A point
without its permission is unproven.
"""

import json
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import cast

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError
from starlette.testclient import TestClient

from demo import gateway
from demo import template as infra
from demo.local_aws import ministack
from demo.template import Json
from tests.e2e import sam
from tests.e2e.deployed_stack import Deployed, Stack, describe, environment_of, observed
from tests.e2e.report import Report
from tests.slow import slow

LOCAL_STACK = "qonto-connect-e2e"
PARAMETERS = {
    "ClientId": "client-1",
    "ReturnUrls": "https://app.example.com/connected https://app.example.com/back?tab=bank",
    "AppName": "Ledgerly & Söhne",
}
REPORTS = pytest.StashKey[list[Report]]()


@pytest.fixture(
    scope="session",
    params=[pytest.param("local", marks=slow), *(["aws"] if "STACK_NAME" in os.environ else [])],
)
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """The deployed stack under test, local or in AWS."""
    stack: Deployed = request.getfixturevalue(f"_deployed_{request.param}")
    request.config.stash.setdefault(REPORTS, []).append(stack.report)
    return stack


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """A function that adds a text to the report, for the point of the test."""
    return lambda text: record_property("seen", text)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of the tests that the report has rows for."""
    config.addinivalue_line("markers", "point(title): a row of the report on a deployed stack")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record the outcome of a test with a point, and what it has seen."""
    result = yield
    point = item.get_closest_marker("point")
    if point and call.when == "call":
        outcome: str = result.outcome
        texts = [str(text) for name, text in item.user_properties if name == "seen"]
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, ClientError):
            texts.append(error.response["Error"]["Code"])
            if re.search("AccessDenied|Authoriz", texts[-1]):  # the caller lacks a permission
                outcome = "skipped"
        elif isinstance(error, pytest.skip.Exception):
            texts.append(str(error))
        elif error and not isinstance(error, AssertionError):
            texts.append(type(error).__name__)
        deployed = cast("Deployed", item.funcargs["deployed"])
        deployed.report.record(point.args[0], outcome, *texts)
    return result


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print each report, and the file that holds it."""
    for report in config.stash.get(REPORTS, []):
        terminalreporter.section(f"report, also in {report.write()}")
        terminalreporter.write(report.markdown())


@pytest.fixture
def browser(deployed: Deployed) -> Iterator[httpx2.Client]:
    """A browser without cookies, which follows no redirect by itself."""
    with closing(deployed.browser()) as client:
        yield client


@pytest.fixture(scope="session")
def _deployed_local(
    packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with ExitStack() as stopping:
        aws = stopping.enter_context(ministack())
        sam.deploy(aws, LOCAL_STACK, PARAMETERS, tmp_path_factory.mktemp("build"))
        stack = describe(aws.cloudformation, LOCAL_STACK)

        def client(service: str) -> Json:
            session: Json = aws.session
            return session.client(service, endpoint_url=aws.endpoint_url)

        def handler(logical_id: str) -> gateway.Handler:
            process = environment_of(aws, stack.resources[logical_id], packages[logical_id])
            stopping.enter_context(process)
            return lambda request, _context: process.invoke(request)

        _complete(client, stack)
        handlers = {logical_id: handler(logical_id) for logical_id in packages}
        api = gateway.application(gateway.routes(infra.load()), handlers)
        url = stack.outputs["StartUrl"].removesuffix("/start")
        browser = partial(TestClient, api, url, follow_redirects=False)
        yield stopping.enter_context(observed(stack, browser, client, is_local=True))


def _complete(client: Callable[[str], Json], stack: Stack) -> None:
    """Set what ministack's CloudFormation leaves out, as the template has it."""
    table, stage = stack.properties("StateTable"), stack.properties("HttpApiStage")
    client("dynamodb").update_time_to_live(
        TableName=stack.outputs["TableName"],
        TimeToLiveSpecification=table["TimeToLiveSpecification"],
    )
    client("dynamodb").put_resource_policy(
        ResourceArn=stack.table_arn, Policy=json.dumps(table["ResourcePolicy"]["PolicyDocument"])
    )
    default, *routes = (
        {name: int(value) for name, value in settings.items()}
        for settings in (stage["DefaultRouteSettings"], *stage["RouteSettings"].values())
    )
    client("apigatewayv2").update_stage(
        ApiId=stack.resources["HttpApi"],
        StageName=stage["StageName"],
        DefaultRouteSettings=default,
        RouteSettings=dict(zip(stage["RouteSettings"], routes, strict=True)),
    )


@pytest.fixture(scope="session")
def _deployed_aws() -> Iterator[Deployed]:
    stack = describe(boto3.client("cloudformation"), os.environ["STACK_NAME"])
    url = stack.outputs["StartUrl"].removesuffix("/start")
    browser = partial(httpx2.Client, base_url=url, timeout=30, http2=True)
    session: Json = boto3.Session()
    with observed(stack, browser, session.client, is_local=False) as deployed:
        yield deployed
