"""What a deployer gets: the stack of infra/template.yaml, as CloudFormation will read it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
from pydantic import ValidationError

import callback.settings
import start.settings
from aws_calls import CALL_CONFIG
from demo.template import ROOT, Template, function, load, resources
from deployment import Deployment

SETTINGS: dict[str, type[Deployment]] = {
    "StartFunction": start.settings.Settings,
    "CallbackFunction": callback.settings.Settings,
}
TOPIC = {"Ref": "AuthorizationTopic"}
CALLBACK_ROLE = {"Fn::GetAtt": ["CallbackRole", "Arn"]}
API_URL = "https://${HttpApi}.execute-api.${AWS::Region}.${AWS::URLSuffix}"


@pytest.fixture(scope="module")
def template() -> Template:
    return load()


@pytest.fixture(scope="module")
def translated(template: Template) -> str:
    """Return the template as plain CloudFormation: what the stack is made of."""
    python = ROOT / ".venv-sam" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs the SAM CLI: run `make build` once")
    return subprocess.run(
        [python, Path(__file__).with_name("sam_translation.py")],
        input=json.dumps(template),
        env={"AWS_DEFAULT_REGION": "eu-west-3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _properties(template: Template, type_: str) -> dict[str, dict[str, Any]]:
    return {
        logical_id: resource.get("Properties", {})
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == type_
    }


def _statements(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a policy's statements by their Sid."""
    statements = document["Statement"]
    by_sid = {
        statement["Sid"]: {name: value for name, value in statement.items() if name != "Sid"}
        for statement in statements
    }
    assert len(by_sid) == len(statements)
    return by_sid


# --------------------------------------------------------------------- the whole


def test_what_sam_makes_of_the_template_has_no_finding(translated: str) -> None:
    """Circles of references show here alone, not in the template as it is written."""
    findings = lint(translated, config=ManualArgs(include_checks=["I"], regions=["eu-west-3"]))

    assert findings == []


def test_two_stacks_can_live_in_one_account(template: Template) -> None:
    """Names that an account can hold but once are left to CloudFormation."""
    named = {
        (resource["Type"], name)
        for resource in template["Resources"].values()
        for name in resource.get("Properties", {})
        if name.endswith("Name")
    }

    assert named == {
        ("AWS::ApiGatewayV2::Api", "Name"),
        ("AWS::ApiGatewayV2::Stage", "StageName"),
        ("AWS::IAM::Policy", "PolicyName"),
        ("AWS::Lambda::Permission", "FunctionName"),
    }


def test_the_functions_run_what_this_project_is_tested_with(template: Template) -> None:
    version = (ROOT / ".python-version").read_text("utf-8").strip()

    for logical_id in SETTINGS:
        assert function(template, logical_id)["Runtime"] == f"python{version}"


# ------------------------------------------------------------------------ routes


def test_there_are_three_routes_and_no_other_way_in(template: Template) -> None:
    """A quick-create API or an OpenAPI body would bring routes that stand nowhere else."""
    routes = {
        route["RouteKey"]: route["Target"]["Fn::Sub"]
        for route in _properties(template, "AWS::ApiGatewayV2::Route").values()
    }
    integrations = {
        logical_id: integration["IntegrationUri"]
        for logical_id, integration in _properties(
            template, "AWS::ApiGatewayV2::Integration"
        ).items()
    }

    assert routes == {
        "GET /start": "integrations/${StartIntegration}",
        "GET /callback": "integrations/${CallbackIntegration}",
        "GET /callback/{outcome}": "integrations/${CallbackIntegration}",
    }
    assert integrations == {
        "StartIntegration": {"Fn::GetAtt": ["StartFunction", "Arn"]},
        "CallbackIntegration": {"Fn::GetAtt": ["CallbackFunction", "Arn"]},
    }
    assert _properties(template, "AWS::ApiGatewayV2::Api").keys() == {"HttpApi"}
    assert template["Resources"]["HttpApi"]["Properties"].keys() == {
        "Name",
        "Description",
        "ProtocolType",
    }
    assert all(
        properties.keys().isdisjoint({"Events", "FunctionUrlConfig"})
        for properties in (
            *_properties(template, "AWS::Serverless::Function").values(),
            template["Globals"]["Function"],
        )
    )


