"""Reads the SAM templates, so that demo and tests run what is deployed."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "infra" / "template.yaml"
EXAMPLE = ROOT / "examples" / "subscriber" / "template.yaml"

type Json = Any  # as json.loads returns it
type Template = dict[str, Json]

_SUBSTITUTE = re.compile(r"\$\{([^!}.]+)[^}]*\}")


class _Loader(yaml.CSafeLoader):
    """YAML as CloudFormation reads it: short tags, and policy dates that stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _long_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Json]:
    """Return ``!Suffix value`` as ``{"Fn::Suffix": value}``."""
    value: Json
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = str(node.value)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)


def load(path: Path = TEMPLATE) -> Template:
    """Return the template at *path*, its intrinsic functions in their long form."""
    return dict(yaml.load(path.read_text("utf-8"), _Loader))  # noqa: S506 - a safe loader


def resources(template: Template, *types: str) -> dict[str, dict[str, Json]]:
    """Return the resources whose type starts with one of *types*, by logical id."""
    return {
        logical_id: resource
        for logical_id, resource in template["Resources"].items()
        if resource["Type"].startswith(types)
    }


def function(template: Template, logical_id: str) -> dict[str, Json]:
    """Return a function's properties, those of ``Globals`` included."""
    defaults = template.get("Globals", {}).get("Function", {})
    properties = template["Resources"][logical_id]["Properties"]
    return {**defaults, **properties, "Environment": _variables(defaults) | _variables(properties)}


def _variables(properties: dict[str, Json]) -> dict[str, Json]:
    return dict(properties.get("Environment", {}).get("Variables", {}))


def references(value: Json) -> set[str]:
    """Return the logical ids, parameters and pseudo parameters that *value* refers to."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    match value:
        case {"Ref": name}:
            return {name}
        case {"Fn::GetAtt": [name, *_]}:
            return {name}
        case {"Fn::Sub": [text, variables]}:
            return set(_SUBSTITUTE.findall(text)) - set(variables) | references(variables)
        case {"Fn::Sub": text}:
            return set(_SUBSTITUTE.findall(text))
    return references(list(value.values()))
