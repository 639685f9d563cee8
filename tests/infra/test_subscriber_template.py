"""The stack of examples/subscriber, as CloudFormation reads it."""

import copy
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]

from demo.live import EXAMPLE
from demo.local_aws import LocalAws, ParameterError
from demo.template import Template, load
from tests.infra.monitoring import Metric, alarm_metrics
from tests.infra.permissions import permissions
from tests.infra.resolution import Resolution

README = (EXAMPLE.parent / "README.md").read_text("utf-8")
ROLES = {
    "AppRoleArn": "arn:aws:iam::123456789012:role/app",
    "TokenReaderRoleArn": "arn:aws:iam::123456789012:role/reader",
    "OperatorRoleArn": "arn:aws:iam::123456789012:role/operator",
}
APP, READER, OPERATOR = ROLES.values()
ACCOUNT = "arn:aws:iam::123456789012:root"
FUNCTION = "SubscriberRole.Arn"
EVENTS = "ArnEquals aws:SourceArn=arn:aws:sns:eu-west-3:123456789012:topic"
SQS = "StringEquals kms:ViaService=sqs.eu-west-3.amazonaws.com"
DYNAMODB = "StringEquals kms:ViaService=dynamodb.eu-west-3.amazonaws.com"
WITHOUT_TLS = "Bool aws:SecureTransport=false"

MANAGE_KEY = {
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:Describe*",
    "kms:Disable*",
    "kms:Enable*",
    "kms:Get*",
    "kms:List*",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:Update*",
}
# Every action that reads or writes items, or copies the table, but GetItem and Query.
ITEMS = {
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:CreateBackup",
    "dynamodb:DeleteItem",
    "dynamodb:EnableKinesisStreamingDestination",
    "dynamodb:ExportTableToPointInTime",
    "dynamodb:PartiQLDelete",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLSelect",
    "dynamodb:PartiQLUpdate",
    "dynamodb:PutItem",
    "dynamodb:RestoreTableToPointInTime",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
}


def others(*principals: str) -> str:
    """Return the condition that all principals but *principals* meet."""
    return f"ArnNotEquals aws:PrincipalArn={','.join(principals)}"


