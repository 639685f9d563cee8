"""Builds and deploys a template of this project to the local AWS with the SAM CLI."""

import json
import os
import subprocess
import sys
from pathlib import Path

from demo import template as infra
from demo.local_aws import LocalAws
from demo.template import ROOT, Json

SAM = ROOT / ".venv-sam" / "bin" / "sam"


class SamError(Exception):
    """The SAM CLI failed. The message is its output."""


def deploy(
    aws: LocalAws,
    stack_name: str,
    parameters: dict[str, str],
    directory: Path,
    template_file: Path = infra.TEMPLATE,
) -> None:
    """Build *template_file* in *directory* and deploy it as in its README, but without prompts."""
    _sam(aws, "build", "--template-file", str(template_file), "--build-dir", str(directory))
    built = directory / "template.yaml"
    template = infra.load(built)
    _without_metric_math(template)
    _without_resource_policies(template)
    built.write_text(json.dumps(template), "utf-8")
    _sam(
        aws,
        "deploy",
        "--no-confirm-changeset",
        *("--template-file", str(built)),
        *("--stack-name", stack_name),
        "--parameter-overrides",
        *(f'{name}="{value}"' for name, value in parameters.items()),
    )


def _without_metric_math(template: Json) -> None:
    """Give alarms on metric math a plain metric, because ministack refuses metric math."""
    for alarm in infra.resources(template, "AWS::CloudWatch::Alarm").values():
        if alarm["Properties"].pop("Metrics", None):
            alarm["Properties"] |= {"Namespace": "any", "MetricName": "any", "Period": 60}
            alarm["Properties"] |= {"Statistic": "Sum"}


def _without_resource_policies(template: Json) -> None:
    """Remove the policies of functions and secrets, which ministack's CloudFormation lacks."""
    types = ("AWS::Lambda::ResourcePolicy", "AWS::SecretsManager::ResourcePolicy")
    for logical_id in infra.resources(template, *types):
        del template["Resources"][logical_id]


def _sam(aws: LocalAws, command: str, *arguments: str) -> None:
    environment = aws.environment() | {
        "SAM_CLI_TELEMETRY": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    run = subprocess.run(
        # Without --config-file, SAM looks for the file beside the template.
        [SAM, command, "--config-file", ROOT / "samconfig.toml", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SamError(run.stdout)
