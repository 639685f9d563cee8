"""The example subscriber, as `sam build` packs it and `sam deploy` creates it in the local AWS."""

import json
import re
import shutil
from contextlib import ExitStack
from importlib.metadata import distributions
from pathlib import Path

from demo import event_source
from demo import template as infra
from demo.local_aws import ministack
from demo.template import EXAMPLE, Json
from tests.e2e import sam
from tests.e2e.deployed_stack import Stack, environment_of
from tests.support.packages import ARCHITECTURE
from tests.support.slow import slow
from tests.support.subscription import (
    CLIENT_ID,
    SECRET,
    MockQonto,
    confirmation_of,
    granted,
    publish,
)

STACK = "qonto-subscriber"
ROLE = "arn:aws:iam::000000000000:role"
LOCK = (EXAMPLE.parent / "requirements.txt").read_text("utf-8")
LOCKED = {
    (name, version)
    for name, version, marker in re.findall(r"^([\w-]+)==([\w.]+)(.*)$", LOCK, re.MULTILINE)
    if "== 'emscripten'" not in marker
}


@slow
def test_deployed_package_ends_a_confirmed_event_connected(tmp_path: Path) -> None:
    template, build = tmp_path / "subscriber" / EXAMPLE.name, tmp_path / "build"
    shutil.copytree(EXAMPLE.parent, template.parent)
    template.write_text(EXAMPLE.read_text("utf-8").replace("arm64", ARCHITECTURE), "utf-8")
    mock_qonto = MockQonto()
    event = granted(mock_qonto)
    confirmation = confirmation_of(event)
    with ministack() as aws, mock_qonto.up(), ExitStack() as running:
        topic_arn, on_call = (
            aws.sns.create_topic(Name=name)["TopicArn"] for name in ("authorizations", "on-call")
        )
        parameters = {"TopicArn": topic_arn, "AlarmTopicArn": on_call, "ClientId": CLIENT_ID}
        for name in ("App", "TokenReader", "Operator"):
            parameters[f"{name}RoleArn"] = f"{ROLE}/{name}"
        sam.deploy(aws, STACK, parameters, build, template)
        # The local AWS executes no function: its mapping would only receive messages.
        [mapping] = aws.awslambda.list_event_source_mappings()["EventSourceMappings"]
        aws.awslambda.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        stack, packages = Stack(aws.cloudformation, STACK), infra.load(build / "template.yaml")

        def process(logical_id: str) -> Json:
            package = build / packages["Resources"][logical_id]["Properties"]["CodeUri"]
            found = distributions(path=[str(package)])
            assert {(it.name.replace("_", "-"), it.version) for it in found} == LOCKED
            function = stack.resources[logical_id]
            environment = environment_of(aws, function, package, **mock_qonto.environment)
            return running.enter_context(environment)

        subscriber, tokens = process("SubscriberFunction"), process("TokensFunction")
        outputs, queue_url = stack.outputs, stack.outputs["QueueUrl"]
        aws.secrets.put_secret_value(SecretId=outputs["ClientSecretArn"], SecretString=SECRET)
        publish(aws, topic_arn, event)
        aws.sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(confirmation))
        handled, polling = 0, {"wait_seconds": 20, "retry_seconds": 0}
        while handled < 2:
            received = event_source.poll(
                aws.sqs, queue_url, lambda request, _: subscriber.invoke(request), **polling
            )
            assert received, "a message was lost"
            handled += received
        response = tokens.invoke({"authorization_id": event["subject"]})
        dynamodb = aws.session.resource("dynamodb", endpoint_url=aws.endpoint_url)
        connections = dynamodb.Table(outputs["ConnectionTableName"])
        connection = connections.get_item(Key=confirmation)["Item"]

    assert (connection["status"], response["status"]) == ("connected", "connected")
    assert mock_qonto.takes(response["access_token"])
    assert mock_qonto.exchanges == (1, 1)
