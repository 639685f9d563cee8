"""A deployed stack with its outputs, a browser, a subscriber's queue and the mock Qonto."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from starlette.datastructures import FormData

from demo import qonto
from demo.local_aws import LocalAws
from demo.template import Json
from tests.contract import delivered
from tests.support.lambda_runtime import ExecutionEnvironment


class Stack:
    """A stack as CloudFormation describes it, with the physical ids of its resources."""

    def __init__(self, cloudformation: Json, name: str) -> None:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
        found = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.parameters = {it["ParameterKey"]: it["ParameterValue"] for it in stack["Parameters"]}
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
        self.resources = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in found}

    @property
    def url(self) -> str:
        return str(self.outputs["StartUrl"]).removesuffix("/start")


def environment_of(
    aws: LocalAws, function_name: str, package: Path, **environment: str
) -> ExecutionEnvironment:
    """Return a process that runs *package* as the deployed function, with more *environment*."""
    function: Json = aws.awslambda.get_function_configuration(FunctionName=function_name)
    variables = function["Environment"]["Variables"] | environment | aws.client_variables
    return ExecutionEnvironment(package, function["Handler"], variables, function["Timeout"])


@dataclass(frozen=True)
class Deployed:
    """A deployed stack, and the queue of a subscriber.

    *browser* returns a browser without cookies, which follows no redirect by itself. The mock Qonto
    is in place of the server to which the stack redirects users: it checks a request as Qonto does,
    and accepts only its own codes.
    """

    stack: Stack
    browser: Callable[[], httpx2.Client]
    sqs: Json
    queue_url: str
    qonto: qonto.AuthorizationServer

    def decided(self, browser: httpx2.Client, decision: str = "allow") -> str:
        """Start a flow in *browser*; return the callback's URL after the user's *decision*."""
        location = browser.get("/start?context=verify").headers["location"]
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
        queue = {"QueueUrl": self.queue_url}
        names = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
        while True:
            response = self.sqs.receive_message(**queue, **names, WaitTimeSeconds=20)
            assert "Messages" in response, f"no event with {data}"
            [message] = response["Messages"]
            self.sqs.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])
            delivered.check(message)
            event: dict[str, Any] = json.loads(message["Body"])
            if data.items() <= event["data"].items():
                return event
