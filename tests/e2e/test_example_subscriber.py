"""The example subscriber, as `sam build` packs it and `sam deploy` creates it in the local AWS."""

import base64
import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo import event_source
from demo.live import EXAMPLE
from demo.local_aws import LocalAws, ministack
from demo.template import Json
from tests.e2e import sam
from tests.e2e.deployed_stack import describe
from tests.integration.subscription import (
    CLIENT_ID,
    SECRET,
    MockQonto,
    confirmation_of,
    granted,
    publish,
)
from tests.lambda_runtime import ExecutionEnvironment
from tests.packages import ARCHITECTURE
from tests.slow import slow

pytestmark = slow

STACK = "qonto-subscriber"
ROLE = "arn:aws:iam::000000000000:role"


@dataclass(frozen=True)
class Deployed:
    """The deployed stack.

    Attributes:
        aws: the local AWS.
        topic_arn: a topic in place of the connector's.
        outputs: the outputs of the stack.
        functions: the configuration of each function, by logical id.
        package: the code that was deployed, as a ZIP archive.

    """

    aws: LocalAws
    topic_arn: str
    outputs: dict[str, str]
    functions: dict[str, Json]
    package: bytes = field(repr=False)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Build the example for this machine's processor, and deploy it."""
    if not sam.SAM.exists():
        pytest.skip("needs the SAM CLI: run `make build` once")
    folder = tmp_path_factory.mktemp("example") / "subscriber"
    shutil.copytree(EXAMPLE.parent, folder)
    template = folder / EXAMPLE.name
    template.write_text(template.read_text("utf-8").replace("arm64", ARCHITECTURE), "utf-8")
    with ministack() as aws:
        topic_arn = aws.sns.create_topic(Name="authorizations")["TopicArn"]
        parameters = {
            "TopicArn": topic_arn,
            "ClientId": CLIENT_ID,
            "AppRoleArn": f"{ROLE}/app",
            "TokenReaderRoleArn": f"{ROLE}/reader",
            "OperatorRoleArn": f"{ROLE}/operator",
            "AlarmTopicArn": aws.sns.create_topic(Name="on-call")["TopicArn"],
        }
        sam.deploy(aws, STACK, parameters, tmp_path_factory.mktemp("build"), template)
        [mapping] = aws.awslambda.list_event_source_mappings()["EventSourceMappings"]
        # The local AWS executes no function: its mapping would only receive messages.
        aws.awslambda.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        stack = describe(aws.cloudformation, STACK)
        functions = {
            logical_id: aws.awslambda.get_function_configuration(
                FunctionName=stack.resources[logical_id]
            )
            for logical_id in ("SubscriberFunction", "TokensFunction")
        }
        yield Deployed(aws, topic_arn, stack.outputs, functions, _package(aws))


def _package(aws: LocalAws) -> bytes:
    """Return the only object in the only bucket that is no template."""
    s3 = aws.session.client("s3", endpoint_url=aws.endpoint_url)
    [bucket] = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    [key] = [key for key in keys if not key.endswith(".template")]
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


@contextmanager
def running(
    deployed: Deployed, logical_id: str, tmp_path: Path, mock_qonto: MockQonto
) -> Iterator[ExecutionEnvironment]:
    """Run a function of the deployed package, which is unpacked in *tmp_path*."""
    function = deployed.functions[logical_id]
    variables = function["Environment"]["Variables"] | mock_qonto.environment
    with ExecutionEnvironment(
        tmp_path,
        function["Handler"],
        variables | deployed.aws.client_variables,
        name=function["FunctionName"],
        timeout=function["Timeout"],
        memory_size=function["MemorySize"],
    ) as process:
        yield process


def test_package_holds_handlers_and_locked_packages(deployed: Deployed) -> None:
    files = zipfile.ZipFile(io.BytesIO(deployed.package)).namelist()
    packed = re.findall(r"^([\w.]+)-([\w.]+)\.dist-info/METADATA$", "\n".join(files), re.MULTILINE)
    lock = (EXAMPLE.parent / "requirements.txt").read_text("utf-8")
    locked = {
        (name.replace("-", "_"), version)
        for name, version, marker in re.findall(r"^([\w-]+)==([\w.]+)(.*)$", lock, re.MULTILINE)
        if "== 'emscripten'" not in marker
    }
    digest = base64.b64encode(hashlib.sha256(deployed.package).digest()).decode()

    for function in deployed.functions.values():
        module, _, _ = function["Handler"].rpartition(".")
        assert digest == function["CodeSha256"]
        assert f"{module.replace('.', '/')}.py" in files
    assert set(packed) == locked


def test_confirmed_event_ends_connected(deployed: Deployed, tmp_path: Path) -> None:
    aws, outputs = deployed.aws, deployed.outputs
    zipfile.ZipFile(io.BytesIO(deployed.package)).extractall(tmp_path)
    aws.secrets.put_secret_value(SecretId=outputs["ClientSecretArn"], SecretString=SECRET)
    mock_qonto = MockQonto()
    event = granted(mock_qonto)
    confirmation = confirmation_of(event)
    publish(aws, deployed.topic_arn, event)
    aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=json.dumps(confirmation))

    with (
        mock_qonto.up(),
        running(deployed, "SubscriberFunction", tmp_path, mock_qonto) as process,
        running(deployed, "TokensFunction", tmp_path, mock_qonto) as tokens,
    ):
        handled = 0
        while handled < 2:
            received = event_source.poll(
                aws.sqs,
                outputs["QueueUrl"],
                lambda request, _context: process.invoke(request),
                wait_seconds=20,
                retry_seconds=0,
            )
            assert received, "a message was lost"
            handled += received
        response = tokens.invoke({"authorization_id": event["subject"]})

    connection = aws.dynamodb.get_item(
        TableName=outputs["ConnectionTableName"],
        Key={name: {"S": value} for name, value in confirmation.items()},
    )["Item"]
    [grant] = aws.dynamodb.query(
        TableName=outputs["GrantTableName"],
        KeyConditionExpression="authorization_id = :id",
        ExpressionAttributeValues={":id": {"S": event["subject"]}},
    )["Items"]
    assert connection["status"] == {"S": "connected"}
    assert grant["tokens"]["M"].keys() >= {"access_token", "refresh_token"}
    assert response["status"] == "connected"
    assert grant["tokens"]["M"]["access_token"] == {"S": response["access_token"]}
    assert mock_qonto.exchanges == (1, 1)
