"""What must hold for both stacks, whatever their templates look like."""

import copy
import json
import re
from itertools import combinations

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
from pydantic import BaseModel

from aws import CALL_CONFIG
from demo.template import ROOT, Json, Template, references
from settings import CallbackSettings, StartSettings
from state_store import CLAIM_LIFETIME
from subscriber.grants import LONGEST_RUN
from subscriber.settings import Settings as SubscriberSettings
from tests.infra.golden import TEMPLATES, golden, path, translated
from tests.infra.resolution import Resolution

STACKS = {stack: golden(stack) for stack in TEMPLATES}
CONNECTOR = Resolution(STACKS["connector"])
SUBSCRIBER = Resolution(STACKS["subscriber"])
each_stack = pytest.mark.parametrize("stack", TEMPLATES)
# The regions whose rules cfn-lint applies to the translated templates.
REGIONS = ["eu-west-3", "eu-central-1", "us-east-1", "ap-southeast-2", "eu-south-2"]
DOMAIN = {
    "DomainName": "connect.example.com",
    "CertificateArn": "arn:aws:acm:eu-west-3:123456789012:certificate/6f9a2b7c-0184",
}
# An account's quota in the newer regions, for all its APIs together (docs/quotas-and-costs.md).
QUOTA = {"ThrottlingRateLimit": 2_500, "ThrottlingBurstLimit": 1_250}
# Lambda's limit for the INIT phase, in seconds. Lambda repeats a slower one within the timeout.
INIT_LIMIT = 10
# The most by which the clocks of two hosts of API Gateway may differ, in seconds: a generous guess.
CLOCK_SKEW = 20
# A setting that is added after the first release has a default, for one release at least.
REQUIRED = {
    StartSettings: "CLIENT_ID QONTO_ENVIRONMENT REDIRECT_URI SCOPE TABLE_NAME",
    CallbackSettings: "CLIENT_ID QONTO_ENVIRONMENT TABLE_NAME TOPIC_ARN",
    SubscriberSettings: "API_URL CLIENT_ID CLIENT_SECRET_ARN CONNECTION_TABLE_NAME GRANT_TABLE_NAME"
    " QONTO_ENVIRONMENT QUEUE_URL REQUIRE_CONFIRMATION TOKEN_ENDPOINT",
}


def _longest(stack: str) -> Resolution:
    """Return *stack* with the longest names and parameters."""
    values = {
        name: max(map(str, rules["AllowedValues"]), key=len)
        if "AllowedValues" in rules
        else "x" * rules.get("MaxLength", 3)
        for name, rules in STACKS[stack]["Parameters"].items()
    }
    # AppName may have up to four bytes a character. A stack's name has at most 128 characters.
    names = {"AppName": "x" * 4 * 64, "AWS::StackName": "s" * 128, "StateTable": "x" * 255}
    return Resolution(STACKS[stack], **values | names, AuthorizationTopic="x" * 300)


def _variables(resolution: Resolution, function: str) -> dict[str, Json]:
    return dict(resolution.resources[function]["Properties"]["Environment"]["Variables"])


# -------------------------------------------------------------------------- the stacks


@each_stack
def test_golden_template_is_current(stack: str) -> None:
    """`.venv/bin/python -m tests.infra.golden` writes it; read what changed before a commit."""
    assert path(stack).read_text("utf-8") == translated(stack)


@each_stack
def test_translated_template_has_no_finding(stack: str) -> None:
    """cfn-lint finds circular references only after the translation."""
    findings = lint(json.dumps(STACKS[stack]), config=ManualArgs(regions=REGIONS))

    assert findings == []


@each_stack
def test_longest_parameters_fit_into_aws(stack: str) -> None:
    """The lengths are those of AWS's own schemas.

    Lambda has 4 KB for an environment, and SNS 30 KB for the policy of a topic.
    """
    resources = _longest(stack).resources
    findings = lint(json.dumps({"Resources": resources}), config=ManualArgs(regions=REGIONS[:1]))

    assert [each for each in findings if "is longer than" in each.message] == []
    for logical_id, resource in resources.items():
        if resource["Type"] == "AWS::Lambda::Function":
            variables = _variables(_longest(stack), logical_id)
            assert sum(len(name) + len(str(value)) for name, value in variables.items()) <= 4096
        if resource["Type"] == "AWS::SNS::TopicPolicy":  # with ARNs for the logical ids
            assert len(json.dumps(resource["Properties"])) + 4 * 2048 < 30_000


