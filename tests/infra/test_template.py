"""The stack that an operator deploys: infra/template.yaml, as CloudFormation reads it."""

import json
import re
from typing import Any, get_args

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
from pydantic import ValidationError

from aws import CALL_CONFIG
from demo.template import ROOT, Template, function, references
from settings import CallbackSettings, Settings, StartSettings
from state_store import CLAIM_LIFETIME
from tests.infra.resolution import REGIONS, Resolution

SETTINGS: dict[str, type[Settings]] = {
    "StartFunction": StartSettings,
    "CallbackFunction": CallbackSettings,
}
DOMAIN = {
    "DomainName": "connect.example.com",
    "CertificateArn": "arn:aws:acm:eu-west-3:123456789012:certificate/6f9a2b7c-0184",
}
# An account's quota in the newer regions, for all its APIs together (docs/quotas-and-costs.md).
REQUESTS_PER_SECOND = 2_500
REQUESTS_AT_ONCE = 1_250
# Lambda's limit for the INIT phase, in seconds. Lambda repeats a slower one within the timeout.
INIT_LIMIT = 10
# The most by which the clocks of two hosts of API Gateway may differ, in seconds: a generous guess.
CLOCK_SKEW = 20


def _properties(template: Template, type_: str) -> dict[str, dict[str, Any]]:
    return {
        logical_id: resource.get("Properties", {})
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == type_
    }


# --------------------------------------------------------------------- the stack


def test_translated_template_has_no_finding(translated: str) -> None:
    """cfn-lint finds circular references only after the translation."""
    findings = lint(translated, config=ManualArgs(include_checks=["I"], regions=REGIONS))

    assert findings == []


def test_two_stacks_can_live_in_one_account(template: Template) -> None:
    """CloudFormation generates each unique name, or the name contains the stack's."""
    named = {
        (resource["Type"], name)
        for resource in template["Resources"].values()
        for name in resource.get("Properties", {})
        if name.endswith("Name")
    }

    assert named == {
        ("AWS::ApiGatewayV2::Api", "Name"),
        ("AWS::ApiGatewayV2::ApiMapping", "DomainName"),  # the operator's
        ("AWS::ApiGatewayV2::DomainName", "DomainName"),
        ("AWS::ApiGatewayV2::Stage", "StageName"),
        ("AWS::CloudWatch::Alarm", "MetricName"),
        ("AWS::IAM::Policy", "PolicyName"),
        ("AWS::Lambda::Permission", "FunctionName"),
        ("AWS::Logs::LogGroup", "LogGroupName"),
    }


def test_deleted_stack_leaves_only_its_logs(template: Template) -> None:
    """A stack whose creation fails leaves no logs either."""
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


def test_functions_run_the_tested_python_version(template: Template) -> None:
    version = (ROOT / ".python-version").read_text("utf-8").strip()

    for logical_id in SETTINGS:
        assert function(template, logical_id)["Runtime"] == f"python{version}"


# ------------------------------------------------------------------------ routes


def test_three_routes_are_the_only_entry_points(template: Template) -> None:
    """A quick-create API or an OpenAPI body would add routes that are not resources."""
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
        ("CallbackFunction", f"{api}/*/GET/callback*"),
    }
    assert {(permission["Principal"], permission["Action"]) for permission in permissions} == {
        ("apigateway.amazonaws.com", "lambda:InvokeFunction")
    }


