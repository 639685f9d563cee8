"""A deployed stack with its outputs, a browser, a subscriber's queue and the mock Qonto."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from starlette.datastructures import FormData

from demo import qonto
from demo import template as infra
from demo.local_aws import LocalAws, subscribe_queue
from demo.template import Json
from tests.contract import delivered
from tests.e2e.report import Report
from tests.infra.resolution import Resolution
from tests.lambda_runtime import ExecutionEnvironment


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation describes it.

    Attributes:
        name: its name.
        parameters: the parameters of its deployment, defaults included.
        outputs: the values that its operator and its subscribers need.
        resources: the physical id of each resource, by logical id.

    """

    name: str
    parameters: dict[str, str]
    outputs: dict[str, str]
    resources: dict[str, str]

    @property
    def account(self) -> dict[str, str]:
        """The partition, the region and the account id of the connector's topic."""
        _, partition, _, region, account_id, _ = self.outputs["TopicArn"].split(":")
        return {"Partition": partition, "Region": region, "AccountId": account_id}

    def properties(self, logical_id: str) -> Json:
        """Return the template's properties of a resource, as CloudFormation resolves them."""
        pseudo = self.account | {"StackName": self.name}
        pseudo = {f"AWS::{name}": value for name, value in pseudo.items()}
        resolution = Resolution(infra.load(), **self.parameters, **pseudo)
        text = json.dumps(resolution.resources[logical_id]["Properties"])
        for name, physical_id in self.resources.items():
            role = "arn:{Partition}:iam::{AccountId}:role/".format_map(self.account) + physical_id
            text = text.replace(f'"{name}.Arn"', f'"{role}"')
            text = text.replace(f'"{name}"', f'"{physical_id}"')
        return json.loads(text)

    @property
    def table_arn(self) -> str:
        """The ARN of the connector's table."""
        place = "arn:{Partition}:dynamodb:{Region}:{AccountId}:table/".format_map(self.account)
        return place + self.outputs["TableName"]


def describe(cloudformation: Json, name: str) -> Stack:
    """Return the stack *name* with its parameters, outputs and resources."""
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    return Stack(
        name,
        {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack["Parameters"]},
        {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]},
        {entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in resources},
    )


def environment_of(
    aws: LocalAws, function_name: str, package: Path, **environment: str
) -> ExecutionEnvironment:
    """Return a process that runs *package* as the deployed function, with more *environment*."""
    function: Json = aws.awslambda.get_function_configuration(FunctionName=function_name)
    return ExecutionEnvironment(
        package,
        function["Handler"],
        function["Environment"]["Variables"] | environment | aws.client_variables,
        name=function["FunctionName"],
        timeout=function["Timeout"],
        memory_size=function["MemorySize"],
    )


@dataclass(frozen=True)
class Deployed:
    """A deployed stack and its surroundings.

    Attributes:
        stack: the stack as CloudFormation describes it.
        browser: returns a browser without cookies, which follows no redirect by itself.
        client: returns a client of the AWS service with this name.
        queue_url: the URL of a subscriber's queue, which receives its events.
        qonto: the mock Qonto, in place of the server to which the stack redirects users. It checks
            a request as Qonto does, and accepts only its own codes.
        report: what the tests see of the stack.
        is_local: whether the stack is in the local AWS, which enforces no policy.

    """

    stack: Stack
    browser: Callable[[], httpx2.Client]
    client: Callable[[str], Json]
    queue_url: str
    qonto: qonto.AuthorizationServer
    report: Report
    is_local: bool

    def decide(self, location: str, decision: str) -> str:
        """Return the callback URL after the user makes *decision* at *location*."""
        query = dict(parse_qsl(urlsplit(location).query, strict_parsing=True))
        login = self.qonto.begin(query, "browser")
        scopes = [("scope", scope) for scope in login.scopes]
        picked = ("organization", qonto.ORGANIZATIONS[0].id)
        try:
            form = FormData([("decision", decision), picked, *scopes])
            return self.qonto.decide(login, form).location
        except qonto.AuthorizationErrorResponse as response:
            return response.response.location

    def event(self, **data: str) -> dict[str, Any]:
        """Receive messages until one is an event with *data*, and return that event."""
        sqs, queue = self.client("sqs"), {"QueueUrl": self.queue_url}
        names = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
        while True:
            response = sqs.receive_message(**queue, **names, WaitTimeSeconds=20)
            assert "Messages" in response, f"no event with {data}"
            [message] = response["Messages"]
            sqs.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])
            delivered.check(message)
            event: dict[str, Any] = json.loads(message["Body"])
            if data.items() <= event["data"].items():
                return event


@contextmanager
def observed(
    stack: Stack,
    browser: Callable[[], httpx2.Client],
    client: Callable[[str], Json],
    *,
    is_local: bool,
) -> Iterator[Deployed]:
    """Subscribe a queue to the topic of *stack* for as long as the block runs."""
    sns, sqs = client("sns"), client("sqs")
    url, subscription_arn = subscribe_queue(sns, sqs, stack.outputs["TopicArn"])
    redirect_uris = [stack.outputs["RedirectUri"]]
    server = qonto.AuthorizationServer(stack.parameters["ClientId"], "secret", redirect_uris)
    report = Report(stack.name, stack.account["Region"])
    try:
        yield Deployed(stack, browser, client, url, server, report, is_local)
    finally:
        sns.unsubscribe(SubscriptionArn=subscription_arn)
        sqs.delete_queue(QueueUrl=url)
