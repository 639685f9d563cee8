"""The local AWS holds what infra/template.yaml asks for, and nothing leads past it."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo import template as infra
from demo.local_aws import LocalAws, ParameterError, Stack, free_port
from tests.integration.connector import PARAMETERS


def test_stack_has_resources_and_environment_of_its_template(aws: LocalAws, stack: Stack) -> None:
    asked_for = infra.load()["Resources"]["StateTable"]["Properties"]
    deployed = aws.deploy(PARAMETERS)

    table = aws.dynamodb.describe_table(TableName=deployed.table_name)["Table"]
    lifetime = aws.dynamodb.describe_time_to_live(TableName=deployed.table_name)
    start, callback = (deployed.environment[f"{name}Function"] for name in ("Start", "Callback"))

    assert table["KeySchema"] == asked_for["KeySchema"]
    assert lifetime["TimeToLiveDescription"] == {
        "AttributeName": asked_for["TimeToLiveSpecification"]["AttributeName"],
        "TimeToLiveStatus": "ENABLED",
    }
    assert start["TABLE_NAME"] == callback["TABLE_NAME"] == deployed.table_name
    assert callback["TOPIC_ARN"] == deployed.topic_arn
    assert start["SCOPE"] == PARAMETERS["Scope"]
    assert not start.keys() & {"AWS_CA_BUNDLE", "REDIRECT_URI", "TOPIC_ARN"}
    assert (stack.table_name, stack.topic_arn) != (deployed.table_name, deployed.topic_arn)


def test_properties_that_are_not_held_are_named(aws: LocalAws) -> None:
    template = infra.load()
    properties = template["Resources"]["StateTable"]["Properties"]
    properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}

    not_honoured = aws.deploy(PARAMETERS, template).not_honoured

    held = {"StateTable.KeySchema", "AuthorizationTopicPolicy.PolicyDocument"}
    assert "StateTable.PointInTimeRecoverySpecification" in not_honoured
    assert not held.intersection(not_honoured)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("QontoEnvironment", PARAMETERS | {"QontoEnvironment": "staging"}),
        ("ClientId", PARAMETERS | {"ClientId": ""}),
        ("ReturnUrls", PARAMETERS | {"ReturnUrls": "http://app.example.com/"}),
        ("AppName", PARAMETERS | {"AppName": "a" * 65}),
        ("ClientId", {}),
    ],
)
def test_invalid_parameter_is_refused(aws: LocalAws, name: str, parameters: dict[str, str]) -> None:
    with pytest.raises(ParameterError) as refused:
        aws.deploy(parameters)

    assert refused.value.name == name


def test_settings_of_the_shell_reach_no_client(
    aws: LocalAws, stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile other]\nregion = us-east-1\n")
    elsewhere = f"http://127.0.0.1:{free_port()}"
    theirs = dict.fromkeys(
        ("AWS_ENDPOINT_URL_SNS", "OAUTH_BASE_URL", "HTTP_PROXY", "all_proxy"), elsewhere
    ) | {"AWS_PROFILE": "other", "AWS_SESSION_TOKEN": "theirs", "CLIENT_SECRET": "theirs"}
    theirs |= {"POWERTOOLS_LOGGER_LOG_EVENT": "true", "CLIENT_ID": "theirs"}
    overwritten = {"AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": elsewhere}
    kept = {"SSL_CERT_FILE": "/their/certificates.pem"}
    for name, value in (theirs | overwritten | kept).items():
        monkeypatch.setenv(name, value)
    program = "import boto3; print(len(boto3.client('sns').list_topics()['Topics']) > 0)"

    environment = aws.environment()
    child = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert child.stdout == "True\n", child.stderr
    assert not environment.keys() & theirs.keys()
    assert environment.items() >= kept.items()
    own = LocalAws(aws.endpoint_url, aws.access_key).sns
    assert own.get_topic_attributes(TopicArn=stack.topic_arn)["Attributes"]["TopicArn"]