def test_only_the_routes_may_call_the_functions(template: Template) -> None:
    permissions = _properties(template, "AWS::Lambda::Permission").values()
    api = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${HttpApi}"

    assert {
        (permission["FunctionName"]["Ref"], permission["SourceArn"]["Fn::Sub"])
        for permission in permissions
    } == {
        ("StartFunction", f"{api}/*/GET/start"),
        ("CallbackFunction", f"{api}/*/GET/callback"),
        ("CallbackFunction", f"{api}/*/GET/callback/*"),
    }
    assert {(permission["Principal"], permission["Action"]) for permission in permissions} == {
        ("apigateway.amazonaws.com", "lambda:InvokeFunction")
    }


@pytest.mark.parametrize(("logical_id", "calls"), [("StartFunction", 1), ("CallbackFunction", 3)])
def test_timeouts_leave_room_for_the_slowest_calls(
    template: Template, logical_id: str, calls: int
) -> None:
    """The function outlasts its calls to AWS by a second at least; the gateway, the function."""
    config = vars(CALL_CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    slowest_call = attempts * (config["connect_timeout"] + config["read_timeout"])
    pauses = attempts - 1  # at most a second each
    timeout = function(template, logical_id)["Timeout"]

    assert calls * (slowest_call + pauses) + 1 <= timeout
    for integration in _properties(template, "AWS::ApiGatewayV2::Integration").values():
        assert timeout * 1000 + 1000 <= integration["TimeoutInMillis"] <= 30_000


# ------------------------------------------------------- parameters and settings


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_each_function_is_told_exactly_its_settings(template: Template, logical_id: str) -> None:
    """OAUTH_BASE_URL, which turns people to another host than Qonto's, is never among them."""
    variables = function(template, logical_id)["Environment"]
    settings = {field.alias for field in SETTINGS[logical_id].model_fields.values()}

    assert "OAUTH_BASE_URL" in settings
    assert {name for name in variables if not name.startswith("POWERTOOLS_")} == settings - {
        "OAUTH_BASE_URL"
    }


def test_the_metrics_of_two_stacks_stay_apart(template: Template) -> None:
    for logical_id in SETTINGS:
        variables = function(template, logical_id)["Environment"]

        assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


def test_parameter_and_variable_are_one_word_in_two_cases(template: Template) -> None:
    """ClientId is CLIENT_ID, and every parameter reaches a function."""
    told = {
        (name, value["Ref"])
        for logical_id in SETTINGS
        for name, value in function(template, logical_id)["Environment"].items()
        if isinstance(value, dict) and value.get("Ref") in template["Parameters"]
    }

    assert told == {
        (re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).upper(), parameter)
        for parameter in template["Parameters"]
    }


def test_table_topic_and_redirection_uri_are_the_stacks_own(template: Template) -> None:
    told_start = function(template, "StartFunction")["Environment"]
    told_callback = function(template, "CallbackFunction")["Environment"]

    assert told_start["TABLE_NAME"] == told_callback["TABLE_NAME"] == {"Ref": "StateTable"}
    assert told_callback["TOPIC_ARN"] == TOPIC
    assert told_start["REDIRECT_URI"] == {"Fn::Sub": f"{API_URL}/callback"}


def test_outputs_are_what_the_functions_use(template: Template) -> None:
    """The redirection URI that a deployer registers is, byte for byte, the one that is sent."""
    told_start = function(template, "StartFunction")["Environment"]

    assert {name: output["Value"] for name, output in template["Outputs"].items()} == {
        "StartUrl": {"Fn::Sub": f"{API_URL}/start"},
        "RedirectUri": told_start["REDIRECT_URI"],
        "TopicArn": TOPIC,
        "TableName": {"Ref": "StateTable"},
    }


@pytest.mark.parametrize("parameter", ["QontoEnvironment", "Pkce"])
def test_a_choice_offers_what_the_settings_take(template: Template, parameter: str) -> None:
    field = {"QontoEnvironment": "qonto_environment", "Pkce": "pkce"}[parameter]
    taken = get_args(start.settings.Settings.model_fields[field].annotation)

    assert set(template["Parameters"][parameter]["AllowedValues"]) == set(taken)


