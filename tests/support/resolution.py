"""A template as CloudFormation resolves it for one operator's parameters."""

import re
from collections.abc import Callable
from typing import Any

from demo.template import Json, Template

_NO_VALUE = object()
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-3",
    "AWS::StackId": "arn:aws:cloudformation:eu-west-3:123456789012:stack/connect/6f9a2b7c-0184",
    "AWS::StackName": "connect",
    "AWS::URLSuffix": "amazonaws.com",
}
# The functions of an argument that is resolved already.
_FUNCTIONS: dict[str, Callable[[Json], Json]] = {
    "Fn::And": all,
    "Fn::Equals": lambda values: values[0] == values[1],
    "Fn::GetAtt": ".".join,
    "Fn::Join": lambda arguments: arguments[0].join(arguments[1]),
    "Fn::Not": lambda conditions: not conditions[0],
    "Fn::Select": lambda arguments: arguments[1][arguments[0]],
    "Fn::Split": lambda arguments: arguments[1].split(arguments[0]),
}


class Resolution:
    """A template with parameter values; each reference to a resource becomes its logical id."""

    def __init__(self, template: Template, /, **parameters: str) -> None:
        defaults = {name: each.get("Default") for name, each in template["Parameters"].items()}
        self._values = PSEUDO | defaults | {"ClientId": "client"} | parameters
        self._template = template
        self.resources: dict[str, dict[str, Any]] = self._existing("Resources")
        self.outputs = {name: each["Value"] for name, each in self._existing("Outputs").items()}

    def properties(self, kind: str) -> dict[str, dict[str, Any]]:
        return {
            logical_id: resource.get("Properties", {})
            for logical_id, resource in self.resources.items()
            if resource["Type"] == kind
        }

    @property
    def failed_assertions(self) -> list[str]:
        """The descriptions of the template's rule assertions that the parameters fail."""
        return [
            assertion["AssertDescription"]
            for rule in map(self._resolved, self._template["Rules"].values())
            if rule["RuleCondition"]
            for assertion in rule["Assertions"]
            if not assertion["Assert"]
        ]

    def _existing(self, section: str) -> dict[str, Any]:
        """Return the entries of *section* whose condition is true."""
        return {
            name: self._resolved({key: each for key, each in entry.items() if key != "Condition"})
            for name, entry in self._template[section].items()
            if "Condition" not in entry or self._resolved({"Condition": entry["Condition"]})
        }

    def _resolved(self, value: Json) -> Json:
        match value:
            case list():
                return [each for each in map(self._resolved, value) if each is not _NO_VALUE]
            case {"Ref": "AWS::NoValue"}:
                return _NO_VALUE
            case {"Ref": name}:
                return self._values.get(name, name)
            case {"Fn::Sub": text}:
                named = re.compile(r"\$\{([^}]+)\}")
                return named.sub(lambda found: self._resolved({"Ref": found[1]}), text)
            case {"Fn::If": [name, then, otherwise]}:
                return self._resolved(then if self._resolved({"Condition": name}) else otherwise)
            case {"Condition": str(name)} if len(value) == 1:
                return self._resolved(self._template["Conditions"][name])
            case dict():
                members = {name: self._resolved(member) for name, member in value.items()}
                for name in _FUNCTIONS.keys() & members:
                    return _FUNCTIONS[name](members[name])
                return {name: each for name, each in members.items() if each is not _NO_VALUE}
        return value
