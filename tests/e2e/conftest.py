"""Tests of a deployed stack: one that `sam deploy` creates locally, and one in AWS on demand.

The local stack is in the local AWS. Its functions run from packages built for this machine, with
the variables of the deployed functions. `make test` never tests a stack in AWS. To test one, set
STACK_NAME and use the credentials and the region of the shell:

    STACK_NAME=qonto-connect-staging .venv/bin/pytest tests/e2e

Never name a stack that has users: its subscribers get an event for each granted and failed
authorization, with a code that Qonto does not know. The tests need cloudformation:DescribeStacks
for the stack, sns:Subscribe and sns:Unsubscribe for its topic, and sqs:CreateQueue,
GetQueueAttributes, SetQueueAttributes, ReceiveMessage, DeleteMessage and DeleteQueue for a queue
named subscriber-*, which the tests delete at their end.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import boto3
import httpx2
import pytest
from starlette.testclient import TestClient

from demo import gateway
from demo import template as infra
from demo.local_aws import ministack
from demo.template import Json
from tests.e2e import sam
from tests.e2e.deployed_stack import Deployed, Qonto, describe, subscribed_queue
from tests.lambda_runtime import ExecutionEnvironment
from tests.slow import slow

LOCAL_STACK = "qonto-connect-e2e"
PARAMETERS = {
    "ClientId": "client-1",
    "ReturnUrls": "https://app.example.com/connected https://app.example.com/back?tab=bank",
    "AppName": "Ledgerly & Söhne",
}


@pytest.fixture(scope="session", params=[pytest.param("local", marks=slow), "aws"])
def deployed(request: pytest.FixtureRequest) -> Deployed:
    """The deployed stack under test, local or in AWS."""
    stack: Deployed = request.getfixturevalue(f"_deployed_{request.param}")
    return stack


@pytest.fixture
def browser(deployed: Deployed) -> Iterator[httpx2.Client]:
    """A browser without cookies, which follows no redirect by itself."""
    with closing(deployed.browser()) as client:
        yield client


@pytest.fixture(scope="session")
def _deployed_local(
    packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    if not sam.SAM.exists():
        pytest.skip("needs the SAM CLI: run `make build` once")
    with ExitStack() as stopping:
        aws = stopping.enter_context(ministack())
        sam.deploy(aws, LOCAL_STACK, PARAMETERS, tmp_path_factory.mktemp("build"))
        stack = describe(aws.cloudformation, LOCAL_STACK)
        queue = subscribed_queue(aws.sns, aws.sqs, stack.outputs["TopicArn"])

        def start_function(logical_id: str) -> gateway.Handler:
            resource = aws.cloudformation.describe_stack_resource(
                StackName=LOCAL_STACK, LogicalResourceId=logical_id
            )["StackResourceDetail"]
            function = aws.awslambda.get_function_configuration(
                FunctionName=resource["PhysicalResourceId"]
            )
            variables = function["Environment"]["Variables"]
            process = ExecutionEnvironment(
                packages[logical_id],
                function["Handler"],
                variables | aws.client_variables,
                name=function["FunctionName"],
                timeout=function["Timeout"],
                memory_size=function["MemorySize"],
            )
            stopping.enter_context(process)

            def handler(request: dict[str, Json], _context: gateway.LambdaContext) -> Json:
                return process.invoke(request)

            return handler

        api = gateway.application(
            gateway.routes(infra.load()),
            {logical_id: start_function(logical_id) for logical_id in packages},
        )
        yield Deployed(
            stack,
            Qonto(stack),
            stopping.enter_context(queue),
            lambda: TestClient(api, stack.url, follow_redirects=False),
        )


@pytest.fixture(scope="session")
def _deployed_aws() -> Iterator[Deployed]:
    if not os.environ.get("STACK_NAME"):
        pytest.skip("tests a stack in AWS if STACK_NAME names one: see tests/e2e/conftest.py")
    stack = describe(boto3.client("cloudformation"), os.environ["STACK_NAME"])
    with subscribed_queue(
        boto3.client("sns"), boto3.client("sqs"), stack.outputs["TopicArn"]
    ) as queue:
        yield Deployed(
            stack, Qonto(stack), queue, lambda: httpx2.Client(base_url=stack.url, timeout=30)
        )
