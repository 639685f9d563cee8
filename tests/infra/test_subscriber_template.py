"""The stack of examples/subscriber, as CloudFormation will read it."""

import copy
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]

from demo.live import EXAMPLE
from demo.local_aws import LocalAws, ParameterError
from demo.template import Template, load, references, resources

README = (EXAMPLE.parent / "README.md").read_text("utf-8")
APP = {"Ref": "AppRoleArn"}
TOPIC = {"Ref": "TopicArn"}
TABLES = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table"
QUEUE = {"Fn::GetAtt": ["Queue", "Arn"]}


@pytest.fixture(scope="module")
def template() -> Template:
    """Return examples/subscriber/template.yaml."""
    return load(EXAMPLE)


@pytest.fixture(scope="module")
def function(template: Template) -> dict[str, Any]:
    return dict(template["Resources"]["SubscriberFunction"]["Properties"])


def properties(template: Template, logical_id: str) -> dict[str, Any]:
    return dict(template["Resources"][logical_id]["Properties"])


def statements(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a policy's statements by their Sid, those that need an app included."""
    found = [it["Fn::If"][1] if "Fn::If" in it else it for it in document["Statement"]]
    return {it["Sid"]: {name: it[name] for name in it if name != "Sid"} for it in found}


# --------------------------------------------------------------------- the whole


def test_the_template_has_no_finding() -> None:
    findings = lint(EXAMPLE.read_text("utf-8"), config=ManualArgs(regions=["eu-west-3"]))

    assert findings == []


def test_what_sam_makes_of_the_template_has_no_finding(
    translate: Callable[[Template], str], template: Template
) -> None:
    """Circles of references show here alone."""
    packaged = copy.deepcopy(template) | {"Globals": {"Function": {}}}
    del packaged["Resources"]["SubscriberFunction"]["Properties"]["CodeUri"]

    translated = translate(packaged)

    assert lint(translated, config=ManualArgs(regions=["eu-west-3"])) == []


def test_the_readme_has_each_parameter_with_its_default(template: Template) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    defaults = {
        name: parameter.get("Default") or "none"
        for name, parameter in template["Parameters"].items()
    }

    assert {name: rows[name].strip("`") for name in defaults} == defaults


def test_the_readme_names_each_output(template: Template) -> None:
    assert {name for name in template["Outputs"] if f"`{name}`" not in README} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TopicArn", "arn:aws:sqs:eu-west-3:000000000000:queue"),
        ("AppRoleArn", "arn:aws:iam::000000000000:root"),
        ("AppRoleArn", "*"),
        ("QontoEnvironment", "staging"),
        ("RequireConfirmation", "no"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(template: Template, name: str, value: str) -> None:
    given = {"TopicArn": "arn:aws:sns:eu-west-3:000000000000:topic", name: value}

    with pytest.raises(ParameterError) as refused:
        LocalAws("http://127.0.0.1:1", "local").deploy(given, template)

    assert refused.value.name == name


def test_confirmation_is_required_unless_it_is_given_up_in_so_many_words(
    template: Template,
) -> None:
    """Nor can it be required of nobody."""
    assert template["Parameters"]["RequireConfirmation"]["Default"] == "true"
    assert template["Rules"]["SomebodyConfirms"]["RuleCondition"] == {
        "Fn::Equals": [{"Ref": "RequireConfirmation"}, "true"]
    }
    [assertion] = template["Rules"]["SomebodyConfirms"]["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [APP, ""]}]}


# ------------------------------------------------------------------- the function


def test_the_function_gets_what_its_settings_want(
    function: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    from subscriber.settings import Settings  # noqa: PLC0415 - from its own code root

    variables = function["Environment"]["Variables"]

    assert {name.upper() for name in Settings.model_fields} == variables.keys() - {
        "POWERTOOLS_SERVICE_NAME"
    }


def test_the_secret_goes_to_qonto_alone(template: Template, function: dict[str, Any]) -> None:
    endpoints = template["Mappings"]["Qonto"]

    assert function["Environment"]["Variables"]["TOKEN_ENDPOINT"] == {
        "Fn::FindInMap": ["Qonto", {"Ref": "QontoEnvironment"}, "TokenEndpoint"]
    }
    assert {name: it["TokenEndpoint"] for name, it in endpoints.items()} == {
        "production": "https://oauth.qonto.com/oauth2/token",
        "sandbox": "https://oauth-sandbox.staging.qonto.co/oauth2/token",
    }


def test_a_message_comes_again_when_its_attempt_is_over_and_its_code_good(
    template: Template, function: dict[str, Any]
) -> None:
    queue = properties(template, "Queue")
    handler = (EXAMPLE.parent / "subscriber" / "handler.py").read_text("utf-8")
    [longest_run] = re.findall(r"^LONGEST_RUN = (\d+)$", handler, re.MULTILINE)

    assert int(longest_run) == function["Timeout"]
    assert function["Timeout"] < queue["VisibilityTimeout"] <= 60
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] < 600


def test_the_role_may_read_the_queue_before_lambda_is_told_to(template: Template) -> None:
    """Lambda checks that as it takes the queue; in any other order the stack may not come up."""
    depends_on = template["Resources"]["SubscriberFunction"]["DependsOn"]
    policy = template["Resources"][depends_on]

    assert policy["Type"] == "AWS::IAM::Policy"
    assert policy["Properties"]["Roles"] == [{"Ref": "SubscriberRole"}]


def test_only_failed_messages_of_a_batch_come_again(function: dict[str, Any]) -> None:
    assert function["Events"] == {
        "Queue": {
            "Type": "SQS",
            "Properties": {
                "Queue": QUEUE,
                "BatchSize": 2,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
            },
        }
    }


def test_the_function_is_packed_with_exactly_what_is_locked() -> None:
    """And it imports nothing else."""
    lock = (EXAMPLE.parent / "requirements.txt").read_text("utf-8")
    packed = {name.replace("-", "_") for name in re.findall(r"^([\w-]+)==", lock, re.MULTILINE)}
    imported = {
        found
        for path in (EXAMPLE.parent / "subscriber").glob("*.py")
        for found in re.findall(r"^(?:from|import) (\w+)", path.read_text("utf-8"), re.MULTILINE)
    }

    assert "--hash=sha256:" in lock
    assert imported - sys.stdlib_module_names - {"subscriber"} <= packed


# --------------------------------------------------------------- who may do what


def test_the_function_can_do_its_work_and_nothing_else(template: Template) -> None:
    found = statements(properties(template, "SubscriberPolicy")["PolicyDocument"])

    assert {sid: (it["Action"], it["Resource"]) for sid, it in found.items()} == {
        "TakeMessages": (
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
            QUEUE,
        ),
        "HoldAndEndGrants": (
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"],
            {"Fn::GetAtt": ["GrantTable", "Arn"]},
        ),
        "RememberPairsAndTellTheApp": (
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            {"Fn::GetAtt": ["ConnectionTable", "Arn"]},
        ),
        "ReadTheClientSecret": ("secretsmanager:GetSecretValue", {"Ref": "ClientSecret"}),
        "WriteLogs": (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            {"Fn::GetAtt": ["SubscriberLogGroup", "Arn"]},
        ),
    }
    assert resources(template, "AWS::IAM::").keys() == {"SubscriberRole", "SubscriberPolicy"}


def test_the_app_sends_confirmations_reads_how_they_stand_and_can_do_nothing_else(
    template: Template,
) -> None:
    name = properties(template, "ConnectionTable")["TableName"]
    table = properties(template, "ConnectionTable")["ResourcePolicy"]["Fn::If"][1]
    named = {
        logical_id
        for logical_id, resource in template["Resources"].items()
        if "AppRoleArn" in references(resource)
    }

    assert named == {"QueuePolicy", "QueueKey", "ConnectionTable"}
    assert statements(properties(template, "QueuePolicy")["PolicyDocument"])["TheAppConfirms"] == {
        "Effect": "Allow",
        "Principal": {"AWS": APP},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE,
    }
    assert statements(table["PolicyDocument"]) == {
        "TheAppAsksHowAPairStands": {
            "Effect": "Allow",
            "Principal": {"AWS": APP},
            "Action": "dynamodb:GetItem",
            "Resource": {"Fn::Sub": f"{TABLES}/{name['Fn::Sub']}"},
        }
    }


def test_nobody_but_topic_app_and_function_can_use_the_queues_key(template: Template) -> None:
    """So nobody else in the account can send to the queue, whatever their identity policy says."""
    found = statements(properties(template, "QueueKey")["KeyPolicy"])
    management = found.pop("TheAccountManagesTheKey")
    through_sqs = {
        "StringEquals": {"kms:ViaService": {"Fn::Sub": "sqs.${AWS::Region}.amazonaws.com"}}
    }

    assert properties(template, "Queue")["KmsMasterKeyId"] == {"Ref": "QueueKey"}
    assert {sid: (it["Principal"], it["Action"], it["Condition"]) for sid, it in found.items()} == {
        "TheTopicSendsEvents": (
            {"Service": "sns.amazonaws.com"},
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            {"ArnEquals": {"aws:SourceArn": TOPIC}},
        ),
        "TheAppConfirms": ({"AWS": APP}, ["kms:Decrypt", "kms:GenerateDataKey*"], through_sqs),
        "TheFunctionTakesMessages": (
            {"AWS": {"Fn::GetAtt": ["SubscriberRole", "Arn"]}},
            "kms:Decrypt",
            through_sqs,
        ),
    }
    assert not [
        action
        for action in management["Action"]
        if re.match(r"kms:(\*|Decrypt|Encrypt|Generate|ReEncrypt|CreateGrant)", action)
    ]


def test_events_come_from_the_topic_alone_raw_and_with_a_code(template: Template) -> None:
    policy = statements(properties(template, "QueuePolicy")["PolicyDocument"])

    assert properties(template, "Subscription") == {
        "TopicArn": TOPIC,
        "Protocol": "sqs",
        "Endpoint": QUEUE,
        "RawMessageDelivery": True,
        "FilterPolicy": {"type": ["qonto-connect.authorization.granted.v1"]},
    }
    assert policy["TheTopicSendsEvents"]["Condition"] == {"ArnEquals": {"aws:SourceArn": TOPIC}}
    assert policy["OnlyOverTls"]["Effect"] == "Deny"
    assert policy.keys() == {"TheTopicSendsEvents", "TheAppConfirms", "OnlyOverTls"}


def test_all_that_is_kept_is_encrypted_and_forgotten_but_the_tokens(template: Template) -> None:
    tables = resources(template, "AWS::DynamoDB::Table")

    for table in tables.values():
        assert table["Properties"]["SSESpecification"] == {"SSEEnabled": True}
        assert table["Properties"]["TimeToLiveSpecification"] == {
            "AttributeName": "expires_at",
            "Enabled": True,
        }
    assert {name: it["DeletionPolicy"] for name, it in tables.items()} == {
        "GrantTable": "RetainExceptOnCreate",
        "ConnectionTable": "Delete",
    }
    assert properties(template, "DeadLetterQueue")["SqsManagedSseEnabled"] is True
    assert "SecretString" not in properties(template, "ClientSecret")
