"""The stack of examples/subscriber, as CloudFormation reads it."""

import json
import re
import sys
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]

from demo.live import EXAMPLE
from demo.local_aws import LocalAws, ParameterError
from demo.template import Template, function, load
from subscriber.settings import Settings
from tests.infra.monitoring import Metric, alarm_metrics, alarms
from tests.infra.permissions import permissions
from tests.infra.resolution import REGIONS, Resolution

README = (EXAMPLE.parent / "README.md").read_text("utf-8")
APP = "arn:aws:iam::123456789012:role/app"
CODE = "\n".join(
    module.read_text("utf-8") for module in (EXAMPLE.parent / "subscriber").glob("*.py")
)
each_function = pytest.mark.parametrize("logical_id", ["SubscriberFunction", "TokensFunction"])
PERMISSIONS = {
    ("SubscriberRole", "Queue.Arn"): {
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    },
    ("SubscriberRole", "GrantTable.Arn"): {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    },
    ("SubscriberRole", "ConnectionTable.Arn"): {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
    },
    ("SubscriberRole", "ClientSecret"): {"secretsmanager:GetSecretValue"},
    ("SubscriberRole", "SubscriberLogGroup.Arn"): {"logs:CreateLogStream", "logs:PutLogEvents"},
    ("TokensRole", "GrantTable.Arn"): {
        "dynamodb:GetItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    },
    ("TokensRole", "ConnectionTable.Arn"): {"dynamodb:UpdateItem"},
    ("TokensRole", "ClientSecret"): {"secretsmanager:GetSecretValue"},
    ("TokensRole", "Queue.Arn"): {"sqs:SendMessage"},
    ("TokensRole", "TokensLogGroup.Arn"): {"logs:CreateLogStream", "logs:PutLogEvents"},
}


@pytest.fixture(scope="module")
def template() -> Template:
    """Return examples/subscriber/template.yaml."""
    return load(EXAMPLE)


@pytest.fixture(scope="module")
def plain(translated_subscriber: str) -> Template:
    """Return the stack as CloudFormation receives it, with the resources that SAM adds."""
    return dict(json.loads(translated_subscriber))


def resolved(template: Template, **parameters: str) -> Resolution:
    """Return *template* with a topic and *parameters*."""
    topic = "arn:aws:sns:eu-west-3:123456789012:topic"
    return Resolution(template, TopicArn=topic, **parameters)


def properties(template: Template, logical_id: str) -> dict[str, Any]:
    return dict(template["Resources"][logical_id]["Properties"])


def test_template_has_no_finding() -> None:
    findings = lint(EXAMPLE.read_text("utf-8"), config=ManualArgs(regions=["eu-west-3"]))

    assert findings == []


def test_translated_template_has_no_finding(plain: Template) -> None:
    """Only the translated template shows circular references."""
    assert lint(json.dumps(plain), config=ManualArgs(regions=REGIONS)) == []


# -------------------------------------------------------------------- parameters


def test_readme_has_each_parameter_with_its_default(template: Template) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", README, re.MULTILINE))
    defaults = {
        name: parameter.get("Default") or "none"
        for name, parameter in template["Parameters"].items()
    }

    assert {name: rows[name].strip("`") for name in defaults} == defaults


def test_readme_names_each_output(template: Template) -> None:
    assert {name for name in template["Outputs"] if f"`{name}`" not in README} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TopicArn", "arn:aws:sqs:eu-west-3:000000000000:queue"),
        ("QontoEnvironment", "staging"),
        ("ClientId", "client 1"),
        ("AppRoleArn", "arn:aws:iam::000000000000:root"),
        ("AppRoleArn", "*"),
        ("AppRoleArn", "arn:aws:sts::000000000000:assumed-role/app/session"),
        ("AppRoleArn", "arn:aws:iam::000000000000:role/app/"),
        ("AppRoleArn", "arn:aws:iam::000000000000:role/équipe"),
        ("AppRoleArn", "arn:aws:iam::000000000000:role/" + "x" * 65),
        ("TokenReaderRoleArn", "arn:aws:iam::000000000000:role/*"),
        ("OperatorRoleArn", "arn:aws:iam::000000000000:role/op?"),
        ("AlarmTopicArn", "arn:aws:sqs:eu-west-3:000000000000:queue"),
        ("RequireConfirmation", "no"),
    ],
)
def test_invalid_parameter_is_refused(template: Template, name: str, value: str) -> None:
    topic = "arn:aws:sns:eu-west-3:000000000000:topic"
    given = {"TopicArn": topic, "ClientId": "client-1", name: value}

    with pytest.raises(ParameterError) as refused:
        LocalAws("http://127.0.0.1:1", "local").deploy(given, template)

    assert refused.value.name == name


