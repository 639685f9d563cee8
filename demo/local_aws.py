"""An AWS on this machine: DynamoDB, SNS and SQS by ministack, from infra/template.yaml.

Nothing here reads the developer's own AWS settings, and nothing started with
`scrubbed_environment` does: neither demo nor tests can touch a real account.
"""

import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import botocore.session
from botocore.config import Config

from demo import drift
from demo import template as infra
from demo.child import Child
from demo.template import Json, Template

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

REGION = "eu-west-3"
_DATA = ("AWS::DynamoDB::", "AWS::KMS::", "AWS::SNS::")
_NAMED_BY_DATA = ("AWS::IAM::Role",)  # in policies
_NOT_SET = (None, None, None, None)  # botocore: no file, no variable, no default


class ParameterError(ValueError):
    """A parameter that CloudFormation would refuse.

    Attributes:
        name: the parameter's.
        constraint: what the template says of its values.

    """

    def __init__(self, name: str, constraint: str) -> None:
        """Take the parameter's name and the template's words."""
        super().__init__(f"{name}: {constraint}")
        self.name = name
        self.constraint = constraint


@dataclass(frozen=True)
class Stack:
    """What was deployed.

    Attributes:
        table_name: of StateTable.
        topic_arn: of AuthorizationTopic.
        environment: each function's environment variables, by logical id, without those that
            refer to what was not deployed here (the API's address).
        not_honoured: the template's properties that the embedded AWS does not hold.

    """

    table_name: str
    topic_arn: str
    environment: dict[str, dict[str, str]]
    not_honoured: list[str]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def scrubbed_environment(endpoint_url: str) -> dict[str, str]:
    """Return a copy of this process's environment that leads to *endpoint_url* alone.

    Without what could lead elsewhere (profiles, endpoints, credentials, proxies), without the
    functions' own settings and without Powertools'.
    """
    template = infra.load()
    settings = {"CLIENT_SECRET", "OAUTH_BASE_URL", "STAGING_TOKEN"}.union(
        *(
            infra.function(template, logical_id)["Environment"]
            for logical_id in infra.resources(template, "AWS::Serverless::Function")
        )
    )
    return {
        name: value
        for name, value in os.environ.items()
        if not re.match("AWS_|POWERTOOLS_|.*_PROXY$", name, re.IGNORECASE) and name not in settings
    } | {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "localhost,127.0.0.1",  # macOS has proxies outside the environment
    }


