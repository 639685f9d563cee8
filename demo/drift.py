"""Finds the properties of tables and topics that the local AWS lacks: CloudFormation's *drift*."""

from demo.template import Json, references


def not_honoured(aws: Json, created: Json, resources: dict[str, dict[str, Json]]) -> list[str]:
    """Return the properties of *resources* that the *created* lack, as ``Id.Property``."""
    properties = []
    for deployed in created:
        logical_id = deployed["LogicalResourceId"]
        held = _held(aws, deployed["ResourceType"], deployed["PhysicalResourceId"])
        for name, wanted in resources[logical_id]["Properties"].items() if held else ():
            # A property that refers to other resources must only be there.
            if not held.get(name) if references(wanted) else held.get(name) != wanted:
                properties.append(f"{logical_id}.{name}")
    return properties


def _held(aws: Json, resource_type: str, name: str) -> Json:
    if resource_type == "AWS::SNS::Topic":
        return aws.sns.get_topic_attributes(TopicArn=name)["Attributes"]
    if resource_type != "AWS::DynamoDB::Table":
        return None
    table = aws.dynamodb.describe_table(TableName=name)["Table"]
    lifetime = aws.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    lifetime["Enabled"] = lifetime.pop("TimeToLiveStatus") == "ENABLED"
    encryption = "SSEDescription" in table and {"SSEEnabled": True}
    added = {"TimeToLiveSpecification": lifetime, "SSESpecification": encryption}
    return {**table, **table["BillingModeSummary"], **added}
