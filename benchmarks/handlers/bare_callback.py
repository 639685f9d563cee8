"""Makes the AWS calls of callback, with the same parameters, and does nothing else."""

import json
import os
from typing import Any

import boto3

clients = {"dynamodb": boto3.client("dynamodb"), "sns": boto3.client("sns")}
calls = [
    (getattr(clients[service], operation), parameters)
    for service, operation, parameters in json.loads(os.environ["CALLBACK_CALLS"])
]


def handler(_request: dict[str, Any], _context: object) -> dict[str, Any]:
    """Make the calls of one callback."""
    for call, parameters in calls:
        call(**parameters)
    return {"statusCode": 204}