@pytest.mark.parametrize(("logical_id", "calls"), [("StartFunction", 1), ("CallbackFunction", 4)])
def test_timeouts_leave_room_for_the_slowest_calls(
    template: Template, logical_id: str, calls: int
) -> None:
    """A function outlasts its AWS calls by two seconds, and the gateway waits 4 s for its INIT."""
    config = vars(CALL_CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    slowest_call = attempts * (config["connect_timeout"] + config["read_timeout"])
    pauses = attempts - 1  # at most a second each
    timeout = function(template, logical_id)["Timeout"]

    assert calls * (slowest_call + pauses) + 2 <= timeout
    for integration in _properties(template, "AWS::ApiGatewayV2::Integration").values():
        assert timeout * 1000 + 4000 <= integration["TimeoutInMillis"] <= 30_000


def test_claim_outlives_the_slowest_callback(template: Template) -> None:
    """No callback still publishes when another response may claim the same state."""
    timeout = function(template, "CallbackFunction")["Timeout"]

    assert INIT_LIMIT + timeout + CLOCK_SKEW < CLAIM_LIFETIME


def test_flood_of_one_route_leaves_quota_to_others(template: Template) -> None:
    """Each route has a limit; all together stay within half the quota, by default."""
    stage = template["Resources"]["HttpApiStage"]
    throttle = template["Parameters"]["StartThrottle"]
    limits = stage["Properties"]["RouteSettings"]
    routes = _properties(template, "AWS::ApiGatewayV2::Route").values()

    assert {route["RouteKey"] for route in routes} - limits.keys() == {"GET /start"}
    for name, quota in (
        ("ThrottlingRateLimit", REQUESTS_PER_SECOND),
        ("ThrottlingBurstLimit", REQUESTS_AT_ONCE),
    ):
        assert stage["Properties"]["DefaultRouteSettings"][name] == {"Ref": "StartThrottle"}
        values = [limit[name] for limit in limits.values()]
        assert all(isinstance(value, int) for value in values)
        assert int(throttle["Default"]) + sum(values) <= quota
    assert not re.fullmatch(throttle["AllowedPattern"], "201")


# -------------------------------------------------------------------- public URL


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
def test_public_url_is_in_outputs_and_environment(
    template: Template, parameters: dict[str, str], url: str
) -> None:
    """The redirection URI that an operator registers equals the one that start sends."""
    resolution = Resolution(template, **parameters)

    start = resolution.resources["StartFunction"]["Properties"]["Environment"]["Variables"]

    assert resolution.failed_assertions == []
    assert resolution.outputs["StartUrl"] == f"{url}/start"
    assert resolution.outputs["RedirectUri"] == start["REDIRECT_URI"] == f"{url}/callback"


def test_domain_name_replaces_the_apis_own_host(template: Template) -> None:
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
    assert resolution.outputs["DomainHostedZoneId"] == "ApiDomainName.RegionalHostedZoneId"


@pytest.mark.parametrize("parameters", [{}, {"PublicBaseUrl": "https://app.example.com"}])
def test_api_without_domain_name_keeps_its_host(
    template: Template, parameters: dict[str, str]
) -> None:
    """A proxy in front of the API connects to this host."""
    resolution = Resolution(template, **parameters)

    assert resolution.resources["HttpApi"]["Properties"]["DisableExecuteApiEndpoint"] is False
    assert {"ApiDomainName", "ApiMapping"}.isdisjoint(resolution.resources)
    assert "DomainTarget" not in resolution.outputs


@pytest.mark.parametrize("alone", DOMAIN)
def test_domain_name_and_certificate_require_each_other(template: Template, alone: str) -> None:
    [other] = DOMAIN.keys() - {alone}

    [failed_assertion] = Resolution(template, **{alone: DOMAIN[alone]}).failed_assertions

    assert failed_assertion.startswith(f"{alone} needs {other}: ")


# ------------------------------------------------------- parameters and settings


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_each_function_receives_exactly_its_settings(template: Template, logical_id: str) -> None:
    """The stack never sets OAUTH_BASE_URL, which sends users to another host than Qonto's."""
    variables = function(template, logical_id)["Environment"]
    settings = {field.alias for field in SETTINGS[logical_id].model_fields.values()}

    assert "OAUTH_BASE_URL" in settings
    assert {
        name for name in variables if not name.startswith(("AWS_", "POWERTOOLS_", "PYDANTIC_"))
    } == settings - {"OAUTH_BASE_URL"}


@pytest.mark.parametrize("logical_id", SETTINGS)
@pytest.mark.parametrize(
    ("trusted_roots", "bundle"), [("aws", "/var/task/aws-roots.pem"), ("all", None)]
)
def test_trusted_roots_select_the_bundle(
    template: Template, logical_id: str, trusted_roots: str, bundle: str | None
) -> None:
    """With an empty value, botocore would not verify any certificate."""
    variables = function(template, logical_id)["Environment"]

    resolved = Resolution(template, TrustedRoots=trusted_roots)(variables)

    assert resolved.get("AWS_CA_BUNDLE") == bundle
    assert ("AWS_CA_BUNDLE" in resolved) == (trusted_roots == "aws")


def test_metrics_of_two_stacks_are_separate(template: Template) -> None:
    for logical_id in SETTINGS:
        variables = function(template, logical_id)["Environment"]

        assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}


