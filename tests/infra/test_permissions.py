"""The permissions of every policy of the stack, as CloudFormation reads it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from demo.template import ROOT, Template
from tests.infra.permissions import permissions
from tests.infra.resolution import Resolution
from tests.slow import slow

TABLE = "arn:aws:dynamodb:eu-west-3:123456789012:table/connect-states"
WITHOUT_TLS = "Bool aws:SecureTransport=false"

# Logical id, effect, principal, resource and condition are the key, and actions the value.
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
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
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
    ("StateTable", "Deny", "*", TABLE, WITHOUT_TLS): {
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
    # A Deny is necessary, because an allow-only topic policy does not bind its own account.
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
    ("AuthorizationTopicPolicy", "Deny", "*", "AuthorizationTopic", WITHOUT_TLS): {
        "sns:AddPermission",
        "sns:DeleteTopic",
        "sns:GetTopicAttributes",
        "sns:ListSubscriptionsByTopic",
        "sns:Publish",
        "sns:RemovePermission",
        "sns:SetTopicAttributes",
        "sns:Subscribe",
    },
    # The account manages the key. It needs a new key policy to use the key or to let others use it.
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

# The findings of checkov that this stack accepts, with the resources and the reason.
EXCEPTIONS = {
    # No backups: a state lives for an hour, for one use, and a receipt for ten minutes.
    "CKV_AWS_28": {"StateTable"},
    # A customer managed key costs money and a call to KMS. AWS's own key encrypts the items, whose
    # random values are worth nothing without the browser's cookie; only its hash is stored.
    "CKV_AWS_119": {"StateTable"},
    # No dead-letter queue: API Gateway calls both functions and waits for their responses.
    "CKV_AWS_116": {"StartFunction", "CallbackFunction"},
    # No VPC: the functions need nothing in one, and the access from it to DynamoDB and SNS would
    # have to be built and paid for.
    "CKV_AWS_117": {"StartFunction", "CallbackFunction"},
    # The variables hold names and URLs, not secrets, and Lambda encrypts them with AWS's key.
    "CKV_AWS_173": {"StartFunction", "CallbackFunction"},
    # Logs hold no secret, and CloudWatch encrypts them with AWS's key.
    "CKV_AWS_158": {"StartLogGroup", "CallbackLogGroup", "AccessLogGroup"},
}


@pytest.fixture(scope="session")
def plain(translated: str) -> Template:
    """Return the stack as CloudFormation receives it, with the resources that SAM adds."""
    return dict(json.loads(translated))


def test_policies_equal_the_table_of_permissions(plain: Template) -> None:
    assert permissions(Resolution(plain).resources) == PERMISSIONS


def test_wildcard_stands_only_for_the_keys_resource() -> None:
    """In a key policy, the resource ``*`` is the key itself."""
    for (logical_id, _, _, target, _), actions in PERMISSIONS.items():
        assert not any("*" in action for action in actions)
        assert (target == "*") == (logical_id == "AuthorizationTopicKey")


def test_each_function_has_a_role_without_managed_policies(plain: Template) -> None:
    resources = Resolution(plain).resources
    roles = {
        logical_id: sorted(resource["Properties"])
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::IAM::Role"
    }
    function_roles = {
        logical_id: resource["Properties"]["Role"]
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Function"
    }

    assert roles == {
        "StartRole": ["AssumeRolePolicyDocument", "Description"],
        "CallbackRole": ["AssumeRolePolicyDocument", "Description"],
    }
    assert function_roles == {
        "StartFunction": "StartRole.Arn",
        "CallbackFunction": "CallbackRole.Arn",
    }


def test_topic_is_encrypted_with_the_stacks_key(plain: Template) -> None:
    topic = Resolution(plain).resources["AuthorizationTopic"]["Properties"]

    assert topic["KmsMasterKeyId"] == "AuthorizationTopicKey"


def test_topic_signs_with_sha_256(plain: Template) -> None:
    topic = Resolution(plain).resources["AuthorizationTopic"]["Properties"]

    assert topic["SignatureVersion"] == "2"


def test_operators_key_replaces_the_stacks_key(plain: Template) -> None:
    key = "arn:aws:kms:eu-west-3:123456789012:key/6f9a2b7c-0184"
    resources = Resolution(plain, TopicKeyArn=key).resources

    allowed = permissions(resources)

    assert resources["AuthorizationTopic"]["Properties"]["KmsMasterKeyId"] == key
    assert "AuthorizationTopicKey" not in resources
    assert {entry for entry in allowed if "key" in entry[3].lower()} == {
        ("CallbackPolicy", "Allow", "CallbackRole", key, "")
    }
    assert allowed["CallbackPolicy", "Allow", "CallbackRole", key, ""] == {
        "kms:Decrypt",
        "kms:GenerateDataKey",
    }


@slow
def test_checkov_finds_only_the_listed_exceptions(translated: str, tmp_path: Path) -> None:
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
