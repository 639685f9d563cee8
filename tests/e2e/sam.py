"""Builds and deploys a template of this project to the local AWS with the SAM CLI."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from demo import template as infra
from demo.local_aws import LocalAws
from demo.template import ROOT

SAM = ROOT / ".venv-sam" / "bin" / "sam"


def deploy(
    aws: LocalAws,
    stack_name: str,
    parameters: dict[str, str],
    directory: Path,
    template_file: Path = infra.TEMPLATE,
) -> None:
    """Build *template_file* in *directory* and deploy it as in its README, but without prompts."""
    if not SAM.exists():
        pytest.skip("needs the SAM CLI: run `make build` once")
    _sam(aws, "build", "--template-file", str(template_file), "--build-dir", str(directory))
    built = directory / "template.yaml"
    template = infra.load(built)
    # ministack refuses metric math, and has no policies of functions and secrets.
    for alarm in infra.resources(template, "AWS::CloudWatch::Alarm").values():
        if alarm["Properties"].pop("Metrics", None):
            plain = {"Namespace": "any", "MetricName": "any", "Period": 60, "Statistic": "Sum"}
            alarm["Properties"] |= plain
    types = ("AWS::Lambda::ResourcePolicy", "AWS::SecretsManager::ResourcePolicy")
    for logical_id in infra.resources(template, *types):
        del template["Resources"][logical_id]
    built.write_text(json.dumps(template), "utf-8")
    overrides = [f'{name}="{value}"' for name, value in parameters.items()]
    which = "--template-file", str(built), "--stack-name", stack_name
    _sam(aws, "deploy", "--no-confirm-changeset", *which, "--parameter-overrides", *overrides)


def _sam(aws: LocalAws, command: str, *arguments: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = aws.environment() | {"SAM_CLI_TELEMETRY": "0", "PATH": path}
    # Without --config-file, SAM looks for the file beside the template.
    full = [str(SAM), command, "--config-file", str(ROOT / "samconfig.toml"), *arguments]
    run = subprocess.run(full, cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT, check=False)
    assert run.returncode == 0, run.stdout.decode()
