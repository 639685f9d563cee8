"""What the local AWS holds, against what the template asks for: CloudFormation's *drift*.

Holding is all that can be compared: policies and encryption are held or not, never enforced.
"""

import json
from typing import TYPE_CHECKING

from demo.template import Json

if TYPE_CHECKING:
    from demo.local_aws import LocalAws


def not_honoured(
    aws: "LocalAws", stack_name: str, resources: dict[str, dict[str, Json]]
) -> list[str]:
    """Return the properties of *resources* that the stack's own do not have, as ``Id.Property``."""
    deployed = aws.cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    ids = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in deployed}
    differences = []
    for logical_id, resource in resources.items():
        if logical_id not in ids:
            continue  # its condition is false
        held = _held(aws, resource, ids, ids[logical_id])
        differences += [
            f"{logical_id}.{name}"
            for name, wanted in resource.get("Properties", {}).items()
            if not _matches(wanted, held.get(name))
        ]
    return differences


def _held(
    aws: "LocalAws", resource: dict[str, Json], ids: dict[str, str], physical_id: str
) -> Json:
    match resource["Type"]:
        case "AWS::DynamoDB::Table":
            return _table(aws, physical_id)
        case "AWS::SNS::Topic":
            return aws.sns.get_topic_attributes(TopicArn=physical_id)["Attributes"]
        case "AWS::SNS::TopicPolicy":
            [topic] = resource["Properties"]["Topics"]
            attributes = aws.sns.get_topic_attributes(TopicArn=ids[topic["Ref"]])["Attributes"]
            return {"Topics": [topic], "PolicyDocument": json.loads(attributes["Policy"])}
        case "AWS::KMS::Key":
            # How long a deletion takes shows nowhere before it.
            window = resource["Properties"].get("PendingWindowInDays")
            return {**_key(aws, physical_id), "PendingWindowInDays": window}
    return {}


def _table(aws: "LocalAws", name: str) -> Json:
    table = aws.dynamodb.describe_table(TableName=name)["Table"]
    lifetime = aws.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    backups = aws.dynamodb.describe_continuous_backups(TableName=name)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    try:
        policy = aws.dynamodb.get_resource_policy(ResourceArn=table["TableArn"])["Policy"]
    except aws.dynamodb.exceptions.PolicyNotFoundException:
        policy = "null"
    return {
        **table,
        "BillingMode": table["BillingModeSummary"]["BillingMode"],
        "PointInTimeRecoverySpecification": {
            "PointInTimeRecoveryEnabled": recovery["PointInTimeRecoveryStatus"] == "ENABLED"
        },
        "ResourcePolicy": {"PolicyDocument": json.loads(policy)},
        "SSESpecification": {
            "SSEEnabled": table.get("SSEDescription", {}).get("Status") == "ENABLED"
        },
        "TimeToLiveSpecification": {
            "AttributeName": lifetime.get("AttributeName"),
            "Enabled": lifetime["TimeToLiveStatus"] == "ENABLED",
        },
    }


def _key(aws: "LocalAws", key_id: str) -> Json:
    return {
        **aws.kms.describe_key(KeyId=key_id)["KeyMetadata"],
        "EnableKeyRotation": aws.kms.get_key_rotation_status(KeyId=key_id)["KeyRotationEnabled"],
        "KeyPolicy": json.loads(
            aws.kms.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]
        ),
    }


def _matches(wanted: Json, held: Json) -> bool:
    """Tell whether *held* is as *wanted*; of what CloudFormation computed, whether it is there."""
    if isinstance(wanted, list):
        return (
            isinstance(held, list) and len(wanted) == len(held) and all(map(_matches, wanted, held))
        )
    if not isinstance(wanted, dict):
        return str(wanted).lower() == str(held).lower()  # an attribute's "true"
    if any(name == "Ref" or name.startswith("Fn::") for name in wanted):
        return held not in (None, "")
    return isinstance(held, dict) and all(
        _matches(value, held.get(name)) for name, value in wanted.items()
    )