def test_parameter_and_variable_share_one_name(template: Template) -> None:
    """The parameter ClientId becomes the variable CLIENT_ID."""
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    names = [name for group in interface["ParameterGroups"][:2] for name in group["Parameters"]]
    variables = {
        (name, value["Ref"])
        for logical_id in SETTINGS
        for name, value in function(template, logical_id)["Environment"].items()
        if isinstance(value, dict) and value.get("Ref") in template["Parameters"]
    }

    assert variables == {
        (re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).upper(), parameter) for parameter in names
    }


def test_every_parameter_has_group_label_and_description(template: Template) -> None:
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]

    assert grouped == list(interface["ParameterLabels"]) == list(template["Parameters"])
    for name, parameter in template["Parameters"].items():
        assert len(parameter["Description"]) > 40, name
        assert "AllowedValues" in parameter or "ConstraintDescription" in parameter, name


def test_every_parameter_is_used(template: Template) -> None:
    used = references([template[section] for section in ("Conditions", "Globals", "Resources")])

    assert template["Parameters"].keys() <= used


def test_functions_receive_the_stacks_table_and_topic(template: Template) -> None:
    start = function(template, "StartFunction")["Environment"]
    callback = function(template, "CallbackFunction")["Environment"]

    assert start["TABLE_NAME"] == callback["TABLE_NAME"] == {"Ref": "StateTable"}
    assert callback["TOPIC_ARN"] == {"Ref": "AuthorizationTopic"}


def test_default_stack_has_the_outputs_operators_need(template: Template) -> None:
    assert Resolution(template).outputs.keys() == {
        "StartUrl",
        "RedirectUri",
        "TopicArn",
        "TableName",
        "DashboardUrl",
    }


@pytest.mark.parametrize("given", ["", "25"])
def test_concurrency_is_reserved_only_if_given(template: Template, given: str) -> None:
    """A default reservation would exceed the quota of a new account and fail its stack."""
    function_defaults = Resolution(template, ReservedConcurrency=given)(template["Globals"])

    reserved = function_defaults["Function"].get("ReservedConcurrentExecutions", "")

    assert reserved == given


@pytest.mark.parametrize("parameter", ["QontoEnvironment", "Pkce", "IdentityType"])
def test_allowed_values_equal_those_of_the_settings(template: Template, parameter: str) -> None:
    field = re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).lower()
    accepted = get_args(StartSettings.model_fields[field].annotation)

    assert set(template["Parameters"][parameter]["AllowedValues"]) == set(accepted)


def _template_accepts(parameter: dict[str, Any], value: str) -> bool:
    if parameter["Type"] == "Number" and not value.isdecimal():
        return False
    return (
        value in map(str, parameter.get("AllowedValues", [value]))
        and ("MinValue" not in parameter or parameter["MinValue"] <= int(value))
        and ("MaxValue" not in parameter or int(value) <= parameter["MaxValue"])
        and len(value) <= parameter.get("MaxLength", len(value))
        and re.fullmatch(parameter.get("AllowedPattern", "(?s:.*)"), value) is not None
    )


