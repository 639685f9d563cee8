"""Builds and deploys infra/template.yaml to the local AWS with the SAM CLI."""

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


def deploy(aws: LocalAws, stack_name: str, parameters: dict[str, str], directory: Path) -> None:
    """Build in *directory* and deploy as in README.md, but without prompts."""
    _sam(aws, "build", "--build-dir", str(directory))
    built = directory / "template.yaml"
    template = infra.load(built)
    _without_metric_math(template)
    built.write_text(json.dumps(template), "utf-8")
    _sam(
        aws,
        "deploy",
        "--no-confirm-changeset",
        *("--config-file", str(ROOT / "samconfig.toml")),  # SAM looks beside the template
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


def _sam(aws: LocalAws, *arguments: str) -> None:
    environment = aws.environment() | {
        "SAM_CLI_TELEMETRY": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    run = subprocess.run(
        [SAM, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SamError(run.stdout)