def test_role_of_a_single_sign_on_is_accepted(template: Template) -> None:
    """Its ARN has a path."""
    name = "AWSReservedSSO_Operator_0123456789abcdef"
    arn = f"arn:aws:iam::000000000000:role/aws-reserved/sso.amazonaws.com/eu-west-3/{name}"

    assert re.fullmatch(template["Parameters"]["AppRoleArn"]["AllowedPattern"], arn)


def test_stack_without_app_must_give_up_confirmation(template: Template) -> None:
    [refusal] = resolved(template).failed_assertions

    assert refusal.startswith("AppRoleArn")
    assert resolved(template, AppRoleArn=APP).failed_assertions == []
    assert resolved(template, RequireConfirmation="false").failed_assertions == []


# ------------------------------------------------------------------- the functions


@each_function
def test_function_gets_each_setting(template: Template, logical_id: str) -> None:
    variables = function(template, logical_id)["Environment"]

    assert {name.upper() for name in Settings.model_fields} == variables.keys() - {
        "POWERTOOLS_SERVICE_NAME"
    }


@each_function
def test_secret_goes_only_to_qonto(template: Template, logical_id: str) -> None:
    variables = function(template, logical_id)["Environment"]
    endpoints = template["Mappings"]["Qonto"]

    assert variables["TOKEN_ENDPOINT"] == {
        "Fn::FindInMap": ["Qonto", {"Ref": "QontoEnvironment"}, "TokenEndpoint"]
    }
    assert {name: each["TokenEndpoint"] for name, each in endpoints.items()} == {
        "production": "https://oauth.qonto.com/oauth2/token",
        "sandbox": "https://oauth-sandbox.staging.qonto.co/oauth2/token",
    }


def test_retry_follows_the_attempt_while_code_lives(template: Template) -> None:
    queue = properties(template, "Queue")
    timeout = function(template, "SubscriberFunction")["Timeout"]

    assert timeout < queue["VisibilityTimeout"] <= 60
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] < 600


@each_function
def test_claim_outlives_the_longest_run(template: Template, logical_id: str) -> None:
    [longest_run] = re.findall(r"^LONGEST_RUN = (\d+)\b", CODE, re.MULTILINE)

    assert int(longest_run) == function(template, logical_id)["Timeout"]


@each_function
def test_role_has_its_policy_before_the_function(template: Template, logical_id: str) -> None:
    """Lambda refuses a queue that the function's role may not receive from.

    An update brings a permission before the code that needs it.
    """
    depends_on = template["Resources"][logical_id]["DependsOn"]

    assert properties(template, depends_on)["Roles"] == [
        {"Ref": logical_id.replace("Function", "Role")}
    ]


def test_queue_gets_raw_granted_events(template: Template) -> None:
    assert properties(template, "Subscription") == {
        "TopicArn": {"Ref": "TopicArn"},
        "Protocol": "sqs",
        "Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]},
        "RawMessageDelivery": True,
        "FilterPolicy": {"type": ["qonto-connect.authorization.granted.v1"]},
    }


def test_failed_message_returns_alone(plain: Template) -> None:
    [mapping] = [
        resource["Properties"]
        for resource in Resolution(plain).resources.values()
        if resource["Type"] == "AWS::Lambda::EventSourceMapping"
    ]

    assert mapping["EventSourceArn"] == "Queue.Arn"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 1  # a slow refresh stops nobody's exchange


