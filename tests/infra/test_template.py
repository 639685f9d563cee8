"""What must hold for both stacks, whatever their templates look like."""

import json
import os
import re
import subprocess
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
from pydantic import BaseModel

from demo.template import ROOT, references
from settings import CallbackSettings, StartSettings
from state_store import CLAIM_LIFETIME
from subscriber.grants import LONGEST_RUN
from subscriber.settings import Settings as SubscriberSettings
from tests.infra.golden import PATHS, STACKS, translated
from tests.support.resolution import Resolution
from tests.support.slow import slow

CONNECTOR, SUBSCRIBER = map(Resolution, STACKS.values())
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
EXCEPTIONS = tomllib.loads(Path(__file__).with_name("checkov.toml").read_text("utf-8"))
each_stack = pytest.mark.parametrize("stack", STACKS)
REGIONS = ["eu-west-3", "eu-central-1", "us-east-1", "ap-southeast-2", "eu-south-2"]
# The properties that every resource of a type has.
NEEDED = {
    "AWS::DynamoDB::Table": {"SSESpecification", "TimeToLiveSpecification"},
    "AWS::KMS::Key": {"EnableKeyRotation"},
    "AWS::Logs::LogGroup": {"RetentionInDays"},
    "AWS::SNS::Topic": {"KmsMasterKeyId"},
    # By default, any queue of the account may have a queue as its dead-letter queue.
    "AWS::SQS::Queue": {"KmsMasterKeyId", "RedriveAllowPolicy"},
}
DOMAIN = {
    "DomainName": "connect.example.com",
    "CertificateArn": "arn:aws:acm:eu-west-3:123456789012:certificate/6f9a2b7c-0184",
}
# An account's quota in the newer regions, for all its APIs together (docs/operations.md).
QUOTA = {"ThrottlingRateLimit": 2_500, "ThrottlingBurstLimit": 1_250}
# In seconds: Lambda's limit for the INIT phase (it repeats a slower one within the timeout), and a
# generous guess of how much the clocks of two hosts of API Gateway may differ.
INIT_LIMIT, CLOCK_SKEW = 10, 20
SETTINGS: dict[str, type[BaseModel]] = {
    "StartFunction": StartSettings,
    "CallbackFunction": CallbackSettings,
    "SubscriberFunction": SubscriberSettings,
    "TokensFunction": SubscriberSettings,
}


@each_stack
def test_golden_template_is_current(stack: str) -> None:
    """`.venv/bin/python -m tests.infra.golden` writes it; read what changed before a commit."""
    assert PATHS[stack].read_text("utf-8") == translated(stack)


@each_stack
def test_translated_template_has_no_finding(stack: str) -> None:
    """cfn-lint finds circular references only after the translation."""
    assert lint(json.dumps(STACKS[stack]), config=ManualArgs(regions=REGIONS)) == []


@slow
@pytest.mark.skipif(not CHECKOV.exists(), reason="needs checkov: run `make .venv-checkov/.ready`")
@each_stack
def test_checkov_finds_only_the_listed_exceptions(stack: str, tmp_path: Path) -> None:
    options = "--framework cloudformation --output json --quiet --compact --skip-download"
    run = subprocess.run(
        # Checkov puts the path into the values of references; 40 characters look like a secret key.
        [CHECKOV, "--file", PATHS[stack].name, *options.split()],
        cwd=PATHS[stack].parent,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        check=False,
    )

    report = json.loads(run.stdout)
    failed = report["results"]["failed_checks"]
    findings = {(each["check_id"], each["resource"].rpartition(".")[2]) for each in failed}
    assert findings == {
        (check, name) for check, names in EXCEPTIONS[stack].items() for name in names
    }
    assert report["summary"]["parsing_errors"] == report["summary"]["skipped"] == 0
    assert report["summary"]["passed"] > len(findings)


@each_stack
def test_longest_parameters_fit_into_aws(stack: str) -> None:
    """Lambda has 4 KB for an environment, and SNS 30 KB for the policy of a topic."""
    values = {
        name: max(map(str, rules.get("AllowedValues", ["x" * rules.get("MaxLength", 3)])), key=len)
        for name, rules in STACKS[stack]["Parameters"].items()
    }
    # AppName may have up to four bytes a character. A stack's name has at most 128 characters.
    values |= {"AppName": "x" * 4 * 64, "AWS::StackName": "s" * 128, "StateTable": "x" * 255}
    longest = Resolution(STACKS[stack], **values, AuthorizationTopic="x" * 300)

    findings = lint(json.dumps({"Resources": longest.resources}), config=ManualArgs())
    assert [each for each in findings if "is longer than" in each.message] == []
    for function in longest.properties("AWS::Lambda::Function").values():
        variables = function["Environment"]["Variables"]
        assert len("".join(map(str, [*variables, *variables.values()]))) <= 4096
    for policy in longest.properties("AWS::SNS::TopicPolicy").values():
        assert len(json.dumps(policy)) + 4 * 2048 < 30_000  # with ARNs for the logical ids