def test_only_logs_and_tokens_outlive_their_stack() -> None:
    """The key decrypts the tokens. A stack whose creation fails leaves nothing."""
    resources = STACKS["connector"]["Resources"] | STACKS["subscriber"]["Resources"]
    kept = {
        name
        for name, resource in resources.items()
        if resource.get("DeletionPolicy", "Delete") != "Delete"
    }

    assert kept == {"StartLogGroup", "CallbackLogGroup", "AccessLogGroup", "GrantTable", "TableKey"}
    for resource in resources.values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            assert resource["Properties"]["SSESpecification"]["SSEEnabled"]
            assert resource["Properties"]["TimeToLiveSpecification"]["Enabled"]
        if resource["Type"] == "AWS::SQS::Queue":
            assert resource["Properties"]["KmsMasterKeyId"] == {"Ref": "QueueKey"}


# ------------------------------------------------------------------------ the functions


@pytest.mark.parametrize(
    ("resolution", "name", "settings"),
    [
        (CONNECTOR, "Start", StartSettings),
        (CONNECTOR, "Callback", CallbackSettings),
        (SUBSCRIBER, "Subscriber", SubscriberSettings),
        (SUBSCRIBER, "Tokens", SubscriberSettings),
    ],
)
def test_function_gets_its_settings_log_and_policy(
    resolution: Resolution, name: str, settings: type[BaseModel]
) -> None:
    """Lambda updates code and environment in two steps, so each meets the other's older one.

    The stack never sets OAUTH_BASE_URL, which sends users to another host than Qonto's. An update
    brings a permission before the code that needs it. A stack reserves no concurrency by itself:
    a new account would refuse that.
    """
    resource = resolution.resources[f"{name}Function"]
    properties = resource["Properties"]
    variables = _variables(resolution, f"{name}Function")
    fields = {field.upper(): each for field, each in settings.model_fields.items()}

    ours = {each for each in variables if not each.startswith(("AWS_", "POWERTOOLS_", "PYDANTIC_"))}
    assert ours == fields.keys() - {"OAUTH_BASE_URL"}
    required = sorted(field for field, each in fields.items() if each.is_required())
    assert " ".join(required) == REQUIRED[settings]
    assert variables["POWERTOOLS_SERVICE_NAME"] == "connect"  # the metrics of two stacks differ
    assert properties["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": f"{name}LogGroup"}
    assert f"python{(ROOT / '.python-version').read_text('utf-8').strip()}" == properties["Runtime"]
    assert "ReservedConcurrentExecutions" not in properties
    assert resolution.resources[resource["DependsOn"]]["Properties"]["Roles"] == [f"{name}Role"]


def test_parameter_and_variable_share_one_name() -> None:
    """ClientId becomes CLIENT_ID. With an empty bundle, botocore would verify no certificate."""
    all_roots = _variables(Resolution(STACKS["connector"], TrustedRoots="all"), "StartFunction")
    assert "AWS_CA_BUNDLE" not in all_roots
    assert _variables(CONNECTOR, "StartFunction")["AWS_CA_BUNDLE"] == "/var/task/aws-roots.pem"
    for stack in STACKS.values():
        for name, value in re.findall(r'"([A-Z_]+)": \{"Ref": "(\w+)"\}', json.dumps(stack)):
            if value in stack["Parameters"] and name != "AWS":
                assert value == name.title().replace("_", "")


