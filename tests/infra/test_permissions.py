"""Who may do what: every policy of the stack, as CloudFormation will read it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.template import ROOT, Template
from tests.infra.resolution import Resolution
from tests.slow import slow

TABLE = "arn:aws:dynamodb:eu-west-3:123456789012:table/connect-states"
IN_THE_CLEAR = "Bool aws:SecureTransport=false"

# Where it stands, effect, whose, on what, under which condition: which actions.
PERMISSIONS = {
    ("StartRole", "Allow", "lambda.amazonaws.com", "", ""): {"sts:AssumeRole"},
    ("StartPolicy", "Allow", "StartRole", "StateTable.Arn", ""): {"dynamodb:PutItem"},
    ("StartPolicy", "Allow", "StartRole", "StartLogGroup.Arn", ""): {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    },
    ("CallbackRole", "Allow", "lambda.amazonaws.com", "", ""): {"sts:AssumeRole"},
    ("CallbackPolicy", "Allow", "CallbackRole", "StateTable.Arn", ""): {
        "dynamodb:DeleteItem",
        "dynamodb:PutItem",
    },
    ("CallbackPolicy", "Allow", "CallbackRole", "AuthorizationTopic", ""): {"sns:Publish"},
    ("CallbackPolicy", "Allow", "CallbackRole", "AuthorizationTopicKey.Arn", ""): {
        "kms:Decrypt",
        "kms:GenerateDataKey",
    },
    ("CallbackPolicy", "Allow", "CallbackRole", "CallbackLogGroup.Arn", ""): {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    },
    ("StateTable", "Deny", "*", TABLE, IN_THE_CLEAR): {
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:ConditionCheckItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PartiQLDelete",
        "dynamodb:PartiQLInsert",
        "dynamodb:PartiQLSelect",
        "dynamodb:PartiQLUpdate",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:Scan",
        "dynamodb:UpdateItem",
    },
    # Denied, not just not allowed: an allow-only topic policy does not bind its own account.
    (
        "AuthorizationTopicPolicy",
        "Deny",
        "*",
        "AuthorizationTopic",
        "ArnNotEquals aws:PrincipalArn=CallbackRole.Arn",
    ): {"sns:Publish"},
    (
        "AuthorizationTopicPolicy",
        "Deny",
        "*",
        "AuthorizationTopic",
        "StringNotEquals sns:Protocol=firehose,https,lambda,sqs",
    ): {"sns:Subscribe"},
    ("AuthorizationTopicPolicy", "Deny", "*", "AuthorizationTopic", IN_THE_CLEAR): {
        "sns:AddPermission",
        "sns:DeleteTopic",
        "sns:GetTopicAttributes",
        "sns:ListSubscriptionsByTopic",
        "sns:Publish",
        "sns:RemovePermission",
        "sns:SetTopicAttributes",
        "sns:Subscribe",
    },
    # It manages the key and can neither use it nor let others use it, short of a new key policy.
    ("AuthorizationTopicKey", "Allow", "arn:aws:iam::123456789012:root", "*", ""): {
        "kms:CancelKeyDeletion",
        "kms:CreateAlias",
        "kms:DeleteAlias",
        "kms:DescribeKey",
        "kms:DisableKey",
        "kms:DisableKeyRotation",
        "kms:EnableKey",
        "kms:EnableKeyRotation",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListGrants",
        "kms:ListKeyPolicies",
        "kms:ListKeyRotations",
        "kms:ListResourceTags",
        "kms:PutKeyPolicy",
        "kms:RevokeGrant",
        "kms:ScheduleKeyDeletion",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:UpdateAlias",
        "kms:UpdateKeyDescription",
    },
    (
        "AuthorizationTopicKey",
        "Allow",
        "CallbackRole.Arn",
        "*",
        "StringEquals kms:ViaService=sns.eu-west-3.amazonaws.com",
    ): {"kms:Decrypt", "kms:GenerateDataKey"},
}

# What checkov asks for and this stack has reason not to have, by the resources concerned.
EXCEPTIONS = {
    "CKV_AWS_28": {"StateTable"},  # no backups: a state lives for an hour, and works once
    # A customer's key would cost a call to KMS and its price for what AWS's own encrypts: random
    # values that are worth nothing without the browser's cookie, whose hash alone is stored.
    "CKV_AWS_119": {"StateTable"},
    # No dead letters: the gateway calls both functions and waits for their answer.
    "CKV_AWS_116": {"StartFunction", "CallbackFunction"},
    # No VPC: there is nothing to reach in one, and a way out to DynamoDB and SNS would have to be
    # built and paid for.
    "CKV_AWS_117": {"StartFunction", "CallbackFunction"},
    # Names and addresses, no secret; Lambda encrypts them with a key of AWS's.
    "CKV_AWS_173": {"StartFunction", "CallbackFunction"},
    # Logs hold no secret; CloudWatch encrypts them with a key of AWS's.
    "CKV_AWS_158": {"StartLogGroup", "CallbackLogGroup", "AccessLogGroup"},
}

type Permissions = dict[tuple[str, str, str, str, str], set[str]]


@pytest.fixture(scope="session")
def plain(translated: str) -> Template:
    """Return the stack as CloudFormation gets it: what SAM adds is there too."""
    return dict(json.loads(translated))


def _many(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list) else [value]


def _documents(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Find policy documents, whatever the property that they stand in."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _documents(each)


def permissions(resources: dict[str, dict[str, Any]]) -> Permissions:
    """Return what every policy of *resources* says, in the form of PERMISSIONS."""
    found: Permissions = {}
    for logical_id, resource in resources.items():
        owners = resource.get("Properties", {}).get("Roles", [])
        for document in _documents(resource):
            for statement in document["Statement"]:
                principal = statement.get("Principal", owners)
                whose = principal.values() if isinstance(principal, dict) else _many(principal)
                conditions = [
                    f"{operator} {key}={','.join(_many(value))}"
                    for operator, keys in statement.get("Condition", {}).items()
                    for key, value in keys.items()
                ]
                where = (logical_id, statement["Effect"], ",".join(whose))
                for on_what in _many(statement.get("Resource", "")):
                    actions = found.setdefault((*where, on_what, ";".join(conditions)), set())
                    actions.update(_many(statement["Action"]))
                assert not {"NotAction", "NotPrincipal", "NotResource"} & statement.keys()
    return found


def test_every_policy_says_what_this_table_says(plain: Template) -> None:
    assert permissions(Resolution(plain).resources) == PERMISSIONS


def test_no_action_is_a_wildcard_and_only_a_key_policy_speaks_of_all_resources() -> None:
    """In a key policy, all resources are the one key."""
    for (logical_id, _, _, on_what, _), actions in PERMISSIONS.items():
        assert not any("*" in action for action in actions)
        assert (on_what == "*") == (logical_id == "AuthorizationTopicKey")


def test_a_role_has_one_policy_and_each_function_a_role(plain: Template) -> None:
    """No managed policy, no permissions from elsewhere."""
    resources = Resolution(plain).resources
    roles = {
        logical_id: sorted(resource["Properties"])
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    of_functions = {
        logical_id: resource["Properties"]["Role"]
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Function"
    }

    assert roles == {
        "StartRole": ["AssumeRolePolicyDocument", "Description"],
        "CallbackRole": ["AssumeRolePolicyDocument", "Description"],
    }
    assert of_functions == {
        "StartFunction": "StartRole.Arn",
        "CallbackFunction": "CallbackRole.Arn",
    }


def test_the_topic_is_encrypted_with_a_key_of_the_stacks_own(plain: Template) -> None:
    topic = Resolution(plain).resources["AuthorizationTopic"]["Properties"]

    assert topic["KmsMasterKeyId"] == "AuthorizationTopicKey"


def test_the_topic_signs_with_sha_256(plain: Template) -> None:
    topic = Resolution(plain).resources["AuthorizationTopic"]["Properties"]

    assert topic["SignatureVersion"] == "2"


def test_with_the_deployers_key_the_stack_has_none_and_callback_may_use_theirs(
    plain: Template,
) -> None:
    key = "arn:aws:kms:eu-west-3:123456789012:key/6f9a2b7c-0184"
    resources = Resolution(plain, TopicKeyArn=key).resources

    allowed = permissions(resources)

    assert resources["AuthorizationTopic"]["Properties"]["KmsMasterKeyId"] == key
    assert "AuthorizationTopicKey" not in resources
    assert {it for it in allowed if "key" in it[3].lower()} == {
        ("CallbackPolicy", "Allow", "CallbackRole", key, "")
    }
    assert allowed["CallbackPolicy", "Allow", "CallbackRole", key, ""] == {
        "kms:Decrypt",
        "kms:GenerateDataKey",
    }


@slow
def test_checkov_finds_what_there_is_a_reason_for_and_nothing_else(
    translated: str, tmp_path: Path
) -> None:
    checkov = ROOT / ".venv-checkov" / "bin" / "checkov"
    if not checkov.exists():
        pytest.skip("needs checkov: run `make .venv-checkov/.ready` once")
    (tmp_path / "template.json").write_text(translated)

    run = subprocess.run(
        [
            *(checkov, "--file", "template.json", "--framework", "cloudformation"),
            *("--output", "json", "--quiet", "--compact", "--skip-download"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    report = json.loads(run.stdout)
    findings: dict[str, set[str]] = {}
    for finding in report["results"]["failed_checks"]:
        _, _, logical_id = finding["resource"].rpartition(".")
        findings.setdefault(finding["check_id"], set()).add(logical_id)
    assert findings == EXCEPTIONS
    assert report["summary"]["parsing_errors"] == report["summary"]["skipped"] == 0
    assert report["summary"]["passed"] > len(EXCEPTIONS)
