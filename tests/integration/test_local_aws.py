"""The local AWS says what it does not hold, and no setting of the developer leads past it."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo import template as infra
from demo.local_aws import LocalAws, ParameterError, free_port
from tests.integration.connector import PARAMETERS


def test_properties_that_are_not_held_are_named(aws: LocalAws) -> None:
    template = infra.load()
    properties = template["Resources"]["StateTable"]["Properties"]
    properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}

    not_honoured = aws.deploy(PARAMETERS, template).not_honoured

    held = {"StateTable.KeySchema", "StateTable.TimeToLiveSpecification"}
    assert "StateTable.PointInTimeRecoverySpecification" in not_honoured
    assert not held.intersection(not_honoured)


@pytest.mark.parametrize(
    ("name", "value"),
    [("QontoEnvironment", "staging"), ("ClientId", ""), ("AppName", "a" * 65)],
)
def test_invalid_parameter_is_refused(aws: LocalAws, name: str, value: str) -> None:
    with pytest.raises(ParameterError, match=name):
        aws.deploy(PARAMETERS | {name: value})


def test_settings_of_the_shell_reach_no_client(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile other]\nregion = us-east-1\n")
    elsewhere = f"http://127.0.0.1:{free_port()}"
    theirs = dict.fromkeys(("AWS_ENDPOINT_URL_SNS", "HTTP_PROXY", "all_proxy"), elsewhere)
    theirs |= {"AWS_PROFILE": "other", "AWS_SESSION_TOKEN": "theirs", "CLIENT_SECRET": "theirs"}
    overwritten = {"AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": elsewhere}
    kept = {"SSL_CERT_FILE": "/their/certificates.pem"}
    for name, value in (theirs | overwritten | kept).items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", "import boto3; boto3.client('sns').list_topics()"]

    environment = aws.environment()
    subprocess.run(command, env=environment, check=True)

    assert not environment.keys() & theirs.keys()
    assert environment.items() >= kept.items()
    assert LocalAws(aws.endpoint_url, aws.access_key).sns.list_topics()
