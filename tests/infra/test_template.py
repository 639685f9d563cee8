"""What a deployer gets: the stack of infra/template.yaml, as CloudFormation will read it."""

import json
import re
from typing import Any, get_args

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
from pydantic import ValidationError

from aws import CALL_CONFIG
from demo.template import ROOT, Template, function, references
from settings import CallbackSettings, Settings, StartSettings
from tests.infra.resolution import Resolution

SETTINGS: dict[str, type[Settings]] = {
    "StartFunction": StartSettings,
    "CallbackFunction": CallbackSettings,
}
DOMAIN = {
    "DomainName": "connect.example.com",
    "CertificateArn": "arn:aws:acm:eu-west-3:123456789012:certificate/6f9a2b7c-0184",
}
# The account's, in most regions, for all its APIs together (docs/operations.md).
REQUESTS_A_SECOND = 10_000


def _properties(template: Template, type_: str) -> dict[str, dict[str, Any]]:
    return {
        logical_id: resource.get("Properties", {})
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == type_
    }


# --------------------------------------------------------------------- the whole


def test_what_sam_makes_of_the_template_has_no_finding(translated: str) -> None:
    """Circles of references show here alone, not in the template as it is written."""
    findings = lint(translated, config=ManualArgs(include_checks=["I"], regions=["eu-west-3"]))

    assert findings == []


def test_two_stacks_can_live_in_one_account(template: Template) -> None:
    """Names that an account can hold but once come from CloudFormation, or hold the stack's."""
    named = {
        (resource["Type"], name)
        for resource in template["Resources"].values()
        for name in resource.get("Properties", {})
        if name.endswith("Name")
    }

    assert named == {
        ("AWS::ApiGatewayV2::Api", "Name"),
        ("AWS::ApiGatewayV2::ApiMapping", "DomainName"),  # the deployer's
        ("AWS::ApiGatewayV2::DomainName", "DomainName"),
        ("AWS::ApiGatewayV2::Stage", "StageName"),
        ("AWS::CloudWatch::Alarm", "MetricName"),
        ("AWS::DynamoDB::Table", "TableName"),
        ("AWS::IAM::Policy", "PolicyName"),
        ("AWS::Lambda::Permission", "FunctionName"),
    }