def _template_takes(parameter: dict[str, Any], value: str) -> bool:
    return (
        value in parameter.get("AllowedValues", [value])
        and len(value) <= parameter.get("MaxLength", len(value))
        and re.fullmatch(parameter.get("AllowedPattern", "(?s:.*)"), value) is not None
    )


def _settings_take(variable: str, value: str) -> bool:
    environment = {
        "QONTO_ENVIRONMENT": "sandbox",
        "CLIENT_ID": "client",
        "SCOPE": "organization.read",
        "REDIRECT_URI": "https://connect.example/callback",
        "TABLE_NAME": "states",
    }
    try:
        start.settings.Settings.model_validate(environment | {variable: value})
    except ValidationError:
        return False
    return True


LONGEST_URL = "https://app.example/".ljust(512, "x")


@pytest.mark.parametrize(
    ("parameter", "variable", "value"),
    [
        ("ClientId", "CLIENT_ID", "6f9a2b7c-0184-4c3a-9d1e-5b7c3a2f1e0d"),
        ("ClientId", "CLIENT_ID", "a._~-".ljust(128, "9")),
        ("Scope", "SCOPE", "offline_access"),
        ("Scope", "SCOPE", "offline_access organization.read https://x.example/[new]#1"),
        ("Scope", "SCOPE", "x" * 1024),
        ("ReturnUrls", "RETURN_URLS", ""),
        ("ReturnUrls", "RETURN_URLS", "https://app.example"),
        ("ReturnUrls", "RETURN_URLS", "https://app.example:8443/qonto?step=2&to=/a,b;c'(d)"),
        ("ReturnUrls", "RETURN_URLS", "https://app.example?done http://localhost:3000/"),
        ("ReturnUrls", "RETURN_URLS", "http://127.0.0.1/ https://[::1]:8000/back"),
        ("ReturnUrls", "RETURN_URLS", LONGEST_URL),
        ("AppName", "APP_NAME", ""),
        ("AppName", "APP_NAME", "Éditions <O'Brien> & 株式会社"),
        ("AppName", "APP_NAME", "x" * 64),
        ("SupportUrl", "SUPPORT_URL", ""),
        ("SupportUrl", "SUPPORT_URL", "https://app.example/help?about=qonto"),
        ("SupportUrl", "SUPPORT_URL", "mailto:help@app.example?subject=Qonto"),
    ],
)
def test_a_value_that_the_settings_take_can_be_deployed(
    template: Template, parameter: str, variable: str, value: str
) -> None:
    assert _settings_take(variable, value)
    assert _template_takes(template["Parameters"][parameter], value)


@pytest.mark.parametrize(
    ("parameter", "variable", "value"),
    [
        ("QontoEnvironment", "QONTO_ENVIRONMENT", "Production"),
        ("Pkce", "PKCE", "plain"),
        ("ClientId", "CLIENT_ID", ""),
        ("ClientId", "CLIENT_ID", "client id"),
        ("ClientId", "CLIENT_ID", "client&scope=x"),
        ("ClientId", "CLIENT_ID", "x" * 129),
        ("Scope", "SCOPE", ""),
        ("Scope", "SCOPE", "offline_access  organization.read"),
        ("Scope", "SCOPE", " offline_access"),
        ("Scope", "SCOPE", "offline_access "),
        ("Scope", "SCOPE", 'a"b'),
        ("Scope", "SCOPE", "a\\b"),
        ("Scope", "SCOPE", "organisation.liée"),
        ("Scope", "SCOPE", "x" * 1025),
        ("ReturnUrls", "RETURN_URLS", "app.example"),
        ("ReturnUrls", "RETURN_URLS", "//app.example"),
        ("ReturnUrls", "RETURN_URLS", "https:app.example"),
        ("ReturnUrls", "RETURN_URLS", "http://app.example/"),
        ("ReturnUrls", "RETURN_URLS", "http://localhost.app.example/"),
        ("ReturnUrls", "RETURN_URLS", "https://me@app.example/"),
        ("ReturnUrls", "RETURN_URLS", "https://app.example/#done"),
        ("ReturnUrls", "RETURN_URLS", "https://app.example\\@evil.example/"),
        ("ReturnUrls", "RETURN_URLS", "https://app.example/ javascript:alert(1)"),
        ("ReturnUrls", "RETURN_URLS", f"https://app.example/ {LONGEST_URL}x"),
        ("AppName", "APP_NAME", "two\nlines"),
        ("AppName", "APP_NAME", "next\x85line"),
        ("AppName", "APP_NAME", "x" * 65),
        ("SupportUrl", "SUPPORT_URL", "help@app.example"),
        ("SupportUrl", "SUPPORT_URL", "http://app.example/help"),
        ("SupportUrl", "SUPPORT_URL", "javascript:alert(1)"),
        ("SupportUrl", "SUPPORT_URL", "mailto:"),
        ("SupportUrl", "SUPPORT_URL", "mailto:help desk@app.example"),
    ],
)
def test_a_value_that_would_stop_a_function_cannot_be_deployed(
    template: Template, parameter: str, variable: str, value: str
) -> None:
    assert not _settings_take(variable, value)
    assert not _template_takes(template["Parameters"][parameter], value)


