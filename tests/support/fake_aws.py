"""DynamoDB and SNS in memory, which evaluate the conditions that the state store really sends."""

import json
import re
from functools import cache
from typing import Any

from botocore.exceptions import ClientError
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.dynamo_type import Item as MotoItem

type Item = dict[str, Any]


class ConditionFailedError(ClientError):
    """The condition of a write failed."""


class FakeAws:
    """The items of the table by their key, with typed attributes, and the published events."""

    def __init__(self, table_name: str) -> None:
        self._table_name = table_name
        self.table: dict[str, Item] = {}
        self.events: list[dict[str, Any]] = []

    def apply(self, operation: str, request: dict[str, Any], retries: int = 0) -> dict[str, Any]:
        """Apply one attempt of *operation*, and return its response as boto3 does."""
        if operation == "publish":
            self.events.append(json.loads(request["Message"]))
            return {}
        assert request["TableName"] == self._table_name
        key = (request.get("Key") or request["Item"])["state"]["S"]
        item = self.table.get(key)
        if operation == "get_item":
            assert request["ConsistentRead"]
            return {"Item": item} if item else {}
        if not _holds(request, item or {}):
            failed: Any = {"Error": {}, "ResponseMetadata": {"RetryAttempts": retries}}
            if item and request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                failed["Item"] = item
            raise ConditionFailedError(failed, operation)
        if operation == "delete_item":
            self.table.pop(key, None)
        elif operation == "put_item":
            self.table[key] = request["Item"]
        else:
            values = request["ExpressionAttributeValues"]
            assignments = re.findall(r"(\w+) = (:\w+)", request["UpdateExpression"])
            new = {name: values[value] for name, value in assignments}
            self.table[key] = request["Key"] | (item or {}) | new
        return {"Attributes": item} if request.get("ReturnValues") == "ALL_OLD" else {}


def _holds(request: dict[str, Any], item: Item) -> bool:
    values = json.dumps(request.get("ExpressionAttributeValues", {}))
    condition = _parsed(request.get("ConditionExpression"), values)
    return bool(condition.expr(MotoItem(DynamoType({"S": ""}), None, item)))


@cache
def _parsed(condition: str | None, values: str) -> Any:  # noqa: ANN401 - moto's
    return get_filter_expression(condition, {}, json.loads(values))


def plain(typed: dict[str, str]) -> str | int:
    """Return the value of an attribute."""
    return int(typed["N"]) if "N" in typed else typed["S"]
