"""A function that makes its AWS calls and does nothing else: the rival of the connector."""

import json
import os
from typing import Any

import boto3

# The service, operation and parameters of each call.
CALLS = json.loads(os.environ["CALLS"])
clients = {name: boto3.client(name) for name in {"dynamodb": 1} | {call[0]: 1 for call in CALLS}}
calls = [(getattr(clients[name], operation), parameters) for name, operation, parameters in CALLS]


def handler(_request: dict[str, Any], _context: object) -> dict[str, Any]:
    """Make the calls, and respond as the connector does."""
    for call, parameters in calls:
        call(**parameters)
    return {"statusCode": 302}