@each_stack
def test_every_resource_has_what_its_type_needs(stack: str) -> None:
    for logical_id, resource in STACKS[stack]["Resources"].items():
        assert NEEDED.get(resource["Type"], set()) <= resource["Properties"].keys(), logical_id


@each_stack
@pytest.mark.claim("S26")
def test_function_has_a_role_with_one_policy_without_wildcard(stack: str) -> None:
    """An update brings a permission before the code that needs it."""
    resolution = Resolution(STACKS[stack])
    roles, policies = map(resolution.properties, ("AWS::IAM::Role", "AWS::IAM::Policy"))
    functions = resolution.properties("AWS::Lambda::Function")

    assert len(roles) == len(policies) == len(functions)
    for name, function in functions.items():
        policy = policies[resolution.resources[name]["DependsOn"]]
        own = name.replace("Function", "Role")
        assert (policy["Roles"], function["Role"]) == ([own], f"{own}.Arn")
        assert roles[own].keys() == {"AssumeRolePolicyDocument", "Description"}  # no other policy
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement.keys() == {"Sid", "Effect", "Action", "Resource"}
            assert statement["Effect"] == "Allow"
            assert "*" not in json.dumps(statement)


@each_stack
def test_function_gets_its_settings_and_log(stack: str) -> None:
    """OAUTH_BASE_URL would send users to another host than Qonto's."""
    python = (ROOT / ".python-version").read_text("utf-8").strip()
    resolution = Resolution(STACKS[stack])
    for name, function in resolution.properties("AWS::Lambda::Function").items():
        fields = map(str.upper, SETTINGS[name].model_fields)
        variables = function["Environment"]["Variables"]

        others = {each for each in variables if re.match("AWS_|POWERTOOLS_|PYDANTIC_", each)}
        assert variables.keys() - others == {*fields} - {"OAUTH_BASE_URL"}
        assert function["LoggingConfig"]["LogGroup"] == name.replace("Function", "LogGroup")
        assert function["Runtime"] == f"python{python}"
    for name, value in re.findall(r'"([A-Z_]+)": \{"Ref": "(\w+)"\}', json.dumps(STACKS[stack])):
        if value in STACKS[stack]["Parameters"] and name != "AWS":
            assert value == name.title().replace("_", "")  # ClientId becomes CLIENT_ID


@pytest.mark.claim("S22")
def test_timeouts_leave_room_for_the_slowest_run() -> None:
    """The gateway waits for an INIT, and no state is claimed again while its callback runs."""
    functions = CONNECTOR.properties("AWS::Lambda::Function")
    for integration in CONNECTOR.properties("AWS::ApiGatewayV2::Integration").values():
        timeout = functions[integration["IntegrationUri"].removesuffix(".Arn")]["Timeout"]
        assert timeout * 1000 + 4000 <= integration["TimeoutInMillis"] <= 30_000
    assert INIT_LIMIT + functions["CallbackFunction"]["Timeout"] + CLOCK_SKEW < CLAIM_LIFETIME


def test_queue_keeps_messages_while_a_code_lives() -> None:
    """A retry follows the attempt. SNS does not retry what a queue without its policy refuses."""
    queue = SUBSCRIBER.resources["Queue"]["Properties"]

    for function in SUBSCRIBER.properties("AWS::Lambda::Function").values():
        assert function["Timeout"] == LONGEST_RUN < queue["VisibilityTimeout"] <= 60
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] < 600
    policy = SUBSCRIBER.resources[SUBSCRIBER.resources["Subscription"]["DependsOn"]]
    assert policy["Properties"]["Queues"] == ["Queue"]


