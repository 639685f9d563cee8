"""An AWS on this machine: DynamoDB, SNS and SQS by ministack, from the templates of this project.

Nothing here reads the developer's own AWS settings, and nothing started with
`scrubbed_environment` does: neither demo nor tests can touch a real account.
"""

import json
import os
import random
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import botocore.session
from botocore.config import Config

from demo import clock, drift, guard
from demo import template as infra
from demo.child import Child, server
from demo.template import Json, Template

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

REGION = "eu-west-3"
# Without AWS::SecretsManager::ResourcePolicy, which ministack's CloudFormation does not have.
_DATA = ("AWS::DynamoDB::", "AWS::KMS::", "AWS::SecretsManager::Secret", "AWS::SNS::", "AWS::SQS::")
_NAMED_BY_DATA = ("AWS::IAM::Role",)  # in policies
# What the templates' resources and `sam deploy` need.
_SERVICES = (
    *("apigateway", "cloudformation", "dynamodb", "events", "iam", "kms", "lambda", "logs"),
    *("monitoring", "s3", "secretsmanager", "sns", "sqs", "sts"),
)
_NO_VALUE = "AWS::NoValue"
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
        resources: what ``!Ref`` gives of each resource that needs no condition, by logical id.
        environment: each function's environment variables, by logical id, without those that
            refer to what was not deployed here (the API's address).
        not_honoured: the template's properties that the local AWS does not hold.

    """

    resources: dict[str, str]
    environment: dict[str, dict[str, str]]
    not_honoured: list[str]

    @property
    def table_name(self) -> str:
        """The pair's table of states."""
        return self.resources["StateTable"]

    @property
    def topic_arn(self) -> str:
        """The pair's topic."""
        return self.resources["AuthorizationTopic"]


def free_port(ports: int = 1) -> int:
    """Return the first of so many *ports* in a row of 127.0.0.1 on which nothing listens.

    They lie below those that the system gives to outgoing connections, which could take one of them
    before its server does.
    """
    while True:
        first = random.randrange(10_000, 30_000)  # noqa: S311 - no secret
        with ExitStack() as listening, suppress(OSError):
            for port in range(first, first + ports):
                listening.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def scrubbed_environment(endpoint_url: str, access_key: str) -> dict[str, str]:
    """Return a copy of this process's environment that leads to *endpoint_url* alone.

    Without what could lead elsewhere (profiles, endpoints, credentials, proxies), without the
    functions' own settings and without Powertools'. The local AWS takes no other *access_key*.
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
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "localhost,127.0.0.1",  # macOS has proxies outside the environment
    }


def start_ministack(port: int, directory: str, access_key: str) -> Child:
    """Start ministack behind its guard on *port*, with all its files in *directory*.

    Its environment is its own: some of its variables open ports on every interface, keep data on
    disk, run scripts or reap Docker containers, all of which stay off. It has the services that
    this project uses and no others, and executes no function.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": directory,
        "TMPDIR": directory,
        "STATE_DIR": directory,
        "S3_DATA_DIR": directory,
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "SERVICES": ",".join(_SERVICES),
        "LAMBDA_STRICT": "1",  # a function would take Docker …
        "DOCKER_HOST": "unix:///nonexistent",  # … which is not to be found
        "LOG_LEVEL": "WARNING",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        guard.ACCESS_KEY: access_key,
        clock.VARIABLE: clock.file_in(directory),
    }
    return Child(
        "the local AWS",
        port,
        *server("demo.guard:create_local_aws", port, "--timeout-keep-alive", "75"),
        environment=environment,
        quiet=True,
        seconds_to_stop=0,  # it would wait for its long polls, and has nothing to save
    )


@contextmanager
def ministack() -> Iterator["LocalAws"]:
    """Run ministack on a free port for as long as the block runs.

    Raises:
        ChildError: it did not start.

    """
    port, access_key = free_port(), guard.new_access_key()
    with TemporaryDirectory() as directory, start_ministack(port, directory, access_key) as child:
        child.wait_until_ready()
        yield LocalAws(f"http://127.0.0.1:{port}", access_key)


