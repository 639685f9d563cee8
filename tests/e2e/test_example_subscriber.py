"""The example subscriber, as `sam build` packs it and `sam deploy` creates it in the local AWS."""

import base64
import hashlib
import io
import json
import re
import shutil
import zipfile
from contextlib import ExitStack, closing
from pathlib import Path

from demo import event_source
from demo.gateway import LambdaContext
from demo.local_aws import LocalAws, ministack
from demo.template import EXAMPLE, Json
from tests.e2e import sam
from tests.e2e.deployed_stack import Stack, describe, environment_of
from tests.integration.subscription import (
    CLIENT_ID,
    SECRET,
    MockQonto,
    confirmation_of,
    granted,
    publish,
)
from tests.packages import ARCHITECTURE
from tests.slow import slow

STACK = "qonto-subscriber"
ROLE = "arn:aws:iam::000000000000:role"


def package_of(aws: LocalAws, folder: Path) -> set[tuple[str, str]]:
    """Unpack the deployed code into *folder*; return the name and version of each package in it."""
    s3 = aws.session.client("s3", endpoint_url=aws.endpoint_url)
    [bucket] = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    [key] = [key for key in keys if not key.endswith(".template")]
    with closing(s3.get_object(Bucket=bucket, Key=key)["Body"]) as body:
        code = body.read()
    digest = base64.b64encode(hashlib.sha256(code).digest()).decode()
    for function in aws.awslambda.list_functions()["Functions"]:
        assert function["CodeSha256"] == digest
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(folder)
        files = "\n".join(archive.namelist())
    return set(re.findall(r"^([\w.]+)-([\w.]+)\.dist-info/METADATA$", files, re.MULTILINE))


def locked() -> set[tuple[str, str]]:
    """Return the name and version of each package that the example's lock has."""
    lines = re.findall(
        r"^([\w-]+)==([\w.]+)(.*)$",
        (EXAMPLE.parent / "requirements.txt").read_text("utf-8"),
        re.MULTILINE,
    )
    return {
        (name.replace("-", "_"), version)
        for name, version, marker in lines
        if "== 'emscripten'" not in marker
    }


def deploy(aws: LocalAws, template: Path, directory: Path) -> Stack:
    """Deploy *template* beside a topic in place of the connector's, and return the stack."""
    parameters = {
        "TopicArn": aws.sns.create_topic(Name="authorizations")["TopicArn"],
        "ClientId": CLIENT_ID,
        "AppRoleArn": f"{ROLE}/app",
        "TokenReaderRoleArn": f"{ROLE}/reader",
        "OperatorRoleArn": f"{ROLE}/operator",
        "AlarmTopicArn": aws.sns.create_topic(Name="on-call")["TopicArn"],
    }
    sam.deploy(aws, STACK, parameters, directory, template)
    [mapping] = aws.awslambda.list_event_source_mappings()["EventSourceMappings"]
    # The local AWS executes no function: its mapping would only receive messages.
    aws.awslambda.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    return describe(aws.cloudformation, STACK)


@slow
def test_deployed_package_ends_a_confirmed_event_connected(tmp_path: Path) -> None:
    template = tmp_path / "subscriber" / EXAMPLE.name
    shutil.copytree(EXAMPLE.parent, template.parent)
    template.write_text(EXAMPLE.read_text("utf-8").replace("arm64", ARCHITECTURE), "utf-8")
    mock_qonto, package = MockQonto(), tmp_path / "package"
    event = granted(mock_qonto)
    confirmation = confirmation_of(event)
    with ExitStack() as running:
        aws = running.enter_context(ministack())
        running.enter_context(mock_qonto.up())
        stack = deploy(aws, template, tmp_path / "build")
        assert package_of(aws, package) == locked()
        subscriber, tokens = (
            running.enter_context(
                environment_of(aws, stack.resources[name], package, **mock_qonto.environment)
            )
            for name in ("SubscriberFunction", "TokensFunction")
        )
        outputs, queue_url = stack.outputs, stack.outputs["QueueUrl"]
        aws.secrets.put_secret_value(SecretId=outputs["ClientSecretArn"], SecretString=SECRET)
        publish(aws, stack.parameters["TopicArn"], event)
        aws.sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(confirmation))

        def handle(request: Json, _context: LambdaContext) -> Json:
            return subscriber.invoke(request)

        handled = 0
        while handled < 2:
            received = event_source.poll(
                aws.sqs, queue_url, handle, wait_seconds=20, retry_seconds=0
            )
            assert received, "a message was lost"
            handled += received
        response = tokens.invoke({"authorization_id": event["subject"]})
        dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
        connections, grants = (
            dynamodb.Table(outputs[name]) for name in ("ConnectionTableName", "GrantTableName")
        )
        connection = connections.get_item(Key=confirmation)["Item"]
        key = {"authorization_id": event["subject"], "event_id": event["id"]}
        stored: Json = grants.get_item(Key=key)["Item"]["tokens"]

    assert (connection["status"], response["status"]) == ("connected", "connected")
    assert stored["access_token"] == response["access_token"]
    assert "refresh_token" in stored
    assert mock_qonto.exchanges == (1, 1)
