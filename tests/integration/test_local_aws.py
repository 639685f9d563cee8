"""The local AWS holds what infra/template.yaml asks for, and nothing leads past it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo import template as infra
from demo.child import Child, ChildError
from demo.local_aws import (
    LocalAws,
    ParameterError,
    Stack,
    free_port,
    ministack,
)
from tests.integration.connector import PARAMETERS


def test_the_table_has_the_templates_key_and_time_to_live(aws: LocalAws) -> None:
    asked_for = infra.load()["Resources"]["StateTable"]["Properties"]
    stack = aws.deploy(PARAMETERS)

    table = aws.dynamodb.describe_table(TableName=stack.table_name)["Table"]
    lifetime = aws.dynamodb.describe_time_to_live(TableName=stack.table_name)

    assert table["KeySchema"] == asked_for["KeySchema"]
    assert table["AttributeDefinitions"] == asked_for["AttributeDefinitions"]
    assert lifetime["TimeToLiveDescription"] == {
        "AttributeName": asked_for["TimeToLiveSpecification"]["AttributeName"],
        "TimeToLiveStatus": "ENABLED",
    }


def test_each_function_gets_the_environment_that_its_stack_gives_it(stack: Stack) -> None:
    start = stack.environment["StartFunction"]
    callback = stack.environment["CallbackFunction"]

    assert start["TABLE_NAME"] == callback["TABLE_NAME"] == stack.table_name
    assert callback["TOPIC_ARN"] == stack.topic_arn
    assert start["SCOPE"] == PARAMETERS["Scope"]
    assert "TOPIC_ARN" not in start


def test_what_refers_to_the_api_is_left_to_the_caller(stack: Stack) -> None:
    assert "REDIRECT_URI" not in stack.environment["StartFunction"]


def test_what_is_not_held_is_found_by_looking(aws: LocalAws) -> None:
    template = infra.load()
    properties = template["Resources"]["StateTable"]["Properties"]
    properties["BillingMode"] = "PROVISIONED"
    properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}

    not_honoured = aws.deploy(PARAMETERS, template).not_honoured

    assert "StateTable.PointInTimeRecoverySpecification" in not_honoured
    assert not {
        "StateTable.BillingMode",
        "StateTable.KeySchema",
        "StateTable.TimeToLiveSpecification",
        "AuthorizationTopicPolicy.PolicyDocument",
    }.intersection(not_honoured)


def test_two_stacks_share_nothing(aws: LocalAws, stack: Stack) -> None:
    other = aws.deploy(PARAMETERS)

    assert other.table_name != stack.table_name
    assert other.topic_arn != stack.topic_arn


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QontoEnvironment", "staging"),
        ("ClientId", ""),
        ("ReturnUrls", "http://app.example.com/"),
        ("AppName", "a" * 65),
        ("LogRetentionDays", "31"),
    ],
)
def test_a_parameter_that_cloudformation_refuses_is_refused(
    aws: LocalAws, name: str, value: str
) -> None:
    with pytest.raises(ParameterError) as refused:
        aws.deploy(PARAMETERS | {name: value})

    assert refused.value.name == name


def test_a_parameter_without_a_default_must_be_given(aws: LocalAws) -> None:
    with pytest.raises(ParameterError, match=r"^ClientId: "):
        aws.deploy({})


@pytest.fixture
def any_topic(aws: LocalAws) -> Stack:
    """A stack whose topic may carry what is no event."""
    return LocalAws(aws.endpoint_url, aws.access_key).deploy(PARAMETERS)


def test_a_queue_gets_what_is_published_just_as_it_was_published(
    aws: LocalAws, any_topic: Stack
) -> None:
    queue_url = aws.subscribe_queue(any_topic.topic_arn)

    aws.sns.publish(TopicArn=any_topic.topic_arn, Message='{"a": 1}')

    [message] = aws.sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=10)["Messages"]
    assert message["Body"] == '{"a": 1}'


def test_a_filter_policy_keeps_out_the_rest(aws: LocalAws, any_topic: Stack) -> None:
    queue_url = aws.subscribe_queue(any_topic.topic_arn, {"type": ["wanted"]})

    for each in ("other", "wanted"):
        aws.sns.publish(
            TopicArn=any_topic.topic_arn,
            Message=each,
            MessageAttributes={"type": {"DataType": "String", "StringValue": each}},
        )

    [message] = aws.sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=10)["Messages"]
    assert message["Body"] == "wanted"


@pytest.fixture
def leading_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set what a developer's shell may hold."""
    config = tmp_path / "config"
    config.write_text("[profile other]\nregion = us-east-1\n")
    elsewhere = f"http://127.0.0.1:{free_port()}"
    for name, value in {
        "AWS_PROFILE": "other",
        "AWS_CONFIG_FILE": str(config),
        "AWS_ACCESS_KEY_ID": "theirs",
        "AWS_SESSION_TOKEN": "theirs",
        "AWS_ENDPOINT_URL": elsewhere,
        "AWS_ENDPOINT_URL_SNS": elsewhere,
        "HTTP_PROXY": elsewhere,
        "http_proxy": elsewhere,
        "all_proxy": elsewhere,
        "POWERTOOLS_LOGGER_LOG_EVENT": "true",
        "CLIENT_ID": "theirs",
        "CLIENT_SECRET": "theirs",
        "OAUTH_BASE_URL": elsewhere,
        "SSL_CERT_FILE": "/their/certificates.pem",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("leading_elsewhere")
def test_the_shells_settings_do_not_reach_our_own_clients(aws: LocalAws, stack: Stack) -> None:
    sns = LocalAws(aws.endpoint_url, aws.access_key).sns

    assert sns.get_topic_attributes(TopicArn=stack.topic_arn)["Attributes"]["TopicArn"]


@pytest.mark.usefixtures("leading_elsewhere")
def test_the_shells_settings_do_not_reach_what_is_started(aws: LocalAws, any_topic: Stack) -> None:
    environment = aws.environment()
    program = (
        f"import boto3; print(boto3.client('sns').publish(TopicArn='{any_topic.topic_arn}', "
        "Message='from a process of its own')['ResponseMetadata']['HTTPStatusCode'])"
    )

    published = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert published.stdout == "200\n", published.stderr
    assert environment["SSL_CERT_FILE"] == "/their/certificates.pem"
    assert (
        not {
            "AWS_PROFILE",
            "AWS_SESSION_TOKEN",
            "AWS_ENDPOINT_URL_SNS",
            "HTTP_PROXY",
            "http_proxy",
            "all_proxy",
            "POWERTOOLS_LOGGER_LOG_EVENT",
            "CLIENT_ID",
            "CLIENT_SECRET",
            "OAUTH_BASE_URL",
        }
        & environment.keys()
    )


def test_ministack_is_gone_with_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with ministack() as aws:
        assert aws.sqs.list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(aws.endpoint_url.rpartition(":")[2])))
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_does_not_start_says_why() -> None:
    environment = dict(os.environ)

    with (
        Child("it", free_port(), "no_such_module", environment=environment, quiet=True) as child,
        pytest.raises(ChildError, match=r"(?s)it stopped while .*No module named no_such_module"),
    ):
        child.wait_until_ready()


def test_a_child_is_gone_with_its_parent() -> None:
    port = free_port()
    program = (
        "import os, signal\n"
        "from demo.child import Child\n"
        f"child = Child('a server', {port}, 'http.server', '{port}', '--bind', '127.0.0.1',"
        " environment=dict(os.environ))\n"
        "child.wait_until_ready()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    # Both have its end of the pipe: this returns when both are gone.
    parent = subprocess.run(
        [sys.executable, "-c", program],
        cwd=infra.ROOT,
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert parent.returncode == -signal.SIGKILL
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
