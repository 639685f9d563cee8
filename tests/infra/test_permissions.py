"""What the roles of both stacks may do, the topic's key, and checkov's findings."""

import json
import os
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from demo.template import ROOT
from tests.infra.golden import TEMPLATES, golden, path
from tests.infra.resolution import Resolution
from tests.slow import slow

HERE = Path(__file__).parent
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"


def permissions(resolution: Resolution) -> dict[str, dict[str, list[str]]]:
    """Return the actions that each role's policies allow, by role and resource."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for policy in resolution.properties("AWS::IAM::Policy").values():
        [role] = policy["Roles"]
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement.keys() == {"Sid", "Effect", "Action", "Resource"}
            assert statement["Effect"] == "Allow"
            assert statement["Resource"] not in found[role]
            actions = statement["Action"]
            found[role][statement["Resource"]] = sorted(
                [actions] if isinstance(actions, str) else actions
            )
    return found


@pytest.mark.parametrize("stack", TEMPLATES)
@pytest.mark.claim("S26")
def test_roles_have_only_the_listed_permissions(stack: str) -> None:
    """Each function has a role of its own, and no role has another policy."""
    resolution = Resolution(golden(stack))
    roles = resolution.properties("AWS::IAM::Role")
    listed = tomllib.loads((HERE / "permissions.toml").read_text("utf-8"))[stack]

    assert permissions(resolution) == listed
    assert listed.keys() == roles.keys()
    for role in roles.values():
        assert role.keys() == {"AssumeRolePolicyDocument", "Description"}
    for name, function in resolution.properties("AWS::Lambda::Function").items():
        assert function["Role"] == name.replace("Function", "Role.Arn")


@pytest.mark.claim("S26", "T10")
def test_topic_is_encrypted_with_the_stacks_key() -> None:
    """A key of the operator's replaces it."""
    key = "arn:aws:kms:eu-west-3:123456789012:key/6f9a2b7c-0184"
    default = Resolution(golden("connector"))
    own = Resolution(golden("connector"), TopicKeyArn=key)

    topic = default.resources["AuthorizationTopic"]["Properties"]
    assert (topic["KmsMasterKeyId"], topic["SignatureVersion"]) == ("AuthorizationTopicKey", "2")
    assert own.resources["AuthorizationTopic"]["Properties"]["KmsMasterKeyId"] == key
    assert "AuthorizationTopicKey" not in own.resources
    assert permissions(own)["CallbackRole"][key] == ["kms:Decrypt", "kms:GenerateDataKey"]


@slow
@pytest.mark.skipif(not CHECKOV.exists(), reason="needs checkov: run `make .venv-checkov/.ready`")
@pytest.mark.parametrize("stack", TEMPLATES)
def test_checkov_finds_only_the_listed_exceptions(stack: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            *(CHECKOV, "--file", path(stack), "--framework", "cloudformation"),
            *("--output", "json", "--quiet", "--compact", "--skip-download"),
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    report = json.loads(run.stdout)
    findings = defaultdict(list)
    for finding in report["results"]["failed_checks"]:
        findings[finding["check_id"]].append(finding["resource"].rpartition(".")[2])
    listed = tomllib.loads((HERE / "checkov.toml").read_text("utf-8"))[stack]
    assert {check: sorted(found) for check, found in findings.items()} == listed
    assert report["summary"]["parsing_errors"] == report["summary"]["skipped"] == 0
    assert report["summary"]["passed"] > len(listed)
