"""The stack's roles, encryption and checkov's findings, as CloudFormation reads it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from demo.template import ROOT, Template
from tests.infra.permissions import permissions
from tests.infra.resolution import Resolution
from tests.slow import slow

PERMISSIONS = {
    ("StartRole", "StateTable.Arn"): {"dynamodb:PutItem"},
    ("StartRole", "StartLogGroup.Arn"): {"logs:CreateLogStream", "logs:PutLogEvents"},
    ("CallbackRole", "StateTable.Arn"): {
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
    },
    ("CallbackRole", "AuthorizationTopic"): {"sns:Publish"},
    ("CallbackRole", "AuthorizationTopicKey.Arn"): {"kms:Decrypt", "kms:GenerateDataKey"},
    ("CallbackRole", "CallbackLogGroup.Arn"): {"logs:CreateLogStream", "logs:PutLogEvents"},
}

# The findings of checkov that each stack accepts, with the resources and the reason.
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

SUBSCRIBER_EXCEPTIONS = {
    # No backups: it holds what the app is told, and no token.
    "CKV_AWS_28": {"ConnectionTable"},
    # SQS receives what SubscriberFunction could not handle, in a dead-letter queue of the queue.
    # The caller of TokensFunction waits for its response.
    "CKV_AWS_116": {"SubscriberFunction", "TokensFunction"},
    # As for the connector: no VPC, no secret in variables or logs.
    "CKV_AWS_117": {"SubscriberFunction", "TokensFunction"},
    "CKV_AWS_173": {"SubscriberFunction", "TokensFunction"},
    "CKV_AWS_158": {"SubscriberLogGroup", "TokensLogGroup"},
    # No reserved concurrency, which a new account refuses.
    "CKV_AWS_115": {"SubscriberFunction", "TokensFunction"},
    # AWS's own key encrypts the secret, and its policy lets only the functions read it.
    "CKV_AWS_149": {"ClientSecret"},
}


@pytest.fixture(scope="session")
def plain(translated: str) -> Template:
    """Return the stack as CloudFormation receives it, with the resources that SAM adds."""
    return dict(json.loads(translated))


def test_roles_have_only_the_listed_permissions(plain: Template) -> None:
    assert permissions(Resolution(plain).resources) == PERMISSIONS


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

    assert resources["AuthorizationTopic"]["Properties"]["KmsMasterKeyId"] == key
    assert "AuthorizationTopicKey" not in resources
    assert permissions(resources)["CallbackRole", key] == {"kms:Decrypt", "kms:GenerateDataKey"}


def test_longest_topic_policy_fits_into_sns(template: Template) -> None:
    """Its quota: "Bytes: 30 kb" (Amazon SNS API permissions: Actions and resources reference)."""
    longest = "x" * template["Parameters"]["SubscriberEndpoints"]["MaxLength"]
    resources = Resolution(template, SubscriberEndpoints=longest).resources
    policy = resources["AuthorizationTopicPolicy"]["Properties"]["PolicyDocument"]

    assert len(json.dumps(policy)) + 4 * 2048 < 30_000  # with ARNs for the logical ids


@slow
@pytest.mark.parametrize(
    ("stack", "exceptions"),
    [("translated", EXCEPTIONS), ("translated_subscriber", SUBSCRIBER_EXCEPTIONS)],
)
def test_checkov_finds_only_the_listed_exceptions(
    request: pytest.FixtureRequest, tmp_path: Path, stack: str, exceptions: dict[str, set[str]]
) -> None:
    checkov = ROOT / ".venv-checkov" / "bin" / "checkov"
    if not checkov.exists():
        pytest.skip("needs checkov: run `make .venv-checkov/.ready` once")
    (tmp_path / "template.json").write_text(request.getfixturevalue(stack))

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
    assert findings == exceptions
    assert report["summary"]["parsing_errors"] == report["summary"]["skipped"] == 0
    assert report["summary"]["passed"] > len(exceptions)
