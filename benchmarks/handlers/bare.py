"""A function that makes its AWS calls and does nothing else: the rival of the connector."""

import json
import os
from typing import Any

import boto3

type Request = dict[str, Any]
type Response = dict[str, Any]
CALLS = json.loads(os.environ.get("CALLS", "[]"))
clients = {name: boto3.client(name) for name in {"dynamodb": 1} | {call[0]: 1 for call in CALLS}}
calls = [(getattr(clients[name], operation), parameters) for name, operation, parameters in CALLS]


def handler(_request: Request, _context: object) -> Response:
    """Make the AWS calls that the variable CALLS lists, with the same parameters."""
    for call, parameters in calls:
        call(**parameters)
    return {"statusCode": 204}
