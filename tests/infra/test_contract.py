"""The published contract: docs/events.md, the schemas and the README's example."""

import copy
import json
import re

import pytest
from jsonschema import ValidationError

from demo.template import ROOT, Json
from tests.contract import delivered, schemas
from tests.contract.examples import FOLDER as EXAMPLES
from tests.integration.connector import CODE

SCHEMAS = schemas.schemas()
MEMBERS = {
    name: member for schema in SCHEMAS.values() for name, member in schemas.members(schema).items()
}
DOCUMENTED = schemas.documented()
KINDS = {
    "uuid": {"type": "string", "format": "uuid"},
    "date-time": {"type": "string", "format": "date-time"},
    "string": {"type": "string"},
    "`production` or `sandbox`": {"type": "string", "enum": ["production", "sandbox"]},
}


def refused(schema: Json, message: Json) -> bool:
    """Tell whether *message* is invalid by *schema*."""
    try:
        delivered.validator(schema).validate(message)
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schema_equals_the_models_schema(name: str) -> None:
    published = (schemas.FOLDER / name).read_text("utf-8")

    assert published == schemas.text(SCHEMAS[name])


def test_no_other_schema_is_published() -> None:
    assert {path.name for path in schemas.FOLDER.iterdir()} == set(SCHEMAS)


def test_document_lists_exactly_the_schemas_members() -> None:
    assert set(DOCUMENTED) == set(MEMBERS)


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "data"])
def test_documented_member_matches_its_schema(name: str) -> None:
    member, required = MEMBERS[name]
    documented = DOCUMENTED[name]

    assert (documented.absent == "never") == required
    schema = {keyword: value for keyword, value in member.items() if keyword != "description"}
    if documented.type == "constant":
        assert set(schema) == {"type", "const"}
    else:
        assert schema == KINDS[documented.type]
        delivered.validator(schema).validate(documented.example)


def test_data_schema_id_equals_dataschema() -> None:
    for schema in SCHEMAS.values():
        [data] = schema["$defs"].values()
        assert data["$id"] == schema["properties"]["dataschema"]["const"]


@pytest.mark.parametrize("name", ["granted", "failed"])
def test_schema_refuses_missing_required_and_null_members(name: str) -> None:
    schema = SCHEMAS[f"authorization-{name}.v1.json"]
    message = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    assert not refused(schema, message)

    for member, (_, required) in schemas.members(schema).items():
        without, empty = copy.deepcopy(message), copy.deepcopy(message)
        *within, last = member.split(".")
        (without["data"] if within else without).pop(last, None)
        (empty["data"] if within else empty)[last] = None
        assert refused(schema, without) == required
        assert refused(schema, empty)


@pytest.mark.parametrize("name", ["granted", "failed"])
def test_compatible_addition_satisfies_the_schema(name: str) -> None:
    message = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    message["partitionkey"] = "new"
    message["data"]["new"] = {"of": "any form"}

    assert not refused(SCHEMAS[f"authorization-{name}.v1.json"], message)


def breaks(first: Json, current: Json) -> list[str]:
    """Return the names of the members of *first* that *current* lacks or changes."""
    members = schemas.members(current)
    form = ("type", "format", "const", "enum", "$ref")
    return [
        name
        for name, (member, required) in schemas.members(first).items()
        if name not in members
        or (required and not members[name][1])
        or any(member.get(keyword) != members[name][0].get(keyword) for keyword in form)
    ]


@pytest.mark.parametrize("name", SCHEMAS)
def test_current_schema_keeps_the_first_versions_members(name: str) -> None:
    first = json.loads((schemas.FIRST / name).read_text("utf-8"))

    assert breaks(first, SCHEMAS[name]) == []


def test_breaking_changes_are_found() -> None:
    first = SCHEMAS["authorization-granted.v1.json"]
    current = copy.deepcopy(first)
    [data] = current["$defs"].values()
    del current["properties"]["subject"]
    current["required"].remove("time")
    data["required"].remove("code")
    data["properties"]["granted_scope"]["type"] = "array"
    data["properties"]["environment"]["enum"].append("staging")
    data["properties"]["started_at"].pop("format")
    data["properties"]["new"] = {"type": "string"}

    assert set(breaks(first, current)) == {
        *("subject", "time", "data.code", "data.granted_scope"),
        *("data.environment", "data.started_at"),
    }


def test_the_readme_shows_the_example() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    [shown] = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)

    granted = (EXAMPLES / "granted.json").read_text("utf-8")
    assert json.loads(shown) == json.loads(granted.replace(CODE, "ory_ac_…"))


@pytest.mark.parametrize("name", ["granted", "failed"])
def test_the_document_shows_the_values_of_the_examples(name: str) -> None:
    example = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))

    shown = {f"data.{member}": value for member, value in example["data"].items()}
    if name == "granted":
        shown |= {member: value for member, value in example.items() if member != "data"}
    assert shown == {member: DOCUMENTED[member].example for member in shown}
