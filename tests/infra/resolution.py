"""The template as CloudFormation resolves it for one deployer's parameters."""

import re
from typing import Any

from demo.template import Json, Template

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-3",
    "AWS::StackName": "connect",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()


class Resolution:
    """A template with its parameters; what a resource gets from AWS is its logical id."""

    def __init__(self, template: Template, /, **parameters: str) -> None:
        """Take the template and what differs from its defaults; the client has any id."""
        defaults = {name: it.get("Default") for name, it in template["Parameters"].items()}
        self._values = PSEUDO | defaults | {"ClientId": "client"} | parameters
        self._template = template

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that there are, by logical id."""
        return self._existing("Resources")

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs that there are, by name."""
        return {name: output["Value"] for name, output in self._existing("Outputs").items()}

    @property
    def complaints(self) -> list[str]:
        """What CloudFormation says of the parameters before it does anything."""
        return [
            assertion["AssertDescription"]
            for rule in self._template["Rules"].values()
            if self(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self(assertion["Assert"])
        ]

    def __call__(self, value: Json) -> Json:
        """Return *value* without intrinsic functions."""
        if isinstance(value, list):
            return [it for it in map(self, value) if it is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        match value:
            case {"Ref": "AWS::NoValue"}:
                return _NO_VALUE
            case {"Ref": name}:
                return self._values.get(name, name)
            case {"Fn::GetAtt": path}:
                return ".".join(path)
            case {"Fn::Sub": text}:
                return re.sub(r"\$\{([^}]+)\}", lambda it: self({"Ref": it[1]}), text)
            case {"Fn::If": [condition, then, otherwise]}:
                return self(then if self({"Condition": condition}) else otherwise)
            case {"Condition": str(name)} if len(value) == 1:
                return self(self._template["Conditions"][name])
        return self._condition(value)

    def _condition(self, value: dict[str, Any]) -> Json:
        match value:
            case {"Fn::Equals": [one, other]}:
                return self(one) == self(other)
            case {"Fn::Not": [condition]}:
                return not self(condition)
            case {"Fn::And": conditions}:
                return all(map(self, conditions))
        resolved = {name: self(it) for name, it in value.items()}
        return {name: it for name, it in resolved.items() if it is not _NO_VALUE}

    def _existing(self, section: str) -> dict[str, Any]:
        return {
            name: self({key: it for key, it in entry.items() if key != "Condition"})
            for name, entry in self._template[section].items()
            if "Condition" not in entry or self({"Condition": entry["Condition"]})
        }
