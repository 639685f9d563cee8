"""No setting of the developer leads past the local AWS."""

import subprocess
import sys

import pytest

from demo.local_aws import LocalAws, free_port


def test_settings_of_the_shell_reach_no_client(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = f"http://127.0.0.1:{free_port()}"
    variables = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS", "HTTP_PROXY", "all_proxy")
    theirs = dict.fromkeys(variables, elsewhere)
    theirs |= {"AWS_PROFILE": "other", "AWS_SESSION_TOKEN": "theirs", "CLIENT_SECRET": "theirs"}
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", "import boto3; boto3.client('sns').list_topics()"]

    environment = aws.environment()
    subprocess.run(command, env=environment, check=True)

    assert environment.keys() & theirs.keys() == {"AWS_ENDPOINT_URL"}
    assert LocalAws(aws.endpoint_url, aws.access_key).sns.list_topics()
