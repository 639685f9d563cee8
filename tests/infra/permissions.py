"""The permissions in a template's policies, as a table.

A row's key is the logical id of the resource with the policy, the effect, the principal, the
resource and the condition. Its value is the set of actions.
"""

from collections.abc import Iterator
from typing import Any

type Permissions = dict[tuple[str, str, str, str, str], set[str]]


def _many(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list) else [value]


def _documents(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Yield the policy documents in *value*, at any depth."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _documents(each)


def permissions(resources: dict[str, dict[str, Any]]) -> Permissions:
    """Return the actions in every policy of *resources*, by what else the statements say."""
    found: Permissions = {}
    for logical_id, resource in resources.items():
        owners = resource.get("Properties", {}).get("Roles", [])
        for document in _documents(resource):
            for statement in document["Statement"]:
                principal = statement.get("Principal", owners)
                principals = principal.values() if isinstance(principal, dict) else _many(principal)
                conditions = [
                    f"{operator} {key}={','.join(_many(value))}"
                    for operator, keys in statement.get("Condition", {}).items()
                    for key, value in keys.items()
                ]
                subject = (logical_id, statement["Effect"], ",".join(principals))
                for target in _many(statement.get("Resource", "")):
                    actions = found.setdefault((*subject, target, ";".join(conditions)), set())
                    actions.update(_many(statement["Action"]))
                assert not {"NotAction", "NotPrincipal", "NotResource"} & statement.keys()
    return found
