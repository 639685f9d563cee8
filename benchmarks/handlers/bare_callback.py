"""Makes the AWS calls of callback, with the same parameters, and does nothing else."""

import os
from typing import Any

import boto3

dynamodb = boto3.client("dynamodb")
sns = boto3.client("sns")


def handler(_request: dict[str, Any], _context: object) -> dict[str, Any]:
    """Delete an item under the same condition, and publish the same message."""
    dynamodb.delete_item(
        TableName=os.environ["TABLE_NAME"],
        Key={"state": {"S": "s" * 43}},
        ConditionExpression="browser_hash = :browser_hash AND expires_at > :now"
        " AND environment = :environment AND client_id = :client_id",
        ExpressionAttributeValues={
            ":browser_hash": {"S": "b" * 64},
            ":now": {"N": "1700000000"},
            ":environment": {"S": "sandbox"},
            ":client_id": {"S": "client-1"},
        },
        ReturnValues="ALL_OLD",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    sns.publish(
        TopicArn=os.environ["TOPIC_ARN"],
        Message=os.environ["MESSAGE"],
        MessageAttributes={
            "type": {"DataType": "String", "StringValue": "qonto-connect.authorization.granted.v1"}
        },
    )
    return {"statusCode": 204}