# Logical id, effect, principal, resource and condition are the key, and actions the value.
PERMISSIONS = {
    ("SubscriberRole", "Allow", "lambda.amazonaws.com", "", ""): {"sts:AssumeRole"},
    ("SubscriberPolicy", "Allow", "SubscriberRole", "Queue.Arn", ""): {
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    },
    ("SubscriberPolicy", "Allow", "SubscriberRole", "GrantTable.Arn", ""): {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    },
    ("SubscriberPolicy", "Allow", "SubscriberRole", "ConnectionTable.Arn", ""): {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
    },
    ("SubscriberPolicy", "Allow", "SubscriberRole", "ClientSecret", ""): {
        "secretsmanager:GetSecretValue"
    },
    ("SubscriberPolicy", "Allow", "SubscriberRole", "SubscriberLogGroup.Arn", ""): {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    },
    ("ClientSecretPolicy", "Deny", "*", "*", others(FUNCTION)): {"secretsmanager:GetSecretValue"},
    ("QueuePolicy", "Allow", "sns.amazonaws.com", "Queue.Arn", EVENTS): {"sqs:SendMessage"},
    ("QueuePolicy", "Allow", APP, "Queue.Arn", ""): {"sqs:SendMessage"},
    ("QueuePolicy", "Allow", OPERATOR, "Queue.Arn", ""): {"sqs:SendMessage"},
    # SNS has no aws:PrincipalArn, which ArnNotEquals counts as another one.
    (
        "QueuePolicy",
        "Deny",
        "*",
        "Queue.Arn",
        f"{others(APP, OPERATOR, FUNCTION)};Bool aws:PrincipalIsAWSService=false",
    ): {"sqs:SendMessage"},
    ("QueuePolicy", "Deny", "*", "Queue.Arn", others(FUNCTION)): {
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:ReceiveMessage",
    },
    ("QueuePolicy", "Deny", "*", "Queue.Arn", WITHOUT_TLS): {"sqs:*"},
    ("DeadLetterQueuePolicy", "Allow", OPERATOR, "DeadLetterQueue.Arn", ""): {
        "sqs:CancelMessageMoveTask",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ListMessageMoveTasks",
        "sqs:ReceiveMessage",
        "sqs:StartMessageMoveTask",
    },
    ("DeadLetterQueuePolicy", "Deny", "*", "DeadLetterQueue.Arn", others(OPERATOR, FUNCTION)): {
        "sqs:ReceiveMessage",
        "sqs:StartMessageMoveTask",
    },
    ("DeadLetterQueuePolicy", "Deny", "*", "DeadLetterQueue.Arn", WITHOUT_TLS): {"sqs:*"},
    ("QueueKey", "Allow", ACCOUNT, "*", ""): MANAGE_KEY,
    ("QueueKey", "Allow", "sns.amazonaws.com", "*", EVENTS): {
        "kms:Decrypt",
        "kms:GenerateDataKey*",
    },
    ("QueueKey", "Allow", APP, "*", SQS): {"kms:Decrypt", "kms:GenerateDataKey*"},
    ("QueueKey", "Allow", OPERATOR, "*", SQS): {"kms:Decrypt", "kms:GenerateDataKey*"},
    ("QueueKey", "Allow", FUNCTION, "*", SQS): {"kms:Decrypt"},
    ("GrantTable", "Allow", READER, "*", ""): {"dynamodb:GetItem", "dynamodb:Query"},
    ("GrantTable", "Deny", "*", "*", others(FUNCTION, READER)): {
        "dynamodb:GetItem",
        "dynamodb:Query",
    },
    ("GrantTable", "Deny", "*", "*", others(FUNCTION)): ITEMS,
    ("ConnectionTable", "Allow", APP, "*", ""): {"dynamodb:GetItem"},
    ("ConnectionTable", "Deny", "*", "*", others(FUNCTION, APP)): {"dynamodb:GetItem"},
    ("ConnectionTable", "Deny", "*", "*", others(FUNCTION)): ITEMS | {"dynamodb:Query"},
    ("TableKey", "Allow", ACCOUNT, "*", ""): MANAGE_KEY,
    # DynamoDB checks the key, and creates its grants, on behalf of the principal that deploys.
    (
        "TableKey",
        "Allow",
        ACCOUNT,
        "*",
        f"{DYNAMODB};StringEquals aws:CalledViaFirst=cloudformation.amazonaws.com",
    ): {
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey*",
        "kms:ReEncrypt*",
    },
    ("TableKey", "Allow", FUNCTION, "*", DYNAMODB): {
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey*",
        "kms:ReEncrypt*",
    },
    ("TableKey", "Allow", READER, "*", DYNAMODB): {"kms:Decrypt", "kms:DescribeKey"},
    (
        "TableKey",
        "Allow",
        APP,
        "*",
        f"{DYNAMODB};StringEquals kms:EncryptionContext:aws:dynamodb:tableName=connect-connections",
    ): {"kms:Decrypt", "kms:DescribeKey"},
}


@pytest.fixture(scope="module")
def template() -> Template:
    """Return examples/subscriber/template.yaml."""
    return load(EXAMPLE)


@pytest.fixture(scope="module")
def plain(translate: Callable[[Template], str], template: Template) -> Template:
    """Return the stack as CloudFormation receives it, with the resources that SAM adds."""
    packaged = copy.deepcopy(template) | {"Globals": {"Function": {}}}
    del packaged["Resources"]["SubscriberFunction"]["Properties"]["CodeUri"]
    return dict(json.loads(translate(packaged)))


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
    assert lint(json.dumps(plain), config=ManualArgs(regions=["eu-west-3"])) == []


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


def test_stack_without_app_must_give_up_confirmation(template: Template) -> None:
    [refusal] = resolved(template).failed_assertions

    assert refusal.startswith("AppRoleArn")
    assert resolved(template, AppRoleArn=APP).failed_assertions == []
    assert resolved(template, RequireConfirmation="false").failed_assertions == []


# -------------------------------------------------------------------- the function


