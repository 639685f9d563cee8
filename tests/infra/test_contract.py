"""The published contract: docs/events.md, the schemas and the README's example."""

import copy
import json
import re

import pytest

from demo.template import ROOT, Json
from tests.contract import delivered, schemas
from tests.contract.examples import FOLDER as EXAMPLES
from tests.integration.connector import CODE

SCHEMAS = schemas.schemas()
MESSAGES = {
    f"authorization-{kind}.v1.json": json.loads((EXAMPLES / f"{kind}.json").read_text("utf-8"))
    for kind in ("granted", "failed")
}
KINDS = {
    "uuid": {"type": "string", "format": "uuid"},
    "date-time": {"type": "string", "format": "date-time"},
    "string": {"type": "string"},
    "`production` or `sandbox`": {"type": "string", "enum": ["production", "sandbox"]},
}
each_schema = pytest.mark.parametrize("name", SCHEMAS)


def _is_valid(name: str, message: Json) -> bool:
    return bool(delivered.validator(SCHEMAS[name]).is_valid(message))


@each_schema
def test_published_schema_equals_the_models_schema(name: str) -> None:
    assert {path.name for path in schemas.FOLDER.iterdir()} == SCHEMAS.keys()
    assert (schemas.FOLDER / name).read_text("utf-8") == schemas.text(SCHEMAS[name])
    [data] = SCHEMAS[name]["$defs"].values()
    assert data["$id"] == SCHEMAS[name]["properties"]["dataschema"]["const"]


def test_document_lists_the_members_of_the_schemas() -> None:
    documented = schemas.documented()
    members = {
        name: each for schema in SCHEMAS.values() for name, each in schemas.members(schema).items()
    }

    assert documented.keys() == members.keys()
    for name in members.keys() - {"data"}:
        member, required = members[name]
        form = {keyword: value for keyword, value in member.items() if keyword != "description"}
        assert (documented[name].absent == "never") == required
        if documented[name].type == "constant":
            assert form.keys() == {"type", "const"}
        else:
            assert form == KINDS[documented[name].type]
            delivered.validator(form).validate(documented[name].example)


@each_schema
def test_schema_refuses_missing_required_and_null_members(name: str) -> None:
    added = copy.deepcopy(MESSAGES[name]) | {"partitionkey": "new"}
    added["data"]["new"] = {"of": "any form"}
    assert _is_valid(name, MESSAGES[name])
    assert _is_valid(name, added)

    for member, (_, required) in schemas.members(SCHEMAS[name]).items():
        without, empty = copy.deepcopy(MESSAGES[name]), copy.deepcopy(MESSAGES[name])
        *within, last = member.split(".")
        (without["data"] if within else without).pop(last, None)
        (empty["data"] if within else empty)[last] = None
        assert _is_valid(name, without) != required
        assert not _is_valid(name, empty)


@each_schema
def test_current_schema_keeps_the_first_versions_members(name: str) -> None:
    first = schemas.members(json.loads((schemas.FIRST / name).read_text("utf-8")))
    current = schemas.members(SCHEMAS[name])

    for member, (form, required) in first.items():
        for keyword in ("type", "format", "const", "enum", "$ref"):
            assert current[member][0].get(keyword) == form.get(keyword), member
        assert current[member][1] or not required, member


def test_pages_show_the_values_of_the_examples() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    [shown] = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)
    granted, failed = MESSAGES.values()

    text = json.dumps(granted, ensure_ascii=False)
    assert json.loads(shown) == json.loads(text.replace(CODE, "ory_ac_…"))
    values = {name: value for name, value in granted.items() if name != "data"}
    for data in (failed["data"], granted["data"]):
        values |= {f"data.{member}": value for member, value in data.items()}
    documented = schemas.documented()
    assert {name: documented[name].example for name in values} == values