def start_ministack(port: int, directory: str, python: str = sys.executable) -> Child:
    """Start ministack on *port*, with all its files in *directory*; *python* has it installed.

    Its environment is its own: some of its variables open ports on every interface, keep data on
    disk, run scripts or reap Docker containers, all of which stay off.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": directory,
        "TMPDIR": directory,
        "STATE_DIR": directory,
        "S3_DATA_DIR": directory,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "LOG_LEVEL": "WARNING",
        "DOCKER_HOST": "unix:///nonexistent",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    return Child(
        "the embedded AWS",
        port,
        "ministack",
        environment=environment,
        quiet=True,
        seconds_to_stop=0,  # it would wait for its long polls, and has nothing to save
        python=python,
    )


@contextmanager
def ministack(port: int | None = None, python: str = sys.executable) -> Iterator["LocalAws"]:
    """Run ministack on *port* (any free one if None) for as long as the block runs.

    With a *python* that has aws-sam-translator, its CloudFormation takes SAM templates.

    Raises:
        ChildError: it did not start.

    """
    port = port or free_port()
    with TemporaryDirectory() as directory, start_ministack(port, directory, python) as child:
        child.wait_until_ready()
        yield LocalAws(f"http://127.0.0.1:{port}")


class LocalAws:
    """Clients of the AWS at one address of this machine, and what the pair needs there."""

    def __init__(self, endpoint_url: str) -> None:
        """Take the address that ministack listens on."""
        self.endpoint_url = endpoint_url
        core = botocore.session.Session(
            session_vars={
                "profile": _NOT_SET,
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        core.set_default_client_config(Config(proxies={}))
        self._session = boto3.Session("local", "local", region_name=REGION, botocore_session=core)

    @cached_property
    def cloudformation(self) -> "CloudFormationClient":
        """A CloudFormation client."""
        return self._session.client("cloudformation", endpoint_url=self.endpoint_url)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """A DynamoDB client."""
        return self._session.client("dynamodb", endpoint_url=self.endpoint_url)

    @cached_property
    def kms(self) -> Json:
        """A KMS client."""
        return self._session.client("kms", endpoint_url=self.endpoint_url)

    @cached_property
    def awslambda(self) -> "LambdaClient":
        """A Lambda client."""
        return self._session.client("lambda", endpoint_url=self.endpoint_url)

    @cached_property
    def sns(self) -> "SNSClient":
        """An SNS client."""
        return self._session.client("sns", endpoint_url=self.endpoint_url)

    @cached_property
    def sqs(self) -> "SQSClient":
        """An SQS client."""
        return self._session.client("sqs", endpoint_url=self.endpoint_url)

    def deploy(self, parameters: Mapping[str, str], template: Template | None = None) -> Stack:
        """Create the template's table and topic, with a name of their own, by CloudFormation.

        Args:
            parameters: the template's parameters; the others have their defaults.
            template: infra/template.yaml's content if None.

        Raises:
            ParameterError: CloudFormation would refuse a parameter.

        """
        template = template or infra.load()
        _check(parameters, template)
        data = infra.resources(template, *_DATA)
        deployed = infra.resources(template, *_DATA, *_NAMED_BY_DATA)
        known = {*deployed, *template["Parameters"]}
        variables = [
            (function, name, value)
            for function in infra.resources(template, "AWS::Serverless::Function")
            for name, value in infra.function(template, function)["Environment"].items()
            if all(it in known or it.startswith("AWS::") for it in infra.references(value))
        ]
        values = [
            {"Ref": "StateTable"},
            {"Ref": "AuthorizationTopic"},
            *(it[2] for it in variables),
        ]
        sections = ("Parameters", "Mappings", "Conditions")
        part = {name: template[name] for name in sections if name in template} | {
            "Resources": deployed,
            "Outputs": {f"Value{index}": {"Value": it} for index, it in enumerate(values)},
        }
        name = f"qonto-connect-{uuid4().hex[:8]}"
        self.cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(part),
            Parameters=[
                {"ParameterKey": key, "ParameterValue": it} for key, it in parameters.items()
            ],
        )
        self.cloudformation.get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 1000}
        )
        outputs = {
            it["OutputKey"]: it["OutputValue"]
            for it in self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
        }
        table_name, topic_arn, *resolved = (
            outputs[f"Value{index}"] for index in range(len(values))
        )

        self.dynamodb.update_time_to_live(  # ministack's CloudFormation leaves it out
            TableName=table_name,
            TimeToLiveSpecification=data["StateTable"]["Properties"]["TimeToLiveSpecification"],
        )
        environment: dict[str, dict[str, str]] = {}
        for (function, variable, _), it in zip(variables, resolved, strict=True):
            environment.setdefault(function, {})[variable] = it
        return Stack(table_name, topic_arn, environment, drift.not_honoured(self, name, data))

    def subscribe_queue(
        self, topic_arn: str, filter_policy: Mapping[str, list[Json]] | None = None
    ) -> str:
        """Return the URL of a new queue that gets, raw, what is published to *topic_arn*."""
        return subscribe_queue(self.sns, self.sqs, topic_arn, filter_policy)[0]


def subscribe_queue(
    sns: "SNSClient",
    sqs: "SQSClient",
    topic_arn: str,
    filter_policy: Mapping[str, list[Json]] | None = None,
) -> tuple[str, str]:
    """Make a queue that gets, raw, what is published to *topic_arn* from now on.

    Returns:
        its URL, and the subscription's ARN.

    """
    url = sqs.create_queue(QueueName=f"subscriber-{uuid4().hex[:8]}")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn = queue["Attributes"]["QueueArn"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    attributes = {"RawMessageDelivery": "true"}
    if filter_policy:
        attributes["FilterPolicy"] = json.dumps(filter_policy)
    subscription = sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=arn,
        Attributes=attributes,
        ReturnSubscriptionArn=True,
    )
    return url, subscription["SubscriptionArn"]


def _check(parameters: Mapping[str, str], template: Template) -> None:
    """Refuse what CloudFormation would: ministack checks no pattern and no length."""
    for name, rules in template["Parameters"].items():
        value = parameters.get(name, rules.get("Default"))
        if (
            value is None
            or not re.fullmatch(rules.get("AllowedPattern", "(?s).*"), str(value))
            or str(value) not in map(str, rules.get("AllowedValues", [value]))
            or not rules.get("MinLength", 0) <= len(str(value)) <= rules.get("MaxLength", 4096)
        ):
            allowed = map(str, rules.get("AllowedValues", []))
            values = f"one of {', '.join(allowed)}" if "AllowedValues" in rules else ""
            raise ParameterError(name, rules.get("ConstraintDescription", values))