def test_a_deleted_stack_leaves_its_logs_and_nothing_else(template: Template) -> None:
    """And a stack that does not come up leaves not even them."""
    policies = {
        logical_id: (resource["DeletionPolicy"], resource["UpdateReplacePolicy"])
        for logical_id, resource in template["Resources"].items()
        if {"DeletionPolicy", "UpdateReplacePolicy"} & resource.keys()
    }

    assert policies == {
        "StartLogGroup": ("RetainExceptOnCreate", "Retain"),
        "CallbackLogGroup": ("RetainExceptOnCreate", "Retain"),
        "AccessLogGroup": ("RetainExceptOnCreate", "Retain"),
        "StateTable": ("Delete", "Delete"),
        "AuthorizationTopicKey": ("Delete", "Delete"),
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
        "DisableExecuteApiEndpoint",
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


def test_a_flood_of_starts_leaves_the_quota_to_the_callbacks(template: Template) -> None:
    """They have no throttle of their own; start has, by default, a hundredth of the quota."""
    stage = template["Resources"]["HttpApiStage"]
    start = {"Ref": "StartThrottle"}

    assert stage["Properties"]["RouteSettings"] == {
        "GET /start": {"ThrottlingRateLimit": start, "ThrottlingBurstLimit": start}
    }
    assert "DefaultRouteSettings" not in stage["Properties"]
    assert template["Parameters"]["StartThrottle"]["Default"] <= REQUESTS_A_SECOND / 100
    # API Gateway refuses the settings of a route that is not there yet.
    assert template["Resources"][stage["DependsOn"]]["Properties"]["RouteKey"] == "GET /start"


# ----------------------------------------------------------- the address that people see


@pytest.mark.parametrize(
    ("parameters", "url"),
    [
        ({}, "https://HttpApi.execute-api.eu-west-3.amazonaws.com"),
        (DOMAIN, "https://connect.example.com"),
        ({"PublicBaseUrl": "https://app.example.com:8443"}, "https://app.example.com:8443"),
        (DOMAIN | {"PublicBaseUrl": "https://app.example.com"}, "https://app.example.com"),
    ],
    ids=["own host", "domain name", "something in front", "both"],
)
def test_the_address_that_people_see_is_told_and_sent(
    template: Template, parameters: dict[str, str], url: str
) -> None:
    """The redirection URI that a deployer registers is, byte for byte, the one that is sent."""
    resolution = Resolution(template, **parameters)

    start = resolution.resources["StartFunction"]["Properties"]["Environment"]["Variables"]

    assert resolution.complaints == []
    assert resolution.outputs["StartUrl"] == f"{url}/start"
    assert resolution.outputs["RedirectUri"] == start["REDIRECT_URI"] == f"{url}/callback"


def test_a_domain_name_leads_to_the_api_and_is_its_one_address(template: Template) -> None:
    resolution = Resolution(template, **DOMAIN)
    resources = resolution.resources

    [configuration] = resources["ApiDomainName"]["Properties"]["DomainNameConfigurations"]
    assert resources["ApiDomainName"]["Properties"]["DomainName"] == DOMAIN["DomainName"]
    assert configuration == {
        "CertificateArn": DOMAIN["CertificateArn"],
        "EndpointType": "REGIONAL",
        "SecurityPolicy": "TLS_1_2",
    }
    assert resources["ApiMapping"]["Properties"] == {
        "ApiId": "HttpApi",
        "DomainName": "ApiDomainName",
        "Stage": "HttpApiStage",
    }
    assert resources["HttpApi"]["Properties"]["DisableExecuteApiEndpoint"] is True
    assert resolution.outputs["DomainTarget"] == "ApiDomainName.RegionalDomainName"


@pytest.mark.parametrize("parameters", [{}, {"PublicBaseUrl": "https://app.example.com"}])
def test_without_a_domain_name_the_api_keeps_its_own_host(
    template: Template, parameters: dict[str, str]
) -> None:
    """What stands in front reaches the API by it."""
    resolution = Resolution(template, **parameters)

    assert resolution.resources["HttpApi"]["Properties"]["DisableExecuteApiEndpoint"] is False
    assert {"ApiDomainName", "ApiMapping"}.isdisjoint(resolution.resources)
    assert "DomainTarget" not in resolution.outputs


@pytest.mark.parametrize("alone", DOMAIN)
def test_a_domain_name_and_its_certificate_come_together(template: Template, alone: str) -> None:
    [other] = DOMAIN.keys() - {alone}

    [complaint] = Resolution(template, **{alone: DOMAIN[alone]}).complaints

    assert complaint.startswith(f"{alone} needs {other}: ")


# ------------------------------------------------------- parameters and settings


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_each_function_is_told_exactly_its_settings(template: Template, logical_id: str) -> None:
    """OAUTH_BASE_URL, which turns people to another host than Qonto's, is never among them."""
    variables = function(template, logical_id)["Environment"]
    settings = {field.alias for field in SETTINGS[logical_id].model_fields.values()}

    assert "OAUTH_BASE_URL" in settings
    assert {
        it for it in variables if not it.startswith(("AWS_", "POWERTOOLS_", "PYDANTIC_"))
    } == settings - {"OAUTH_BASE_URL"}


@pytest.mark.parametrize("logical_id", SETTINGS)
@pytest.mark.parametrize(
    ("trusted_roots", "bundle"), [("aws", "/var/task/aws-roots.pem"), ("all", None)]
)
def test_trusted_roots_choose_the_bundle(
    template: Template, logical_id: str, trusted_roots: str, bundle: str | None
) -> None:
    """An empty value would do harm: botocore would verify no certificate at all."""
    variables = function(template, logical_id)["Environment"]

    resolved = Resolution(template, TrustedRoots=trusted_roots)(variables)

    assert resolved.get("AWS_CA_BUNDLE") == bundle
    assert ("AWS_CA_BUNDLE" in resolved) == (trusted_roots == "aws")


def test_the_metrics_of_two_stacks_stay_apart(template: Template) -> None:
    for logical_id in SETTINGS:
        variables = function(template, logical_id)["Environment"]

        assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


def test_parameter_and_variable_are_one_word_in_two_cases(template: Template) -> None:
    """ClientId is CLIENT_ID."""
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    of_functions = [it for group in interface["ParameterGroups"][:2] for it in group["Parameters"]]
    told = {
        (name, value["Ref"])
        for logical_id in SETTINGS
        for name, value in function(template, logical_id)["Environment"].items()
        if isinstance(value, dict) and value.get("Ref") in template["Parameters"]
    }

    assert told == {
        (re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).upper(), parameter)
        for parameter in of_functions
    }


