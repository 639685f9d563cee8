"""The template as CloudFormation resolves it for one operator's parameters."""

import re
from typing import Any

from demo.template import Json, Template

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-3",
    "AWS::StackId": "arn:aws:cloudformation:eu-west-3:123456789012:stack/connect/6f9a2b7c-0184",
    "AWS::StackName": "connect",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()


class Resolution:
    """A template with parameter values; each reference to a resource becomes its logical id."""

    def __init__(self, template: Template, /, **parameters: str) -> None:
        """Use *template* with its defaults, a client id and *parameters*, which override both."""
        defaults = {name: each.get("Default") for name, each in template["Parameters"].items()}
        self._values = PSEUDO | defaults | {"ClientId": "client"} | parameters
        self._template = template

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources whose conditions are true, by logical id."""
        return self._existing("Resources")

    def properties(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of the resources whose type is *kind*, by logical id."""
        return {
            logical_id: resource.get("Properties", {})
            for logical_id, resource in self.resources.items()
            if resource["Type"] == kind
        }

    @property
    def outputs(self) -> dict[str, str]:
        """The values of the outputs whose conditions are true, by name."""
        return {name: output["Value"] for name, output in self._existing("Outputs").items()}

    @property
    def failed_assertions(self) -> list[str]:
        """The descriptions of the template's rule assertions that the parameters fail."""
        return [
            assertion["AssertDescription"]
            for rule in self._template["Rules"].values()
            if self(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self(assertion["Assert"])
        ]

    def __call__(self, value: Json) -> Json:
        """Return *value* with its intrinsic functions resolved."""
        if isinstance(value, list):
            return [item for item in map(self, value) if item is not _NO_VALUE]
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
                return re.sub(r"\$\{([^}]+)\}", lambda found: self({"Ref": found[1]}), text)
            case {"Fn::If": [condition, then, otherwise]}:
                return self(then if self({"Condition": condition}) else otherwise)
            case {"Condition": str(name)} if len(value) == 1:
                return self(self._template["Conditions"][name])
        return self._other(value)

    def _other(self, value: dict[str, Any]) -> Json:
        match value:
            case {"Fn::Join": [separator, parts]}:
                return separator.join(self(parts))
            case {"Fn::Split": [separator, text]}:
                return self(text).split(separator)
            case {"Fn::Select": [index, parts]}:
                return self(parts)[index]
            case {"Fn::Equals": [one, other]}:
                return self(one) == self(other)
            case {"Fn::Not": [condition]}:
                return not self(condition)
            case {"Fn::And": conditions}:
                return all(map(self, conditions))
        resolved = {name: self(member) for name, member in value.items()}
        return {name: member for name, member in resolved.items() if member is not _NO_VALUE}

    def _existing(self, section: str) -> dict[str, Any]:
        return {
            name: self({key: member for key, member in entry.items() if key != "Condition"})
            for name, entry in self._template[section].items()
            if "Condition" not in entry or self({"Condition": entry["Condition"]})
        }
