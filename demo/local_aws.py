"""An AWS on this machine, by ministack, from the templates of this project.

Its clients do not read the developer's own AWS settings: they cannot reach a real account.
"""

import json
import os
import random
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import botocore.session
from botocore.config import Config

from demo import guard
from demo import template as infra
from demo.template import Json, Template

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

REGION: str = guard.SERVERS["aws"]["environment"]["MINISTACK_REGION"]
# Without AWS::SecretsManager::ResourcePolicy, which ministack's CloudFormation does not have.
_DATA = ("AWS::DynamoDB::", "AWS::KMS::", "AWS::SecretsManager::Secret", "AWS::SNS::", "AWS::SQS::")
_NO_VALUE = "AWS::NoValue"
_NO_FILE = (None, None, os.devnull, None)  # botocore: no setting, no variable, a default


@dataclass(eq=False)
class ParameterError(ValueError):
    """The parameter *name* breaks the template's *constraint*: CloudFormation would refuse it."""

    name: str
    constraint: str


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    resources: dict[str, str]  # the ``!Ref`` of each, by logical id
    # Of each function, by logical id, without those that refer to what is not deployed here.
    environment: dict[str, dict[str, str]]

    @property
    def table_name(self) -> str:
        """The connector's table of states."""
        return self.resources["StateTable"]

    @property
    def topic_arn(self) -> str:
        """The connector's topic."""
        return self.resources["AuthorizationTopic"]


def free_port(ports: int = 1) -> int:
    """Return the first of a number of consecutive free *ports* of 127.0.0.1."""
    while True:  # below the ports that the system gives to outgoing connections
        first = random.randrange(10_000, 30_000)  # noqa: S311 - no secret
        with ExitStack() as listening, suppress(OSError):
            for port in range(first, first + ports):
                listening.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def scrubbed_environment(endpoint_url: str, access_key: str) -> dict[str, str]:
    """Return the variables of a process that is a client of *endpoint_url* alone."""
    kept = "HOME|LANG|LC_.*|PATH|PYTHON.*|SSL_CERT_(DIR|FILE)|TERM|TMPDIR|TZ"
    environment = {name: value for name, value in os.environ.items() if re.fullmatch(kept, name)}
    environment |= dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), REGION)
    environment |= dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return environment | {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "localhost,127.0.0.1",  # macOS has proxies outside the environment
    }


@contextmanager
def ministack(url: str = "", directory: str = "") -> Iterator["LocalAws"]:
    """Run ministack at *url*, or on a free port, for as long as the block runs."""
    url = url or f"http://127.0.0.1:{free_port()}"
    access_key = f"local-{secrets.token_hex(20)}"  # ministack reads twelve digits as an account's
    with TemporaryDirectory() as own:
        names = {"aws": url, "access_key": access_key, "directory": directory or own}
        with guard.serve("aws", {}, names) as process:
            process.wait_until_ready()
            yield LocalAws(url, access_key)


def _client(service: str) -> Any:  # noqa: ANN401 - of the type that the attribute has
    """Return the property of `LocalAws` that is a client of *service*."""
    return cached_property(lambda aws: aws.session.client(service, endpoint_url=aws.endpoint_url))


