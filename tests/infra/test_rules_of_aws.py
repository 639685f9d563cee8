"""Rules of AWS that cfn-lint does not know, held against both templates.

Each test is named after its rule, with AWS's own words, and the page that has them, beside it.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]
from pydantic import BaseModel

from demo.live import EXAMPLE
from demo.template import Template, function, load, references, resources
from settings import CallbackSettings, StartSettings
from subscriber.settings import Settings as SubscriberSettings
from tests.infra.resolution import Resolution

CONNECTOR = load()
SUBSCRIBER = load(EXAMPLE)
TEMPLATES = pytest.mark.parametrize(
    "template", [CONNECTOR, SUBSCRIBER], ids=["connector", "subscriber"]
)
# Properties of these names hold documents, in which each value is a string.
DOCUMENTS = {"KeyPolicy", "PolicyDocument"}
# The settings without a default. They are as old as the first release, which is to come: a setting
# that is added later has a default, for one release at least.
REQUIRED = {
    "StartFunction": {"QONTO_ENVIRONMENT", "CLIENT_ID", "TABLE_NAME", "SCOPE", "REDIRECT_URI"},
    "CallbackFunction": {"QONTO_ENVIRONMENT", "CLIENT_ID", "TABLE_NAME", "TOPIC_ARN"},
    "SubscriberFunction": {
        *("GRANT_TABLE_NAME", "CONNECTION_TABLE_NAME", "QUEUE_URL", "CLIENT_SECRET_ARN"),
        *("QONTO_ENVIRONMENT", "CLIENT_ID", "TOKEN_ENDPOINT", "API_URL", "REQUIRE_CONFIRMATION"),
    },
}
REQUIRED["TokensFunction"] = REQUIRED["SubscriberFunction"]
SETTINGS: list[tuple[Template, str, type[BaseModel]]] = [
    (CONNECTOR, "StartFunction", StartSettings),
    (CONNECTOR, "CallbackFunction", CallbackSettings),
    (SUBSCRIBER, "SubscriberFunction", SubscriberSettings),
    (SUBSCRIBER, "TokensFunction", SubscriberSettings),
]


# ------------------------------------------------------- one change at a time


def _unordered(template: Template, parent: str) -> set[tuple[str, str]]:
    """Return the pairs of resources with one *parent* that CloudFormation may change at once."""
    resources = template["Resources"]
    needed: dict[str, set[str]] = {}

    def all_needed(logical_id: str) -> set[str]:
        if logical_id not in needed:
            depends_on = resources[logical_id].get("DependsOn", [])
            direct = references(resources[logical_id]["Properties"]) & resources.keys()
            direct |= {depends_on} if isinstance(depends_on, str) else set(depends_on)
            needed[logical_id] = direct.union(*map(all_needed, direct))
        return needed[logical_id]

    children = {
        logical_id: resource["Properties"][parent]
        for logical_id, resource in resources.items()
        if parent in resource["Properties"]
    }
    return {
        (one, other)
        for one in children
        for other in children
        if one < other
        and children[one] == children[other]
        and one not in all_needed(other)
        and other not in all_needed(one)
    }


@TEMPLATES
def test_parts_of_one_api_have_one_order(template: Template) -> None:
    """API Gateway refuses two changes of an API at a moment, and CloudFormation makes them.

    ConflictException: "Unable to complete operation due to concurrent modification. Please try
    again later.", as operators report it. CloudFormation creates at once what does not depend on
    each other (*DependsOn attribute*, CloudFormation Template Reference).
    """
    assert _unordered(template, "ApiId") == set()


@TEMPLATES
def test_policy_of_one_function_has_one_change(template: Template) -> None:
    """Lambda has the same rule for the permissions of a function.

    ResourceConflictException: "The resource already exists, or another operation is in progress."
    (*AddPermission*, Lambda API Reference.)
    """
    assert _unordered(template, "FunctionName") == set()


@TEMPLATES
def test_function_has_one_kind_of_policy(template: Template) -> None:
    """One kind would overwrite the other.

    "Don't use both resource types to set permissions on a function."
    (*AWS::Lambda::ResourcePolicy*, CloudFormation Template Reference.)
    """
    permitted, closed = (
        references([each["Properties"][name] for each in resources(template, kind).values()])
        for kind, name in (
            ("AWS::Lambda::Permission", "FunctionName"),
            ("AWS::Lambda::ResourcePolicy", "ResourceArn"),
        )
    )

    assert permitted & closed == set()


def test_queue_has_its_policy_before_the_subscription() -> None:
    """An event that comes in between would be lost, and deletion has the reverse order.

    "the subscription needs to have a dependency on the SQS queue policy in order for the
    subscription to successfully deliver messages" (*TopicSubscriptionConfig*, CDK API Reference).
    "The delivery policy defines how Amazon SNS retries the delivery of messages when server-side
    errors occur" (*Amazon SNS message delivery retries*): it is not for a refusal.
    """
    subscription = SUBSCRIBER["Resources"]["Subscription"]
    policy = SUBSCRIBER["Resources"][subscription.get("DependsOn", "Queue")]["Properties"]

    assert subscription["Properties"]["Endpoint"] == {"Fn::GetAtt": ["Queue", "Arn"]}
    assert policy.get("Queues") == [{"Ref": "Queue"}]


def test_api_without_order_is_found() -> None:
    without = copy.deepcopy(CONNECTOR)
    del without["Resources"]["CallbackRoute"]["DependsOn"]

    assert ("CallbackRoute", "StartRoute") in _unordered(without, "ApiId")


# ------------------------------------------------------------ untyped properties


type Visit = Callable[[str, dict[str, Any], Any], Iterator[str]]


def _visit(template: Template, visit: Visit) -> list[str]:
    """Return all that *visit* yields of each property's path, schema and value."""

    def walk(path: str, schema: dict[str, Any], value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
        schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        yield from visit(path, schema, value)
        if isinstance(value, dict):
            for name, member in value.items():
                yield from walk(
                    f"{path}.{name}", schema.get("properties", {}).get(name, {}), member
                )
        if isinstance(value, list):
            for item in value:
                yield from walk(path, schema.get("items", {}), item)

    found: list[str] = []
    for logical_id, resource in template["Resources"].items():
        if not resource["Type"].startswith("AWS::Serverless::"):
            schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-3", resource["Type"])
            definitions = schema.schema.get("definitions", {})
            found += walk(logical_id, schema.schema, resource.get("Properties", {}))
    return found


def _untyped_parameters(template: Template) -> list[str]:
    def visit(path: str, schema: dict[str, Any], value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
        is_untyped = "object" in schema.get("type", []) and "properties" not in schema
        if is_untyped and path.rpartition(".")[2] not in DOCUMENTS:
            for name in references(value) & template["Parameters"].keys():
                yield f"{path}: {name}"

    return _visit(template, visit)


@TEMPLATES
def test_untyped_properties_hold_no_parameter(template: Template) -> None:
    """A parameter's value is a string, and only a typed property makes a number of it.

    "AWS CloudFormation validates the parameter value as a number; however, when you use the
    parameter elsewhere in your template (for example, by using the Ref intrinsic function), the
    parameter value becomes a string." (*Parameters*, CloudFormation User Guide.) Of a stage,
    ``RouteSettings`` has the type *Json*, ``DefaultRouteSettings`` the type *RouteSettings*.
    """
    assert _untyped_parameters(template) == []


def test_parameter_in_untyped_property_is_found() -> None:
    version_1 = copy.deepcopy(CONNECTOR)
    stage = version_1["Resources"]["HttpApiStage"]["Properties"]
    stage["RouteSettings"]["GET /start"] = stage.pop("DefaultRouteSettings")

    assert _untyped_parameters(version_1) == ["HttpApiStage.RouteSettings: StartThrottle"]


# ----------------------------------------------------------------------- lengths


def _longest(template: Template) -> Template:
    """Return the resources of *template* for the longest stack name and parameters.

    A stack's name "can't be longer than 128 characters" (*CreateStack*, CloudFormation API
    Reference).
    """
    values = {
        name: "x" * int(parameter.get("MaxLength", 0)) or str(parameter.get("Default", "x"))
        for name, parameter in template["Parameters"].items()
        if "AllowedValues" not in parameter
    }
    values["AWS::StackName"] = "s" * 128
    return {"Resources": Resolution(template, **values).resources}


def _too_long(template: Template) -> list[str]:
    def visit(path: str, schema: dict[str, Any], value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
        if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
            yield path

    return _visit(_longest(template), visit)


@TEMPLATES
def test_names_fit_with_longest_stack_name(template: Template) -> None:
    """Each length is that of AWS's own schema of the resource."""
    assert _too_long(template) == []


def test_name_that_is_too_long_is_found() -> None:
    longer = copy.deepcopy(CONNECTOR)
    longer["Resources"]["AccessLogGroup"]["Properties"]["LogGroupName"] = {
        "Fn::Sub": "${AWS::StackName}" * 5
    }

    assert _too_long(longer) == ["AccessLogGroup.LogGroupName"]


# -------------------------------------------------- code and environment, one by one


@pytest.mark.parametrize(("template", "logical_id", "settings"), SETTINGS)
def test_new_setting_has_default_for_one_release(
    template: Template, logical_id: str, settings: type[BaseModel]
) -> None:
    """Lambda updates code and environment in two steps, so each meets the other's older one.

    The steps are two operations of its API, *UpdateFunctionCode* and
    *UpdateFunctionConfiguration*, and no page promises their order.
    """
    required = {name.upper() for name, each in settings.model_fields.items() if each.is_required()}

    assert required == REQUIRED[logical_id]  # new code with the older environment
    assert required <= function(template, logical_id)["Environment"].keys()  # and the reverse


@pytest.mark.parametrize(("logical_id", "settings"), [each[1:] for each in SETTINGS])
def test_code_starts_with_unknown_setting(logical_id: str, settings: type[BaseModel]) -> None:
    values = dict.fromkeys(REQUIRED[logical_id], "sandbox")
    values |= {"REQUIRE_CONFIRMATION": "true", "REDIRECT_URI": "https://connect.example/callback"}

    settings.model_validate(values | {"SETTING_OF_NEXT_RELEASE": "x"})