@pytest.mark.parametrize(("logical_id", "calls"), [("StartFunction", 1), ("CallbackFunction", 4)])
@pytest.mark.claim("S22")
def test_timeouts_leave_room_for_the_slowest_calls(logical_id: str, calls: int) -> None:
    """A function outlasts its AWS calls by two seconds, and the gateway waits 4 s for its INIT."""
    config = vars(CALL_CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    slowest_call = attempts * (config["connect_timeout"] + config["read_timeout"])
    pauses = attempts - 1  # at most a second each
    timeout = CONNECTOR.resources[logical_id]["Properties"]["Timeout"]

    assert calls * (slowest_call + pauses) + 2 <= timeout
    for integration in CONNECTOR.properties("AWS::ApiGatewayV2::Integration").values():
        assert timeout * 1000 + 4000 <= integration["TimeoutInMillis"] <= 30_000


@pytest.mark.claim("S22")
def test_claim_outlives_the_slowest_callback() -> None:
    """No callback still publishes when another response may claim the same state."""
    timeout = CONNECTOR.resources["CallbackFunction"]["Properties"]["Timeout"]

    assert INIT_LIMIT + timeout + CLOCK_SKEW < CLAIM_LIFETIME


def test_queue_keeps_messages_while_a_code_lives() -> None:
    """A retry follows the attempt. SNS does not retry what a queue without its policy refuses."""
    queue = SUBSCRIBER.resources["Queue"]["Properties"]
    functions = SUBSCRIBER.properties("AWS::Lambda::Function").values()

    assert {function["Timeout"] for function in functions} == {LONGEST_RUN}
    assert LONGEST_RUN < queue["VisibilityTimeout"] <= 60
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] < 600
    policy = SUBSCRIBER.resources[SUBSCRIBER.resources["Subscription"]["DependsOn"]]
    assert policy["Properties"]["Queues"] == ["Queue"]


def test_client_secret_goes_only_to_qonto() -> None:
    endpoints = STACKS["subscriber"]["Mappings"]["Qonto"].items()
    lookup = {"Fn::FindInMap": ["Qonto", "sandbox", "TokenEndpoint"]}

    assert _variables(SUBSCRIBER, "SubscriberFunction")["TOKEN_ENDPOINT"] == lookup
    assert _variables(SUBSCRIBER, "TokensFunction")["TOKEN_ENDPOINT"] == lookup
    assert {name: each["TokenEndpoint"] for name, each in endpoints} == {
        "production": "https://oauth.qonto.com/oauth2/token",
        "sandbox": "https://oauth-sandbox.staging.qonto.co/oauth2/token",
    }


def test_no_other_queue_moves_messages_here() -> None:
    """By default, any queue of the account may have these as its dead-letter queue."""
    queues = SUBSCRIBER.properties("AWS::SQS::Queue")
    arn = f"arn:aws:sqs:eu-west-3:123456789012:{queues['Queue']['QueueName']}"

    assert {name: queue["RedriveAllowPolicy"] for name, queue in queues.items()} == {
        "Queue": {"redrivePermission": "denyAll"},
        "DeadLetterQueue": {"redrivePermission": "byQueue", "sourceQueueArns": [arn]},
    }


# ------------------------------------------------------------------------------ the API


@pytest.mark.claim("S15")
def test_three_routes_are_the_only_entry_points() -> None:
    """A quick-create API, an OpenAPI body or a function's URL would be another."""
    routes = CONNECTOR.properties("AWS::ApiGatewayV2::Route").values()
    integrations = CONNECTOR.properties("AWS::ApiGatewayV2::Integration")
    [api] = CONNECTOR.properties("AWS::ApiGatewayV2::Api").values()
    types = {resource["Type"] for resource in CONNECTOR.resources.values()}
    source = "arn:aws:execute-api:eu-west-3:123456789012:HttpApi/*/GET"

    assert {route["RouteKey"]: route["Target"] for route in routes} == {
        "GET /start": "integrations/StartIntegration",
        "GET /callback": "integrations/CallbackIntegration",
        "GET /callback/{outcome}": "integrations/CallbackIntegration",
    }
    for name, integration in integrations.items():
        assert integration["IntegrationUri"] == name.replace("Integration", "Function.Arn")
    assert api.keys().isdisjoint({"Body", "BodyS3Location", "Target", "RouteKey"})
    assert types.isdisjoint({"AWS::Lambda::Url", "AWS::ApiGateway::RestApi"})
    for permission in CONNECTOR.properties("AWS::Lambda::Permission").values():
        assert permission["Principal"] == "apigateway.amazonaws.com"
        path = permission["FunctionName"].removesuffix("Function").lower()
        assert permission["SourceArn"].rstrip("*") == f"{source}/{path}"