def test_every_default_can_be_deployed(template: Template) -> None:
    parameters = template["Parameters"]

    assert {name for name in parameters if "Default" not in parameters[name]} == {"ClientId"}
    assert parameters["QontoEnvironment"]["Default"] == "sandbox"
    for name, parameter in parameters.items():
        assert _template_takes(parameter, parameter.get("Default", "client")), name


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_the_longest_environment_fits_into_lambda(template: Template, logical_id: str) -> None:
    """Lambda holds 4 KB: a stack that passes its own parameters' checks must not fail on that."""
    longest_names = {
        "StateTable": 255,
        "AuthorizationTopic": len("arn:aws:sns:ap-northeast-1:123456789012:") + 256,
        "AWS::StackName": 128,
    }

    def longest(value: object) -> int:
        if isinstance(value, str):
            return len(value)
        assert isinstance(value, dict)
        if "Fn::Sub" in value:
            return 100
        parameter = template["Parameters"].get(value["Ref"])
        if parameter is None:
            return longest_names[value["Ref"]]
        if "AllowedValues" in parameter:
            return max(map(len, parameter["AllowedValues"]))
        # A name in any script: up to four bytes a character. The rest is ASCII.
        return int(parameter["MaxLength"]) * (4 if value["Ref"] == "AppName" else 1)

    variables = function(template, logical_id)["Environment"]

    assert sum(len(name) + longest(value) for name, value in variables.items()) <= 4096


# ------------------------------------------------------------ who may do what


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (
            "StartRole",
            {
                "IssueStates": ("dynamodb:PutItem", {"Fn::GetAtt": ["StateTable", "Arn"]}),
                "WriteLogs": (
                    ["logs:CreateLogStream", "logs:PutLogEvents"],
                    {"Fn::GetAtt": ["StartLogGroup", "Arn"]},
                ),
            },
        ),
        (
            "CallbackRole",
            {
                "ConsumeAndRestoreStates": (
                    ["dynamodb:DeleteItem", "dynamodb:PutItem"],
                    {"Fn::GetAtt": ["StateTable", "Arn"]},
                ),
                "PublishAuthorizations": ("sns:Publish", TOPIC),
                "UseTheTopicsKey": (
                    ["kms:Decrypt", "kms:GenerateDataKey*"],
                    {"Fn::GetAtt": ["AuthorizationTopicKey", "Arn"]},
                ),
                "WriteLogs": (
                    ["logs:CreateLogStream", "logs:PutLogEvents"],
                    {"Fn::GetAtt": ["CallbackLogGroup", "Arn"]},
                ),
            },
        ),
    ],
)
def test_a_role_can_do_its_work_and_nothing_else(
    template: Template, role: str, allowed: dict[str, tuple[object, object]]
) -> None:
    policies = [
        policy
        for policy in _properties(template, "AWS::IAM::Policy").values()
        if {"Ref": role} in policy["Roles"]
    ]

    assert [_statements(policy["PolicyDocument"]) for policy in policies] == [
        {
            sid: {"Effect": "Allow", "Action": action, "Resource": resource}
            for sid, (action, resource) in allowed.items()
        }
    ]
    assert template["Resources"][role]["Properties"].keys() == {
        "Description",
        "AssumeRolePolicyDocument",
    }