def test_function_gets_each_setting(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    from subscriber.settings import Settings  # noqa: PLC0415 - from its own code root

    variables = properties(template, "SubscriberFunction")["Environment"]["Variables"]

    assert {name.upper() for name in Settings.model_fields} == variables.keys() - {
        "POWERTOOLS_SERVICE_NAME"
    }


def test_secret_goes_only_to_qonto(template: Template) -> None:
    variables = properties(template, "SubscriberFunction")["Environment"]["Variables"]
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
    timeout = properties(template, "SubscriberFunction")["Timeout"]
    handler = (EXAMPLE.parent / "subscriber" / "handler.py").read_text("utf-8")
    [longest_run] = re.findall(r"^LONGEST_RUN = (\d+)\b", handler, re.MULTILINE)

    assert int(longest_run) == timeout
    assert timeout < queue["VisibilityTimeout"] <= 60
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] < 600


def test_role_has_its_policy_before_the_queue(template: Template) -> None:
    """Lambda refuses a queue that the function's role may not receive from."""
    depends_on = template["Resources"]["SubscriberFunction"]["DependsOn"]

    assert properties(template, depends_on)["Roles"] == [{"Ref": "SubscriberRole"}]


def test_queue_gets_raw_granted_events(template: Template) -> None:
    assert properties(template, "Subscription") == {
        "TopicArn": {"Ref": "TopicArn"},
        "Protocol": "sqs",
        "Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]},
        "RawMessageDelivery": True,
        "FilterPolicy": {"type": ["qonto-connect.authorization.granted.v1"]},
    }


def test_only_failed_messages_of_a_batch_return(plain: Template) -> None:
    [mapping] = [
        resource["Properties"]
        for resource in Resolution(plain).resources.values()
        if resource["Type"] == "AWS::Lambda::EventSourceMapping"
    ]

    assert mapping["EventSourceArn"] == "Queue.Arn"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 2  # the timeout is for two exchanges


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


def test_policies_equal_the_table_of_permissions(plain: Template) -> None:
    assert permissions(resolved(plain, **ROLES).resources) == PERMISSIONS


def test_empty_roles_have_no_permission(plain: Template) -> None:
    """The policies of a stack without these roles name the function, and still deny all others."""
    found = permissions(resolved(plain).resources)

    assert {principal for _, effect, principal, *_ in found if effect == "Allow"} == {
        *(ACCOUNT, FUNCTION, "SubscriberRole"),
        *("lambda.amazonaws.com", "sns.amazonaws.com"),
    }
    assert {
        condition.removesuffix(";Bool aws:PrincipalIsAWSService=false")
        for _, effect, _, _, condition in found
        if effect == "Deny"
    } == {others(FUNCTION), WITHOUT_TLS}


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
    }


def test_handler_counts_what_alarms_watch(plain: Template) -> None:
    handler = (EXAMPLE.parent / "subscriber" / "handler.py").read_text("utf-8")
    watched = {
        metric.name
        for metrics in alarm_metrics(Resolution(plain)).values()
        for metric in metrics
        if metric.namespace == "qonto-connect"
    }

    assert set(re.findall(r'_count\("(\w+)"\)', handler)) == watched


def test_old_message_alarm_rings_before_third_attempt(plain: Template) -> None:
    """SQS leaves a message out of the metric once it was received three times."""
    resources = Resolution(plain).resources
    retry_after = resources["Queue"]["Properties"]["VisibilityTimeout"]
    alarm = resources["OldestMessageAlarm"]["Properties"]

    assert retry_after < alarm["Threshold"] < 2 * retry_after
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (60, 1)


@pytest.mark.parametrize("topic", ["", "arn:aws:sns:eu-west-3:123456789012:on-call"])
def test_alarms_notify_the_given_topic(plain: Template, topic: str) -> None:
    for resource in Resolution(plain, AlarmTopicArn=topic).resources.values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            alarm = resource["Properties"]
            assert alarm["AlarmActions"] == alarm["OKActions"] == ([topic] if topic else [])
            assert alarm["TreatMissingData"] == "notBreaching"
            assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