def test_every_parameter_is_described_and_has_its_place(template: Template) -> None:
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [it for group in interface["ParameterGroups"] for it in group["Parameters"]]

    assert grouped == list(interface["ParameterLabels"]) == list(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert len(parameter["Description"]) > 40, name
        assert "AllowedValues" in parameter or "ConstraintDescription" in parameter, name


def test_every_parameter_has_a_use(template: Template) -> None:
    used = references([template[section] for section in ("Conditions", "Globals", "Resources")])

    assert template["Parameters"].keys() <= used


def test_table_and_topic_are_the_stacks_own(template: Template) -> None:
    told_start = function(template, "StartFunction")["Environment"]
    told_callback = function(template, "CallbackFunction")["Environment"]

    assert told_start["TABLE_NAME"] == told_callback["TABLE_NAME"] == {"Ref": "StateTable"}
    assert told_callback["TOPIC_ARN"] == {"Ref": "AuthorizationTopic"}


def test_outputs_are_what_a_deployer_needs_next(template: Template) -> None:
    assert Resolution(template).outputs.keys() == {
        "StartUrl",
        "RedirectUri",
        "TopicArn",
        "TableName",
        "DashboardUrl",
    }


@pytest.mark.parametrize("given", ["", "25"])
def test_concurrency_is_reserved_for_both_functions_or_for_none(
    template: Template, given: str
) -> None:
    """A reservation that nobody asked for would refuse the stack of a new account."""
    function_defaults = Resolution(template, ReservedConcurrency=given)(template["Globals"])

    reserved = function_defaults["Function"].get("ReservedConcurrentExecutions", "")

    assert reserved == given


@pytest.mark.parametrize("parameter", ["QontoEnvironment", "Pkce", "IdentityType"])
def test_a_choice_offers_what_the_settings_take(template: Template, parameter: str) -> None:
    field = re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).lower()
    taken = get_args(StartSettings.model_fields[field].annotation)

    assert set(template["Parameters"][parameter]["AllowedValues"]) == set(taken)


def _template_takes(parameter: dict[str, Any], value: str) -> bool:
    if parameter["Type"] == "Number" and not value.isdecimal():
        return False
    return (
        value in map(str, parameter.get("AllowedValues", [value]))
        and ("MinValue" not in parameter or parameter["MinValue"] <= int(value))
        and ("MaxValue" not in parameter or int(value) <= parameter["MaxValue"])
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
        StartSettings.model_validate(environment | {variable: value})
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
        ("IdentityType", "IDENTITY_TYPE", "organization"),
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


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("DomainName", "connect.example.com"),
        ("DomainName", "xn--caf-dma.example"),
        ("CertificateArn", DOMAIN["CertificateArn"]),
        ("CertificateArn", "arn:aws-us-gov:acm:us-gov-west-1:123456789012:certificate/6f9a"),
        ("PublicBaseUrl", "https://app.example.com"),
        ("PublicBaseUrl", "https://app.example.com:8443"),
        ("StartThrottle", "1"),
        ("StartThrottle", "10000"),
        ("ReservedConcurrency", "100"),
        ("TopicKeyArn", "arn:aws:kms:eu-west-3:123456789012:key/6f9a2b7c-0184"),
        ("TopicKeyArn", "arn:aws:kms:eu-west-3:123456789012:key/mrk-6f9a2b7c0184"),
        ("AlarmTopicArn", "arn:aws:sns:eu-west-3:123456789012:On_call-1"),
        ("LogRetentionDays", "365"),
    ],
)
def test_what_a_stack_can_run_with_can_be_deployed(
    template: Template, parameter: str, value: str
) -> None:
    assert _template_takes(template["Parameters"][parameter], value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("DomainName", "https://connect.example.com"),
        ("DomainName", "Connect.example.com"),
        ("DomainName", "*.example.com"),
        ("DomainName", "connect.example.com."),
        ("DomainName", "localhost"),
        ("CertificateArn", "6f9a2b7c-0184"),
        ("CertificateArn", "arn:aws:iam::123456789012:server-certificate/connect"),
        ("PublicBaseUrl", "http://app.example.com"),
        ("PublicBaseUrl", "https://app.example.com/"),
        ("PublicBaseUrl", "https://app.example.com/qonto"),
        ("PublicBaseUrl", "https://me@app.example.com"),
        ("StartThrottle", "0"),
        ("StartThrottle", "2.5"),
        ("ReservedConcurrency", "0"),
        ("ReservedConcurrency", "-1"),
        ("TopicKeyArn", "alias/aws/sns"),
        ("TopicKeyArn", "arn:aws:kms:eu-west-3:123456789012:alias/mine"),
        ("AlarmTopicArn", "arn:aws:sns:eu-west-3:123456789012:on-call.fifo"),
        ("AlarmTopicArn", "arn:aws:sqs:eu-west-3:123456789012:on-call"),
        ("LogRetentionDays", "31"),
        ("LogRetentionDays", "0"),
    ],
)
def test_what_a_stack_cannot_run_with_cannot_be_deployed(
    template: Template, parameter: str, value: str
) -> None:
    assert not _template_takes(template["Parameters"][parameter], value)