def test_each_function_has_a_role_of_its_own(template: Template) -> None:
    assert {logical_id: function(template, logical_id)["Role"] for logical_id in SETTINGS} == {
        "StartFunction": {"Fn::GetAtt": ["StartRole", "Arn"]},
        "CallbackFunction": CALLBACK_ROLE,
    }
    assert resources(template, "AWS::IAM::").keys() == {
        "StartRole",
        "StartPolicy",
        "CallbackRole",
        "CallbackPolicy",
    }
    for role in _properties(template, "AWS::IAM::Role").values():
        assert role["AssumeRolePolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ]


def test_nobody_but_callback_publishes_and_nothing_goes_in_the_clear(template: Template) -> None:
    """Denied, not just not allowed: an allow-only topic policy does not bind its own account."""
    policies = _properties(template, "AWS::SNS::TopicPolicy").values()
    everybody = {"Effect": "Deny", "Principal": "*", "Resource": TOPIC}

    assert [policy["Topics"] for policy in policies] == [[TOPIC]]
    (statements,) = (_statements(policy["PolicyDocument"]) for policy in policies)
    over_tls = statements.pop("OnlyOverTls")
    assert statements == {
        "OnlyCallbackPublishes": everybody
        | {
            "Action": "sns:Publish",
            "Condition": {"ArnNotEquals": {"aws:PrincipalArn": CALLBACK_ROLE}},
        },
        "OnlyMachinesSubscribeOverEncryptedTransport": everybody
        | {
            "Action": "sns:Subscribe",
            "Condition": {
                "StringNotEquals": {"sns:Protocol": ["firehose", "https", "lambda", "sqs"]}
            },
        },
    }
    assert {"sns:Publish", "sns:Subscribe"} < set(over_tls.pop("Action"))
    assert over_tls == everybody | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}


def test_the_topic_is_encrypted_with_a_key_that_only_callback_can_use(template: Template) -> None:
    ((key_id, key),) = _properties(template, "AWS::KMS::Key").items()
    topics = _properties(template, "AWS::SNS::Topic").values()
    statements = _statements(key["KeyPolicy"])
    management = statements.pop("TheAccountManagesTheKey")

    assert [topic["KmsMasterKeyId"] for topic in topics] == [{"Ref": key_id}]
    assert statements == {
        "CallbackPublishesThroughSns": {
            "Effect": "Allow",
            "Principal": {"AWS": CALLBACK_ROLE},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": {
                "StringEquals": {"kms:ViaService": {"Fn::Sub": "sns.${AWS::Region}.amazonaws.com"}}
            },
        }
    }
    using = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom")
    granting = ("kms:CreateGrant",)
    for action in management["Action"]:
        pattern = re.escape(action).replace(r"\*", ".*")
        assert not any(re.fullmatch(pattern, forbidden) for forbidden in (*using, *granting))


# ------------------------------------------------------------------------ states


def test_the_table_holds_states_until_they_expire(template: Template) -> None:
    (table,) = _properties(template, "AWS::DynamoDB::Table").values()

    assert table["KeySchema"] == [{"AttributeName": "state", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "state", "AttributeType": "S"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}


# -------------------------------------------------------------------------- logs


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_each_function_writes_json_to_a_log_group_that_forgets(
    template: Template, logical_id: str
) -> None:
    log_group = logical_id.replace("Function", "LogGroup")
    logging = (
        template["Globals"]["Function"]["LoggingConfig"]
        | (template["Resources"][logical_id]["Properties"]["LoggingConfig"])
    )

    assert logging == {"LogFormat": "JSON", "LogGroup": {"Ref": log_group}}
    assert _properties(template, "AWS::Logs::LogGroup")[log_group] == {"RetentionInDays": 30}