class LocalAws:
    """Clients of the AWS at one address of this machine, and what the pair needs there."""

    def __init__(self, endpoint_url: str, access_key: str) -> None:
        """Take the address that ministack listens on, and the access key ID that it takes."""
        self.endpoint_url = endpoint_url
        self.access_key = access_key
        core = botocore.session.Session(
            session_vars={
                "profile": _NOT_SET,
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        core.set_default_client_config(Config(proxies={}))
        self.session = boto3.Session(access_key, "local", region_name=REGION, botocore_session=core)

    @property
    def client_variables(self) -> dict[str, str]:
        """What makes a process that AWS Lambda started a client of this AWS."""
        return {"AWS_ENDPOINT_URL": self.endpoint_url, "AWS_ACCESS_KEY_ID": self.access_key}

    def environment(self, endpoint_url: str | None = None) -> dict[str, str]:
        """Return what a process needs to be this AWS's client, by *endpoint_url* if it is given."""
        return scrubbed_environment(endpoint_url or self.endpoint_url, self.access_key)

    @cached_property
    def cloudformation(self) -> "CloudFormationClient":
        """A CloudFormation client."""
        return self.session.client("cloudformation", endpoint_url=self.endpoint_url)

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """A DynamoDB client."""
        return self.session.client("dynamodb", endpoint_url=self.endpoint_url)

    @cached_property
    def kms(self) -> Json:
        """A KMS client."""
        return self.session.client("kms", endpoint_url=self.endpoint_url)

    @cached_property
    def awslambda(self) -> "LambdaClient":
        """A Lambda client."""
        return self.session.client("lambda", endpoint_url=self.endpoint_url)

    @cached_property
    def secrets(self) -> "SecretsManagerClient":
        """A Secrets Manager client."""
        return self.session.client("secretsmanager", endpoint_url=self.endpoint_url)

    @cached_property
    def sns(self) -> "SNSClient":
        """An SNS client."""
        return self.session.client("sns", endpoint_url=self.endpoint_url)

    @cached_property
    def sqs(self) -> "SQSClient":
        """An SQS client."""
        return self.session.client("sqs", endpoint_url=self.endpoint_url)

    def deploy(self, parameters: Mapping[str, str], template: Template | None = None) -> Stack:
        """Create what the template stores data in, with names of their own, by CloudFormation.

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
        always = [it for it, resource in data.items() if "Condition" not in resource]
        values = [*({"Ref": it} for it in always), *(it[2] for it in variables)]
        sections = ("Parameters", "Mappings", "Conditions")
        part = {name: template[name] for name in sections if name in template} | {
            "Resources": deployed,
            "Outputs": {f"Value{index}": {"Value": _output(it)} for index, it in enumerate(values)},
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
        resolved = [outputs[f"Value{index}"] for index in range(len(values))]
        references = dict(zip(always, resolved, strict=False))

        for logical_id in infra.resources(template, "AWS::DynamoDB::Table"):
            self.dynamodb.update_time_to_live(  # ministack's CloudFormation leaves it out
                TableName=references[logical_id],
                TimeToLiveSpecification=data[logical_id]["Properties"]["TimeToLiveSpecification"],
            )
        environment: dict[str, dict[str, str]] = {}
        for (function, variable, _), it in zip(variables, resolved[len(always) :], strict=True):
            if it != _NO_VALUE:
                environment.setdefault(function, {})[variable] = it
        return Stack(references, environment, drift.not_honoured(self, name, data))

    def subscribe_queue(
        self,
        topic_arn: str,
        filter_policy: Mapping[str, list[Json]] | None = None,
        *,
        raw: bool = True,
    ) -> str:
        """Return the URL of a new queue that gets what is published to *topic_arn*."""
        return subscribe_queue(self.sns, self.sqs, topic_arn, filter_policy, raw=raw)[0]


def subscribe_queue(
    sns: "SNSClient",
    sqs: "SQSClient",
    topic_arn: str,
    filter_policy: Mapping[str, list[Json]] | None = None,
    *,
    raw: bool = True,
) -> tuple[str, str]:
    """Make a queue that gets what is published to *topic_arn* from now on.

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
    attributes = {"RawMessageDelivery": str(raw).lower()}
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


def _output(value: Json) -> Json:
    """Return *value* for an output, which cannot have AWS::NoValue as a variable can."""
    no_value = json.dumps({"Ref": _NO_VALUE})
    return json.loads(json.dumps(value).replace(no_value, json.dumps(_NO_VALUE)))


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