@pytest.mark.claim("T11")
def test_flood_of_one_route_leaves_quota_to_others() -> None:
    """Each route has a limit; all together stay within half the quota, by default.

    A parameter would reach the untyped RouteSettings as text, which API Gateway refuses.
    """
    stage = STACKS["connector"]["Resources"]["HttpApiStage"]["Properties"]
    limits = stage["RouteSettings"]
    routes = CONNECTOR.properties("AWS::ApiGatewayV2::Route").values()
    default = int(STACKS["connector"]["Parameters"]["StartThrottle"]["Default"])

    assert {route["RouteKey"] for route in routes} - limits.keys() == {"GET /start"}
    for name, quota in QUOTA.items():
        assert stage["DefaultRouteSettings"][name] == {"Ref": "StartThrottle"}
        values = [limit[name] for limit in limits.values()]
        assert all(isinstance(value, int) for value in values)
        assert default + sum(values) <= quota


@pytest.mark.claim("S24")
def test_access_log_holds_no_code_or_state() -> None:
    """The format has no query, path, header or cookie; the route key is a constant.

    API Gateway may write to groups of this prefix without a policy that could grow too long.
    """
    settings = CONNECTOR.resources["HttpApiStage"]["Properties"]["AccessLogSettings"]
    group = CONNECTOR.resources["AccessLogGroup"]["Properties"]

    assert settings["DestinationArn"] == "AccessLogGroup.Arn"
    assert group["LogGroupName"] == "/aws/vendedlogs/connect/HttpApi"
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
    api = resolution.resources["HttpApi"]["Properties"]
    has_domain = "DomainName" in parameters

    outputs = resolution.outputs
    assert resolution.failed_assertions == []
    assert outputs["StartUrl"] == f"{url}/start"
    assert outputs["RedirectUri"] == f"{url}/callback"
    assert _variables(resolution, "StartFunction")["REDIRECT_URI"] == f"{url}/callback"
    assert api["DisableExecuteApiEndpoint"] is has_domain
    assert ("DomainTarget" in outputs) == ("ApiMapping" in resolution.resources) == has_domain


def test_parameters_that_require_others_are_refused() -> None:
    """A domain name needs its certificate, and the reverse. Somebody must confirm, or nobody."""
    for name, value in DOMAIN.items():
        [failed] = Resolution(STACKS["connector"], **{name: value}).failed_assertions
        assert failed.startswith(f"{name} needs ")
    assert [each.split()[0] for each in SUBSCRIBER.failed_assertions] == ["AppRoleArn"]
    for given in ({"AppRoleArn": "role"}, {"RequireConfirmation": "false"}):
        assert Resolution(STACKS["subscriber"], **given).failed_assertions == []


# -------------------------------------------------------------- one change at a time


def _unordered(template: Template, parent: str) -> set[tuple[str, str]]:
    """Return the pairs of resources with one *parent* that CloudFormation may change at once."""
    resources = template["Resources"]

    def needed(logical_id: str) -> set[str]:
        depends_on = resources[logical_id].get("DependsOn", [])
        direct: set[str] = references(resources[logical_id]["Properties"]) & resources.keys()
        direct |= {depends_on} if isinstance(depends_on, str) else set(depends_on)
        return direct.union(*map(needed, direct))

    children = [name for name, each in resources.items() if parent in each["Properties"]]
    return {
        (one, other)
        for one, other in combinations(sorted(children), 2)
        if resources[one]["Properties"][parent] == resources[other]["Properties"][parent]
        if one not in needed(other) and other not in needed(one)
    }


@pytest.mark.parametrize("parent", ["ApiId", "FunctionName"])
@each_stack
def test_parts_of_one_api_or_function_have_one_order(stack: str, parent: str) -> None:
    """CloudFormation creates at once what does not depend on each other.

    API Gateway (ConflictException) and Lambda (ResourceConflictException) refuse such changes.
    """
    assert _unordered(STACKS[stack], parent) == set()


def test_api_without_order_is_found() -> None:
    without = copy.deepcopy(STACKS["connector"])
    del without["Resources"]["CallbackRoute"]["DependsOn"]

    assert ("CallbackRoute", "StartRoute") in _unordered(without, "ApiId")