def _settings_accept(variable: str, value: str) -> bool:
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
def test_value_valid_for_settings_can_be_deployed(
    template: Template, parameter: str, variable: str, value: str
) -> None:
    assert _settings_accept(variable, value)
    assert _template_accepts(template["Parameters"][parameter], value)


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
        ("AppName", "APP_NAME", "back\\slash"),  # SAM's prompts lose it
        ("SupportUrl", "SUPPORT_URL", "help@app.example"),
        ("SupportUrl", "SUPPORT_URL", "http://app.example/help"),
        ("SupportUrl", "SUPPORT_URL", "javascript:alert(1)"),
        ("SupportUrl", "SUPPORT_URL", "mailto:"),
        ("SupportUrl", "SUPPORT_URL", "mailto:help\\@app.example"),
        ("SupportUrl", "SUPPORT_URL", "mailto:help desk@app.example"),
    ],
)
def test_value_invalid_for_settings_cannot_be_deployed(
    template: Template, parameter: str, variable: str, value: str
) -> None:
    assert not _settings_accept(variable, value)
    assert not _template_accepts(template["Parameters"][parameter], value)


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
        ("StartThrottle", "200"),
        ("ReservedConcurrency", "100"),
        (
            "TopicKeyArn",
            "arn:aws:kms:eu-west-3:123456789012:key/6f9a2b7c-0184-4c3a-9d1e-5b7c3a2f1e0d",
        ),
        (
            "TopicKeyArn",
            "arn:aws:kms:eu-west-3:123456789012:key/mrk-6f9a2b7c01844c3a9d1e5b7c3a2f1e0d",
        ),
        ("SubscriberEndpoints", "https://events.example.com:8443/qonto?a=b https://a.example/*"),
        (
            "SubscriberEndpoints",
            "arn:aws:sqs:*:999999999999:* arn:aws:lambda:eu-west-3:999999999999:function:x",
        ),
        ("SubscriberEndpoints", "arn:aws:firehose:eu-west-3:999999999999:deliverystream/events"),
        ("AlarmTopicArn", "arn:aws:sns:eu-west-3:123456789012:On_call-1"),
        ("LogRetentionDays", "365"),
    ],
)
def test_valid_infrastructure_value_can_be_deployed(
    template: Template, parameter: str, value: str
) -> None:
    assert _template_accepts(template["Parameters"][parameter], value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("DomainName", "https://connect.example.com"),
        ("DomainName", "Connect.example.com"),
        ("DomainName", "*.example.com"),
        ("DomainName", "connect.example.com."),
        ("DomainName", "localhost"),
        ("DomainName", "192.0.2.1"),
        ("CertificateArn", "6f9a2b7c-0184"),
        ("CertificateArn", "arn:aws:iam::123456789012:server-certificate/connect"),
        ("PublicBaseUrl", "http://app.example.com"),
        ("PublicBaseUrl", "https://app.example.com/"),
        ("PublicBaseUrl", "https://app.example.com/qonto"),
        ("PublicBaseUrl", "https://me@app.example.com"),
        ("StartThrottle", "0"),
        ("StartThrottle", "2.5"),
        ("StartThrottle", "201"),
        ("ReservedConcurrency", "0"),
        ("ReservedConcurrency", "-1"),
        ("TopicKeyArn", "alias/aws/sns"),
        ("TopicKeyArn", "arn:aws:kms:eu-west-3:123456789012:key/6f9a2b7c-0184"),
        ("TopicKeyArn", "arn:aws:kms:eu-west-3:123456789012:alias/mine"),
        ("SubscriberEndpoints", "*"),
        ("SubscriberEndpoints", "https://*"),
        ("SubscriberEndpoints", "https://*.example.com/"),
        ("SubscriberEndpoints", "https://events.example.com*"),
        ("SubscriberEndpoints", "https://me@events.example.com/"),
        ("SubscriberEndpoints", "http://events.example.com/"),
        ("SubscriberEndpoints", "mallory@example.com"),
        ("SubscriberEndpoints", "arn:aws:sqs:*:*:events"),
        ("SubscriberEndpoints", "arn:aws:*:*:999999999999:*"),
        # It would name the function 999999999999 of any account, since * stands for colons too.
        ("SubscriberEndpoints", "arn:aws:lambda:*:999999999999:*"),
        ("SubscriberEndpoints", "arn:aws:lambda:*:999999999999:f*"),
        ("SubscriberEndpoints", "arn:aws:sns:eu-west-3:999999999999:endpoint/x"),
        ("SubscriberEndpoints", "https://a.example/  https://b.example/"),
        ("SubscriberEndpoints", "https://a.example/ "),
        ("AlarmTopicArn", "arn:aws:sns:eu-west-3:123456789012:on-call.fifo"),
        ("AlarmTopicArn", f"arn:aws:sns:eu-west-3:123456789012:{'x' * 257}"),
        ("AlarmTopicArn", "arn:aws:sqs:eu-west-3:123456789012:on-call"),
        ("LogRetentionDays", "31"),
        ("LogRetentionDays", "0"),
    ],
)
def test_invalid_infrastructure_value_cannot_be_deployed(
    template: Template, parameter: str, value: str
) -> None:
    assert not _template_accepts(template["Parameters"][parameter], value)


