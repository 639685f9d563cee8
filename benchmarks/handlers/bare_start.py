"""What start calls, and nothing else."""

import os
from typing import Any

import boto3

dynamodb = boto3.client("dynamodb")
ITEM: dict[str, Any] = {
    "state": {"S": "s" * 43},
    "expires_at": {"N": "1700003600"},
    "browser_hash": {"S": "b" * 64},
    "authorization_id": {"S": "5f0c8f3e-0000-4000-8000-000000000000"},
    "environment": {"S": "sandbox"},
    "client_id": {"S": "client-1"},
    "redirect_uri": {"S": "https://connect.example.com/callback"},
    "scope": {"S": "offline_access organization.read"},
    "started_at": {"S": "2023-11-14T22:13:20Z"},
}


def handler(_event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Put an item as large as ours."""
    dynamodb.put_item(TableName=os.environ["TABLE_NAME"], Item=ITEM)
    return {"statusCode": 204}
