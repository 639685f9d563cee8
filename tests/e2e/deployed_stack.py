"""A deployed stack as the outside meets it: its outputs, a browser, a subscriber's queue, Qonto."""

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

SECONDS_TO_DELIVER = 20  # what SQS waits at most, in one go


@dataclass(frozen=True)
class Stack:
    """What CloudFormation says of a stack.

    Attributes:
        parameters: what it was deployed with, defaults included.
        outputs: what its deployer and its subscribers need.

    """

    parameters: dict[str, str]
    outputs: dict[str, str]

    @property
    def url(self) -> str:
        """Where its routes are."""
        return self.outputs["StartUrl"].removesuffix("/start")


def describe(cloudformation: "CloudFormationClient", name: str) -> Stack:
    """Ask for the stack *name*."""
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return Stack(
        {it["ParameterKey"]: it["ParameterValue"] for it in stack["Parameters"]},
        {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]},
    )


class Queue:
    """A subscriber's queue."""

    def __init__(self, sqs: "SQSClient", url: str) -> None:
        """Take a client and where the queue is."""
        self._sqs = sqs
        self._url = url

    def event(self, **data: str) -> dict[str, Any]:
        """Wait for the event that has *data*, and return it; others may come between."""
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
    """The stand-in, in place of the server that the stack sends people to.

    It checks a request as Qonto does, and its codes are good at itself alone.
    """

    def __init__(self, stack: Stack) -> None:
        """Know the stack's client, with the redirection URI that its deployer registers."""
        self.server = qonto.AuthorizationServer(
            stack.parameters["ClientId"], "secret", [stack.outputs["RedirectUri"]]
        )

    def decide(self, location: str, decision: str) -> str:
        """Return where a person is sent who was sent to *location* and made a *decision*."""
        query = dict(parse_qsl(urlsplit(location).query, strict_parsing=True))
        login = self.server.begin(query, "browser")
        scopes = [("scope", scope) for scope in login.request.scopes]
        picked = ("organization", qonto.ORGANIZATIONS[0].id)
        try:
            form = FormData([("decision", decision), picked, *scopes])
            return self.server.answer(login, form)
        except qonto.AuthorizationErrorResponse as refused:
            return refused.location


@dataclass(frozen=True)
class Deployed:
    """All of it together.

    Attributes:
        stack: what was deployed.
        qonto: who answers its requests.
        queue: who gets its events.
        browser: returns one that was never here before, and follows no redirect by itself.

    """

    stack: Stack
    qonto: Qonto
    queue: Queue
    browser: Callable[[], httpx2.Client]