@pytest.mark.parametrize("url", ["https://app.example.com", "https://A-1.example.com:8443"])
def test_start_accepts_redirect_uri_of_public_base_url(template: Template, url: str) -> None:
    assert _template_accepts(template["Parameters"]["PublicBaseUrl"], url)
    assert _settings_accept("REDIRECT_URI", f"{url}/callback")


def test_every_default_can_be_deployed(template: Template) -> None:
    parameters = template["Parameters"]

    assert {name for name in parameters if "Default" not in parameters[name]} == {"ClientId"}
    assert parameters["QontoEnvironment"]["Default"] == "sandbox"
    for name, parameter in parameters.items():
        assert _template_accepts(parameter, str(parameter.get("Default", "client"))), name


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_longest_environment_fits_into_lambda(template: Template, logical_id: str) -> None:
    """No valid parameters may exceed Lambda's limit of 4 KB, which would fail the deployment."""
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
        # AppName may have up to four bytes a character. All others are ASCII.
        return int(parameter["MaxLength"]) * (4 if value["Ref"] == "AppName" else 1)

    variables = function(template, logical_id)["Environment"]

    assert sum(len(name) + longest(value) for name, value in variables.items()) <= 4096


# ------------------------------------------------------------------------ states


def test_table_holds_states_until_they_expire(template: Template) -> None:
    (table,) = _properties(template, "AWS::DynamoDB::Table").values()

    assert table["KeySchema"] == [{"AttributeName": "state", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "state", "AttributeType": "S"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}
    # A limit for writes would also throttle those of callback.
    assert "OnDemandThroughput" not in table


# ----------------------------------------------------------------------- updates


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_update_brings_permissions_before_code(template: Template, logical_id: str) -> None:
    policy = template["Resources"][template["Resources"][logical_id]["DependsOn"]]

    assert policy["Type"] == "AWS::IAM::Policy"
    assert policy["Properties"]["Roles"] == [{"Ref": logical_id.replace("Function", "Role")}]


# -------------------------------------------------------------------------- logs


@pytest.mark.parametrize("logical_id", SETTINGS)
def test_each_function_logs_json_to_its_group(template: Template, logical_id: str) -> None:
    logging = (
        template["Globals"]["Function"]["LoggingConfig"]
        | (template["Resources"][logical_id]["Properties"]["LoggingConfig"])
    )

    assert logging == {
        "LogFormat": "JSON",
        "LogGroup": {"Ref": logical_id.replace("Function", "LogGroup")},
    }


def test_every_log_group_has_a_retention(template: Template) -> None:
    groups = _properties(template, "AWS::Logs::LogGroup")

    assert groups.keys() == {"StartLogGroup", "CallbackLogGroup", "AccessLogGroup"}
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())


def test_access_log_has_room_and_own_name(template: Template) -> None:
    """A group that an earlier stack of this name left must not be in the way.

    "CloudWatch Logs resource policies are limited to 5120 characters. When CloudWatch Logs detects
    that a policy approaches this size limit, it automatically enables log groups that start with
    /aws/vendedlogs/." (*Avoiding Amazon CloudWatch Logs resource policy size restrictions*, AWS
    Step Functions Developer Guide.)
    """
    group = template["Resources"]["AccessLogGroup"]["Properties"]

    assert group["LogGroupName"] == {"Fn::Sub": "/aws/vendedlogs/${AWS::StackName}/${HttpApi}"}


def test_access_log_holds_no_code_or_state(template: Template) -> None:
    """The format has no query, path, header or cookie; the route key is a constant."""
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
