"""A read, and conditional writes of one item; each write tells whether its condition held.

The AWS client repeats a write whose response was lost. The second attempt may then find the first
one's change, so that its condition does not hold: a caller that must know the difference reads the
item.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import ConditionBase

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table


def get(table: "Table", key: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the item of *key*, or None.

    Raises:
        KeyError: the response is malformed. boto3 would read it as a response without an item.

    """
    response = table.get_item(Key=key, ConsistentRead=True, ReturnConsumedCapacity="TOTAL")
    if "ConsumedCapacity" not in response:
        raise KeyError("ConsumedCapacity")
    return response.get("Item")


def put(table: "Table", item: Mapping[str, Any], condition: ConditionBase) -> bool:
    """Write *item* if *condition* holds."""
    try:
        table.put_item(Item=item, ConditionExpression=condition)
    except table.meta.client.exceptions.ConditionalCheckFailedException:
        return False
    return True


def update(
    table: "Table",
    key: Mapping[str, str],
    condition: ConditionBase,
    values: Mapping[str, Any],
    removed: Sequence[str] = (),
) -> bool:
    """Set *values* in the item of *key* and remove *removed* from it, if *condition* holds."""
    # By number, because DynamoDB reserves names such as "status" and "owner".
    sets = ", ".join(f"#set{index} = :set{index}" for index in range(len(values)))
    removes = ", ".join(f"#remove{index}" for index in range(len(removed)))
    clauses = {"SET": sets, "REMOVE": removes}
    try:
        table.update_item(
            Key=key,
            UpdateExpression=" ".join(
                f"{name} {clause}" for name, clause in clauses.items() if clause
            ),
            ExpressionAttributeNames={f"#set{index}": it for index, it in enumerate(values)}
            | {f"#remove{index}": it for index, it in enumerate(removed)},
            ExpressionAttributeValues={
                f":set{index}": it for index, it in enumerate(values.values())
            },
            ConditionExpression=condition,
        )
    except table.meta.client.exceptions.ConditionalCheckFailedException:
        return False
    return True
