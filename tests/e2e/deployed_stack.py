"""A deployed stack with its outputs, a browser, a subscriber's queue and the mock Qonto."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from starlette.datastructures import FormData

from demo import qonto
from demo import template as infra
from demo.local_aws import subscribe_queue
from demo.template import Json
from tests.contract import delivered
from tests.e2e.report import Report
from tests.infra.resolution import Resolution

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

SECONDS_TO_DELIVER = 20  # the longest wait of one SQS call


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
    def url(self) -> str:
        """The base URL of its routes."""
        return self.outputs["StartUrl"].removesuffix("/start")

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


def describe(cloudformation: "CloudFormationClient", name: str) -> Stack:
    """Return the stack *name* with its parameters, outputs and resources."""
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    return Stack(
        name,
        {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack["Parameters"]},
        {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]},
        {entry["LogicalResourceId"]: entry["PhysicalResourceId"] for entry in resources},
    )


class Queue:
    """A subscriber's queue."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        """Use *sqs* with the queue at *url*."""
        self._sqs = sqs
        self._url = url

    def event(self, **data: str) -> dict[str, Any]:
        """Receive messages until one is an event with *data*, and return that event."""
        while True:
            response = self._sqs.receive_message(
                QueueUrl=self._url,
                WaitTimeSeconds=SECONDS_TO_DELIVER,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            assert "Messages" in response, f"no event with {data}"
            for message in response["Messages"]:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                delivered.check(message)
                event: dict[str, Any] = json.loads(message["Body"])
                if data.items() <= event["data"].items():
                    return event


@contextmanager
def subscribed_queue(sns: "SNSClient", sqs: "SQSClient", topic_arn: str) -> Iterator[Queue]:
    """Subscribe a queue to the topic for as long as the block runs."""
    url, subscription_arn = subscribe_queue(sns, sqs, topic_arn)
    try:
        yield Queue(sqs, url)
    finally:
        sns.unsubscribe(SubscriptionArn=subscription_arn)
        sqs.delete_queue(QueueUrl=url)


class Qonto:
    """The mock Qonto, in place of the server to which the stack redirects users.

    The mock checks a request as Qonto does, and only the mock accepts its codes.
    """

    def __init__(self, stack: Stack) -> None:
        """Register the client of *stack* with its redirect URI."""
        self.server = qonto.AuthorizationServer(
            stack.parameters["ClientId"], "secret", [stack.outputs["RedirectUri"]]
        )

    def decide(self, location: str, decision: str) -> str:
        """Return the callback URL after the user makes *decision* at *location*."""
        query = dict(parse_qsl(urlsplit(location).query, strict_parsing=True))
        login = self.server.begin(query, "browser")
        scopes = [("scope", scope) for scope in login.request.scopes]
        picked = ("organization", qonto.ORGANIZATIONS[0].id)
        try:
            form = FormData([("decision", decision), picked, *scopes])
            return self.server.answer(login, form).location
        except qonto.AuthorizationErrorResponse as response:
            return response.response.location


@dataclass(frozen=True)
class Deployed:
    """A deployed stack and its surroundings.

    Attributes:
        stack: the stack as CloudFormation describes it.
        qonto: the mock Qonto, which handles its authorization requests.
        queue: a subscriber's queue, which receives its events.
        browser: returns a browser without cookies, which follows no redirect by itself.
        client: returns a client of the AWS service with this name.
        report: what the tests see of the stack.
        is_local: whether the stack is in the local AWS, which enforces no policy.

    """

    stack: Stack
    qonto: Qonto
    queue: Queue
    browser: Callable[[], httpx2.Client]
    client: Callable[[str], Json]
    report: Report
    is_local: bool
