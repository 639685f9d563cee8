"""DynamoDB and SNS in memory, which evaluate the conditions that the state store really sends."""

import json
import re
from collections import defaultdict
from functools import cache
from math import nan
from types import CodeType
from typing import Any

from botocore.exceptions import ClientError

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
    values = item | request.get("ExpressionAttributeValues", {})
    # Each comparison with "not a number" is false, like that with a missing attribute.
    untyped = defaultdict(lambda: nan, {name: plain(typed) for name, typed in values.items()})
    condition = _compiled(request.get("ConditionExpression", "True"))
    return bool(eval(condition, {"item": item, "values": untyped}))  # noqa: S307 - see _compiled


@cache
def _compiled(condition: str) -> CodeType:
    """Translate a condition expression into Python, which has the same precedence."""

    def python(match: re.Match[str]) -> str:
        return f"('{match[1]}' not in item)" if match[1] else f"values['{match[0]}']"

    names = re.sub(r"attribute_not_exists\((\w+)\)|:?\b[a-z]\w*", python, condition)
    operators = names.replace(" AND ", " and ").replace(" OR ", " or ").replace(" = ", " == ")
    return compile(operators, "condition", "eval")


def plain(typed: dict[str, str]) -> str | int:
    """Return the value of an attribute."""
    return int(typed["N"]) if "N" in typed else typed["S"]
