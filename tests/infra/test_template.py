"""What a deployer gets: the stack of infra/template.yaml, read as CloudFormation will."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from cfnlint.api import lint_all  # type: ignore[import-untyped]
from pydantic import ValidationError

import callback.settings
import start.settings
from aws_calls import CALL_CONFIG
from demo.template import ROOT, Template, function, load, resources

SETTINGS = {
    "StartFunction": start.settings.Settings,
    "CallbackFunction": callback.settings.Settings,
}
TABLE = {"Fn::GetAtt": ["StateTable", "Arn"]}
TOPIC = {"Ref": "AuthorizationTopic"}
KEY = {"Fn::GetAtt": ["AuthorizationTopicKey", "Arn"]}
CALLBACK_ROLE = {"Fn::GetAtt": ["CallbackRole", "Arn"]}
BASE_URL = "https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"


@pytest.fixture(scope="module")
def template() -> Template:
    return load()


@pytest.fixture(scope="module")
def translated(template: Template) -> str:
    """Return the template as plain CloudFormation: what the stack is made of."""
    python = ROOT / ".venv-sam" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs the SAM CLI: run make build once")
    return subprocess.run(  # noqa: S603 - our own script
        [python, Path(__file__).with_name("sam_translation.py")],
        input=json.dumps(template),
        env={"AWS_DEFAULT_REGION": "eu-west-3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def properties(template: Template, type_: str) -> dict[str, dict[str, Any]]:
    return {
        logical_id: resource["Properties"]
        for logical_id, resource in resources(template, type_).items()
    }


def statements(template: Template, role: str) -> list[tuple[Any, ...]]:
    """Return what *role* may do: effect, actions, resource, and anything else of a statement."""
    return [
        (
            statement.pop("Effect"),
            statement.pop("Action"),
            statement.pop("Resource"),
            {name: value for name, value in statement.items() if name != "Sid"},
        )
        for policy in properties(load(), "AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


# ------------------------------------------------------------------- the whole


def test_what_sam_makes_of_the_template_has_no_finding(translated: str) -> None:
    """Circles of references show here alone, not in the template as it is written."""
    findings = lint_all(translated)

    assert findings == []


def test_two_stacks_can_live_in_one_account(template: Template) -> None:
    """Names of their own, which one account can hold but once, are left to CloudFormation."""
    names = {
        (resource["Type"], name)
        for resource in template["Resources"].values()
        for name in resource["Properties"]
        if name.endswith("Name")
    }

    assert names == {
        ("AWS::ApiGatewayV2::Stage", "StageName"),
        ("AWS::IAM::Policy", "PolicyName"),
        ("AWS::Lambda::Permission", "FunctionName"),
    }
    assert properties(template, "AWS::ApiGatewayV2::Api")["HttpApi"]["Name"] == {
        "Ref": "AWS::StackName"
    }