class LocalAws:
    """Clients of the AWS at one address of this machine, and the connector's stacks there."""

    awslambda: "LambdaClient" = _client("lambda")
    cloudformation: Json = _client("cloudformation")
    dynamodb: "DynamoDBClient" = _client("dynamodb")
    kms: Json = _client("kms")
    secrets: "SecretsManagerClient" = _client("secretsmanager")
    sns: "SNSClient" = _client("sns")
    sqs: "SQSClient" = _client("sqs")

    def __init__(self, endpoint_url: str, access_key: str) -> None:
        """Use the ministack that listens at *endpoint_url* and accepts *access_key*."""
        self.endpoint_url, self.access_key = endpoint_url, access_key
        settings = {"config_file": _NO_FILE, "credentials_file": _NO_FILE, "profile": (None,) * 4}
        core = botocore.session.Session(session_vars=settings)
        core.set_default_client_config(Config(proxies={}))
        self.session = boto3.Session(access_key, "local", region_name=REGION, botocore_session=core)

    @property
    def client_variables(self) -> dict[str, str]:
        """The variables that make a process which AWS Lambda started a client of this AWS."""
        return {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_ACCESS_KEY_ID": self.access_key}

    def environment(self, endpoint_url: str | None = None) -> dict[str, str]:
        """Return the variables of a client of this AWS, at *endpoint_url* if it is given."""
        return scrubbed_environment(endpoint_url or self.endpoint_url, self.access_key)

    def deploy(self, parameters: Mapping[str, str], template: Template | None = None) -> Stack:
        """Create the data resources of a template, the connector's if no other is given."""
        template = template or infra.load()
        _check(parameters, template)
        data = infra.resources(template, *_DATA)
        roles = infra.resources(template, "AWS::IAM::Role")  # in policies
        known = {**data, **roles, **template["Parameters"]}
        variables = {
            f"{function}.{variable}": {"Value": value}
            for function in infra.resources(template, "AWS::Serverless::Function")
            for variable, value in infra.function(template, function)["Environment"].items()
            if all(name in known or name.startswith("AWS::") for name in infra.references(value))
        }
        # An output cannot have AWS::NoValue as a variable can.
        outputs = json.dumps(variables).replace(json.dumps({"Ref": _NO_VALUE}), f'"{_NO_VALUE}"')
        part = {name: template.get(name, {}) for name in ("Parameters", "Mappings", "Conditions")}
        part |= {"Resources": data | roles, "Outputs": json.loads(outputs)}
        given = [{"ParameterKey": name, "ParameterValue": it} for name, it in parameters.items()]
        stack = {"StackName": f"qonto-connect-{uuid4().hex[:8]}"}
        aws = self.cloudformation
        aws.create_stack(**stack, TemplateBody=json.dumps(part), Parameters=given)
        often = {"Delay": 0, "MaxAttempts": 1000}
        aws.get_waiter("stack_create_complete").wait(**stack, WaiterConfig=often)
        created = aws.describe_stack_resources(**stack)["StackResources"]
        ids = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in created}
        for name, table in infra.resources(template, "AWS::DynamoDB::Table").items():
            ttl = table["Properties"]["TimeToLiveSpecification"]  # ministack leaves it out
            self.dynamodb.update_time_to_live(TableName=ids[name], TimeToLiveSpecification=ttl)
        environment: dict[str, dict[str, str]] = {}
        for output in aws.describe_stacks(**stack)["Stacks"][0]["Outputs"]:
            function, _, variable = output["OutputKey"].partition(".")
            if output["OutputValue"] != _NO_VALUE:
                environment.setdefault(function, {})[variable] = output["OutputValue"]
        return Stack(ids, environment)

    def subscribe_queue(self, topic_arn: str, *, raw: bool = True) -> str:
        """Return the URL of a new queue that receives what is published to *topic_arn*."""
        return subscribe_queue(self.sns, self.sqs, topic_arn, raw=raw)[0]


def subscribe_queue(
    sns: "SNSClient", sqs: "SQSClient", topic_arn: str, *, raw: bool = True
) -> tuple[str, str]:
    """Subscribe a new queue to *topic_arn*; return its URL, and the subscription's ARN."""
    url = sqs.create_queue(QueueName=f"subscriber-{uuid4().hex[:8]}")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    allow: Json = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}}
    allow |= {"Action": "sqs:SendMessage", "Resource": queue["QueueArn"]}
    allow["Condition"] = {"ArnEquals": {"aws:SourceArn": topic_arn}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    subscription = sns.subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=queue["QueueArn"],
        Attributes={"RawMessageDelivery": str(raw).lower()},
        ReturnSubscriptionArn=True,
    )
    return url, subscription["SubscriptionArn"]


def _check(parameters: Mapping[str, str], template: Template) -> None:
    """Refuse what CloudFormation would: ministack checks no pattern and no length."""
    for name, rules in template["Parameters"].items():
        value = str(parameters.get(name, rules.get("Default")))
        allowed = [str(each) for each in rules.get("AllowedValues", [value])]
        if (
            (name not in parameters and "Default" not in rules)
            or not re.fullmatch(rules.get("AllowedPattern", "(?s).*"), value)
            or value not in allowed
            or not rules.get("MinLength", 0) <= len(value) <= rules.get("MaxLength", 4096)
        ):
            values = f"one of {', '.join(allowed)}"
            raise ParameterError(name, rules.get("ConstraintDescription", values))
