"""DynamoDB in memory, which evaluates the conditions that the code really sends."""

import json
import re
from collections.abc import Mapping
from functools import cache
from math import nan
from types import CodeType
from typing import Any

KEYS = {"states": ["state"]}
# A comparison with a missing attribute does not hold, as one with "not a number".
FUNCTIONS = {
    "attribute_exists": lambda value: value == value,  # noqa: PLR0124 - not so for "not a number"
    "attribute_not_exists": lambda value: value != value,  # noqa: PLR0124
}

type Items = tuple[tuple[str, str], ...]  # each item in JSON, by its table and key; sorted


def place(table: str, item: Mapping[str, str]) -> str:
    """Return the table and key of *item*."""
    return " ".join([table, *(item[name] for name in KEYS[table])])


def apply(operation: str, request: Mapping[str, Any], items: Items) -> tuple[Any, Items]:
    """Return the result of a call, and the items after it."""
    stored, table = dict(items), request["TableName"]
    if operation == "query":
        found = [json.loads(it) for at, it in items if at.startswith(f"{table} {request['Key']} ")]
        return {"Items": found}, items
    at = place(table, request.get("Key") or request["Item"])
    item = json.loads(stored.get(at, "{}"))
    if operation == "get_item":
        assert request["ConsistentRead"]
        return {"ConsumedCapacity": 1} | ({"Item": item} if item else {}), items
    if not _holds(request, item):
        returns = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        return {"ConditionFailed": {"Item": item} if item and returns else {}}, items
    if operation == "delete_item":
        stored.pop(at, None)
    elif operation == "put_item":
        stored[at] = json.dumps(request["Item"], sort_keys=True)
    else:
        stored[at] = json.dumps(_updated(request, item), sort_keys=True)
    result = {"Attributes": item} if request.get("ReturnValues") == "ALL_OLD" else {}
    return result, tuple(sorted(stored.items()))


def _updated(request: Mapping[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    sets, _, removes = request["UpdateExpression"].partition("REMOVE")
    names = request.get("ExpressionAttributeNames", {})
    values = request["ExpressionAttributeValues"]
    removed = {names[each] for each in re.findall(r"#\w+", removes)}
    kept = {name: value for name, value in item.items() if name not in removed}
    new = {
        names.get(name, name): values[value] for name, value in re.findall(r"(\S+) = (:\w+)", sets)
    }
    return {**request["Key"], **kept, **new}


def _holds(request: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    names = request.get("ExpressionAttributeNames", {})

    def attribute(path: str) -> Any:  # noqa: ANN401 - any type of DynamoDB
        value: Any = item
        for name in path.split("."):
            value = value.get(names.get(name, name), nan) if isinstance(value, dict) else nan
        return value

    values = {"attribute": attribute, "values": request.get("ExpressionAttributeValues", {})}
    condition = _compiled(request.get("ConditionExpression", "True"))
    return bool(eval(condition, FUNCTIONS | values))  # noqa: S307 - see _compiled


@cache
def _compiled(condition: str) -> CodeType:
    """Translate a condition expression into Python, which has the same precedence."""

    def python(found: re.Match[str]) -> str:
        text = found[0]
        if text in {"AND", "OR", "NOT", "IN"}:
            return text.lower()
        if text in FUNCTIONS or text == "True":
            return text
        return f"values[{text!r}]" if text.startswith(":") else f"attribute({text!r})"

    tuples = re.sub(r"IN \((.+?)\)", r"IN (\1,)", condition)
    return compile(re.sub(r"[:#\w][\w.#]*", python, re.sub("(?<![<>])=", "==", tuples)), "", "eval")
