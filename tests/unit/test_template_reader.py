"""The template is read as CloudFormation reads it."""

from pathlib import Path

import pytest

from demo import template as infra

YAML = """
Globals:
  Function:
    CodeUri: ../functions
    Environment: {Variables: {A: 1, B: !Ref B}}
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Handler: start.handler.handler
      Environment: {Variables: {A: !GetAtt Table.Stream.Arn}}
  Table:
    Type: AWS::DynamoDB::Table
    Condition: Wanted
    Properties:
      Policy: {Version: 2012-10-17}
      Name: !If [Wanted, !Sub "${AWS::StackName}-${Function.Arn}-${!Literal}", !Ref AWS::NoValue]
      Text: !Sub ["${Here}-${There}", {Here: !Ref Parameter}]
"""


@pytest.fixture
def template(tmp_path: Path) -> infra.Template:
    path = tmp_path / "template.yaml"
    path.write_text(YAML)
    return infra.load(path)


def test_short_tags_have_their_long_form(template: infra.Template) -> None:
    properties = template["Resources"]["Table"]["Properties"]

    assert properties["Name"] == {
        "Fn::If": [
            "Wanted",
            {"Fn::Sub": "${AWS::StackName}-${Function.Arn}-${!Literal}"},
            {"Ref": "AWS::NoValue"},
        ]
    }


def test_a_policys_date_stays_text(template: infra.Template) -> None:
    assert template["Resources"]["Table"]["Properties"]["Policy"] == {"Version": "2012-10-17"}


def test_a_function_has_what_all_functions_have(template: infra.Template) -> None:
    assert infra.function(template, "Function") == {
        "CodeUri": "../functions",
        "Handler": "start.handler.handler",
        "Environment": {"A": {"Fn::GetAtt": ["Table", "Stream.Arn"]}, "B": {"Ref": "B"}},
    }


def test_references_are_found_wherever_they_stand(template: infra.Template) -> None:
    table = template["Resources"]["Table"]

    assert infra.references(table) == {
        "AWS::StackName",
        "AWS::NoValue",
        "Function",
        "Parameter",
        "There",
    }


def test_resources_are_found_by_type(template: infra.Template) -> None:
    assert list(infra.resources(template, "AWS::DynamoDB::", "AWS::SNS::")) == ["Table"]
