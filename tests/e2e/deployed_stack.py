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
from demo.local_aws import subscribe_queue
from tests.contract import delivered

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

SECONDS_TO_DELIVER = 20  # the longest wait of one SQS call


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation describes it.

    Attributes:
        parameters: the parameters of its deployment, defaults included.
        outputs: the values that its operator and its subscribers need.

    """

    parameters: dict[str, str]
    outputs: dict[str, str]

    @property
    def url(self) -> str:
        """The base URL of its routes."""
        return self.outputs["StartUrl"].removesuffix("/start")


def describe(cloudformation: "CloudFormationClient", name: str) -> Stack:
    """Return the stack *name* with its parameters and outputs."""
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return Stack(
        {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack["Parameters"]},
        {entry["OutputKey"]: entry["OutputValue"] for entry in stack["Outputs"]},
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

    """

    stack: Stack
    qonto: Qonto
    queue: Queue
    browser: Callable[[], httpx2.Client]