@pytest.mark.claim("S15")
def test_three_routes_are_the_only_entry_points() -> None:
    """A quick-create API, an OpenAPI body or a function's URL would be another."""
    routes = CONNECTOR.properties("AWS::ApiGatewayV2::Route").values()
    [api] = CONNECTOR.properties("AWS::ApiGatewayV2::Api").values()

    assert {route["RouteKey"]: route["Target"] for route in routes} == {
        "GET /start": "integrations/StartIntegration",
        "GET /callback": "integrations/CallbackIntegration",
        "GET /callback/{outcome}": "integrations/CallbackIntegration",
    }
    assert api.keys().isdisjoint({"Body", "BodyS3Location", "Target", "RouteKey"})
    for other in ("AWS::Lambda::Url", "AWS::ApiGateway::RestApi"):
        assert CONNECTOR.properties(other) == {}
    for permission in CONNECTOR.properties("AWS::Lambda::Permission").values():
        path = permission["FunctionName"].removesuffix("Function").lower()
        assert permission["Principal"] == "apigateway.amazonaws.com"
        assert permission["SourceArn"].rstrip("*").endswith(f":HttpApi/*/GET/{path}")


@pytest.mark.claim("T11")
def test_flood_of_one_route_leaves_quota_to_others() -> None:
    """A parameter would reach the untyped RouteSettings as text, which API Gateway refuses."""
    stage = STACKS["connector"]["Resources"]["HttpApiStage"]["Properties"]
    routes = CONNECTOR.properties("AWS::ApiGatewayV2::Route").values()
    default = int(STACKS["connector"]["Parameters"]["StartThrottle"]["Default"])

    keys = {route["RouteKey"] for route in routes}
    assert keys - stage["RouteSettings"].keys() == {"GET /start"}
    for name, quota in QUOTA.items():
        values = [limit[name] for limit in stage["RouteSettings"].values()]
        assert stage["DefaultRouteSettings"][name] == {"Ref": "StartThrottle"}
        assert all(isinstance(value, int) for value in values)
        assert default + sum(values) <= quota


@pytest.mark.claim("S24")
def test_access_log_holds_no_code_or_state() -> None:
    """The format has no query, path, header or cookie; the route key is a constant."""
    settings = CONNECTOR.resources["HttpApiStage"]["Properties"]["AccessLogSettings"]

    for variable in json.loads(settings["Format"]).values():
        assert re.fullmatch(
            r"\$context\.(error\.responseType|identity\.sourceIp|integrationErrorMessage"
            r"|integration\.\w+|requestId|responseLatency|routeKey|status)",
            variable,
        )


@pytest.mark.parametrize(
    ("parameters", "url"),
    [
        ({}, "https://HttpApi.execute-api.eu-west-3.amazonaws.com"),
        (DOMAIN, "https://connect.example.com"),
        ({"PublicBaseUrl": "https://app.example"}, "https://app.example"),
        (DOMAIN | {"PublicBaseUrl": "https://app.example"}, "https://app.example"),
    ],
)
def test_public_url_is_in_outputs_and_environment(parameters: dict[str, str], url: str) -> None:
    """The redirection URI that an operator registers equals the one that start sends."""
    resolution = Resolution(STACKS["connector"], **parameters)
    resources, outputs = resolution.resources, resolution.outputs
    domain = parameters.keys() >= DOMAIN.keys()

    assert outputs["StartUrl"] == f"{url}/start"
    assert outputs["RedirectUri"] == f"{url}/callback"
    variables = resources["StartFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["REDIRECT_URI"] == f"{url}/callback"
    assert resources["HttpApi"]["Properties"]["DisableExecuteApiEndpoint"] is domain
    assert ("DomainTarget" in outputs) == ("ApiMapping" in resources) == domain


def test_parameters_that_require_others_are_refused() -> None:
    for name, value in DOMAIN.items():
        [failed] = Resolution(STACKS["connector"], **{name: value}).failed_assertions
        assert failed.startswith(f"{name} needs ")
    assert [each.split()[0] for each in SUBSCRIBER.failed_assertions] == ["AppRoleArn"]
    for given in ({"AppRoleArn": "role"}, {"RequireConfirmation": "false"}):
        assert Resolution(STACKS["subscriber"], **given).failed_assertions == []


@pytest.mark.parametrize("parent", ["ApiId", "FunctionName"])
@each_stack
def test_parts_of_one_api_or_function_have_one_order(stack: str, parent: str) -> None:
    """CloudFormation changes the others at once, which API Gateway and Lambda refuse."""
    resources = STACKS[stack]["Resources"]

    def needed(logical_id: str) -> set[str]:
        named = json.dumps(resources[logical_id].get("DependsOn", ""))
        direct: set[str] = references(resources[logical_id]["Properties"]) & resources.keys()
        direct |= set(re.findall(r"\w+", named))
        return direct.union(*map(needed, direct))

    children = [name for name, each in resources.items() if parent in each["Properties"]]
    for one, other in combinations(children, 2):
        if resources[one]["Properties"][parent] == resources[other]["Properties"][parent]:
            assert one in needed(other) or other in needed(one), (one, other)