@pytest.mark.parametrize("url", ["https://app.example.com", "https://A-1.example.com:8443"])
def test_a_redirection_uri_made_from_a_public_address_is_one_that_start_takes(
    template: Template, url: str
) -> None:
    assert _template_takes(template["Parameters"]["PublicBaseUrl"], url)
    assert _settings_take("REDIRECT_URI", f"{url}/callback")


def test_every_default_can_be_deployed(template: Template) -> None:
    parameters = template["Parameters"]

    assert {name for name in parameters if "Default" not in parameters[name]} == {"ClientId"}
    assert parameters["QontoEnvironment"]["Default"] == "sandbox"
    for name, parameter in parameters.items():
        assert _template_takes(parameter, str(parameter.get("Default", "client"))), name


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
        if "Fn::If" in value:
            condition, chosen, _ = value["Fn::If"]
            if condition != "HasPublicBaseUrl":
                return longest(chosen)
            return int(template["Parameters"]["PublicBaseUrl"]["MaxLength"]) + len("/callback")
        parameter = template["Parameters"].get(value["Ref"])
        if parameter is None:
            return longest_names[value["Ref"]]
        if "AllowedValues" in parameter:
            return max(map(len, parameter["AllowedValues"]))
        # A name in any script: up to four bytes a character. The rest is ASCII.
        return int(parameter["MaxLength"]) * (4 if value["Ref"] == "AppName" else 1)

    variables = function(template, logical_id)["Environment"]

    assert sum(len(name) + longest(value) for name, value in variables.items()) <= 4096


# ------------------------------------------------------------------------ states


def test_the_table_holds_states_until_they_expire(template: Template) -> None:
    (table,) = _properties(template, "AWS::DynamoDB::Table").values()

    assert table["TableName"] == {"Fn::Sub": "${AWS::StackName}-states"}
    assert table["KeySchema"] == [{"AttributeName": "state", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "state", "AttributeType": "S"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}
    # A ceiling for writes would throttle the deletes of callback too.
    assert "OnDemandThroughput" not in table


# -------------------------------------------------------------------------- logs


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_each_function_writes_json_to_a_log_group_of_its_own(
    template: Template, logical_id: str
) -> None:
    logging = (
        template["Globals"]["Function"]["LoggingConfig"]
        | (template["Resources"][logical_id]["Properties"]["LoggingConfig"])
    )

    assert logging == {
        "LogFormat": "JSON",
        "LogGroup": {"Ref": logical_id.replace("Function", "LogGroup")},
    }


def test_every_log_group_forgets(template: Template) -> None:
    assert _properties(template, "AWS::Logs::LogGroup") == {
        logical_id: {"RetentionInDays": {"Ref": "LogRetentionDays"}}
        for logical_id in ("StartLogGroup", "CallbackLogGroup", "AccessLogGroup")
    }


def test_the_access_log_holds_nothing_that_could_be_a_code_or_a_state(template: Template) -> None:
    """No query, path, header or cookie; the route is the template's own text."""
    settings = template["Resources"]["HttpApiStage"]["Properties"]["AccessLogSettings"]
    line = json.loads(settings["Format"])

    assert settings["DestinationArn"] == {"Fn::GetAtt": ["AccessLogGroup", "Arn"]}
    assert set(line.values()) == {
        "$context.requestId",
        "$context.integration.requestId",
        "$context.routeKey",
        "$context.status",
        "$context.identity.sourceIp",
        "$context.responseLatency",
        "$context.integration.latency",
        "$context.integration.integrationStatus",
        "$context.integrationErrorMessage",
        "$context.error.responseType",
    }
