"""Reads the SAM templates, so that demo and tests run what is deployed."""

import re
from pathlib import Path
from typing import Any

import yaml
from samtranslator import yaml_helper  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "infra" / "template.yaml"
EXAMPLE = ROOT / "examples" / "subscriber" / "template.yaml"

type Json = Any  # as json.loads returns it
type Template = dict[str, Json]

_SUBSTITUTE = re.compile(r"\$\{([^!}.]+)[^}]*\}")


class _Loader(yaml.CSafeLoader):
    """YAML as CloudFormation reads it: short tags, and policy dates that stay text."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)
_Loader.add_multi_constructor("!", yaml_helper.intrinsics_multi_constructor)


def load(path: Path = TEMPLATE) -> Template:
    """Return the template at *path*, its intrinsic functions in their long form."""
    return dict(yaml.load(path.read_text("utf-8"), _Loader))  # noqa: S506 - a safe loader


def resources(template: Template, *types: str) -> dict[str, dict[str, Json]]:
    """Return the resources whose type starts with one of *types*, by logical id."""
    every: dict[str, dict[str, Json]] = template["Resources"]
    return {name: each for name, each in every.items() if each["Type"].startswith(types)}


def function(template: Template, logical_id: str) -> dict[str, Json]:
    """Return a function's properties, with those of ``Globals`` and its variables merged."""
    defaults = template.get("Globals", {}).get("Function", {})
    properties = template["Resources"][logical_id]["Properties"]
    variables: dict[str, Json] = {}
    for level in (defaults, properties):
        variables |= level.get("Environment", {}).get("Variables", {})
    return {**defaults, **properties, "Environment": variables}


def references(value: Json) -> set[str]:
    """Return the logical ids, parameters and pseudo parameters that *value* refers to."""
    match value:
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
            return {name}
        case {"Fn::Sub": [text, variables]}:
            return set(_SUBSTITUTE.findall(text)) - set(variables) | references(variables)
        case {"Fn::Sub": text}:
            return set(_SUBSTITUTE.findall(text))
        case dict() | list():
            parts = value.values() if isinstance(value, dict) else value
            return set().union(*map(references, parts))
    return set()