def test_function_imports_only_locked_packages() -> None:
    lock = (EXAMPLE.parent / "requirements.txt").read_text("utf-8")
    locked = {name.replace("-", "_") for name in re.findall(r"^([\w-]+)==", lock, re.MULTILINE)}
    imported = {
        found
        for path in (EXAMPLE.parent / "subscriber").glob("*.py")
        for found in re.findall(r"^(?:from|import) (\w+)", path.read_text("utf-8"), re.MULTILINE)
    }

    assert "--hash=sha256:" in lock
    assert imported - sys.stdlib_module_names - {"subscriber"} <= locked


# ----------------------------------------------------------- permissions and data


def test_role_has_only_the_listed_permissions(plain: Template) -> None:
    assert permissions(Resolution(plain).resources) == PERMISSIONS


def test_stack_outlives_nothing_but_tokens(plain: Template) -> None:
    """The key outlives the stack too: it decrypts the tokens."""
    kept = {
        logical_id
        for logical_id, each in Resolution(plain).resources.items()
        if each.get("DeletionPolicy", "Delete") != "Delete"
    }

    assert kept == {"GrantTable", "TableKey"}


def test_stored_data_is_encrypted_and_expires(plain: Template) -> None:
    resources = Resolution(plain).resources
    for logical_id in ("GrantTable", "ConnectionTable"):
        table = resources[logical_id]["Properties"]
        assert table["SSESpecification"] == {
            "SSEEnabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": "TableKey.Arn",
        }
        assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    for logical_id in ("Queue", "DeadLetterQueue"):
        assert resources[logical_id]["Properties"]["KmsMasterKeyId"] == "QueueKey"
    assert "SecretString" not in resources["ClientSecret"]["Properties"]


def test_no_other_queue_moves_messages_here(plain: Template) -> None:
    """By default, any queue of the account may have these as its dead-letter queue.

    The move needs no key: "When Amazon SQS moves a message from an unencrypted source queue to an
    encrypted dead-letter queue, the message remains unencrypted" (SQS, *Encryption at rest*).
    """
    resolution = Resolution(plain)
    queue = resolution.resources["Queue"]["Properties"]
    dead_letters = resolution.resources["DeadLetterQueue"]["Properties"]

    assert queue["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}
    assert dead_letters["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [f"arn:aws:sqs:eu-west-3:123456789012:{queue['QueueName']}"],
    }


# -------------------------------------------------------------------- the alarms


def test_each_alarm_watches_its_metric(plain: Template) -> None:
    def counted(name: str) -> Metric:
        return Metric("qonto-connect", name, frozenset({("service", "connect")}))

    def of_queue(queue: str, name: str) -> Metric:
        return Metric("AWS/SQS", name, frozenset({("QueueName", f"{queue}.QueueName")}))

    assert alarm_metrics(Resolution(plain)) == {
        "DeadLettersAlarm": {of_queue("DeadLetterQueue", "ApproximateNumberOfMessagesVisible")},
        "OldestMessageAlarm": {of_queue("Queue", "ApproximateAgeOfOldestMessage")},
        "ExchangeFailedAlarm": {counted("ExchangeFailed")},
        "SecretUnusableAlarm": {counted("SecretUnusable")},
        "RepudiatedTooLateAlarm": {counted("RepudiatedTooLate")},
        "ConnectionEndedAlarm": {counted("ConnectionEnded")},
        "RefreshFailedAlarm": {counted("RefreshFailed")},
        "TokensErrorsAlarm": {
            Metric("AWS/Lambda", "Errors", frozenset({("FunctionName", "TokensFunction")}))
        },
    }


def test_code_counts_what_alarms_watch(plain: Template) -> None:
    watched = {
        metric.name
        for metrics in alarm_metrics(Resolution(plain)).values()
        for metric in metrics
        if metric.namespace == "qonto-connect"
    }

    assert set(re.findall(r'count\("(\w+)"\)', CODE)) == watched


@pytest.mark.parametrize("topic", ["", "arn:aws:sns:eu-west-3:123456789012:on-call"])
def test_alarms_notify_the_given_topic(plain: Template, topic: str) -> None:
    for alarm in alarms(Resolution(plain, AlarmTopicArn=topic)).values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ([topic] if topic else [])
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
