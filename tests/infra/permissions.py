"""What the roles of a template may do by their own policies."""

from typing import Any

type Permissions = dict[tuple[str, str], set[str]]


def permissions(resources: dict[str, dict[str, Any]]) -> Permissions:
    """Return the actions that a policy allows a role, by role and resource."""
    found: Permissions = {}
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Policy":
            [role] = resource["Properties"]["Roles"]
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                assert statement.keys() == {"Sid", "Effect", "Action", "Resource"}
                assert statement["Effect"] == "Allow"
                actions = statement["Action"]
                found.setdefault((role, statement["Resource"]), set()).update(
                    actions if isinstance(actions, list) else [actions]
                )
    return found
