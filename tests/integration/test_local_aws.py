"""No setting of the developer leads past the local AWS."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo.local_aws import LocalAws, free_port


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
