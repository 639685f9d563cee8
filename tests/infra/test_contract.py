"""The published contract: docs/events.md and the schemas."""

import json

import pytest

from demo.template import ROOT, Json
from tests.contract import delivered, schemas

SCHEMAS = schemas.schemas()
GRANTED, FAILED = (
    json.loads((ROOT / "docs" / "examples" / f"{kind}.json").read_text("utf-8"))
    for kind in ("granted", "failed")
)
each_schema = pytest.mark.parametrize("name", SCHEMAS)


@each_schema
def test_published_schema_equals_the_models_schema(name: str) -> None:
    assert {path.name for path in schemas.FOLDER.iterdir()} == SCHEMAS.keys()
    assert (schemas.FOLDER / name).read_text("utf-8") == schemas.text(SCHEMAS[name])


def test_document_lists_the_members_of_the_schemas() -> None:
    documented = schemas.documented()
    granted, failed = map(schemas.members, SCHEMAS.values())
    members = granted | failed

    assert documented.keys() == members.keys()
    for name, (_, required) in members.items():
        assert name == "data" or (documented[name].absent == "never") == required


@pytest.mark.parametrize(("name", "message"), [*zip(SCHEMAS, (GRANTED, FAILED), strict=True)])
def test_schema_allows_new_members_but_no_null(name: str, message: Json) -> None:
    is_valid = delivered.validator(SCHEMAS[name]).is_valid
    data = message["data"]

    assert is_valid(message | {"partitionkey": "new", "data": data | {"new": {"of": "any form"}}})
    for member in data:
        assert not is_valid(message | {"data": data | {member: None}})


@each_schema
def test_current_schema_keeps_the_first_versions_members(name: str) -> None:
    first = schemas.members(json.loads((schemas.FIRST / name).read_text("utf-8")))
    current = schemas.members(SCHEMAS[name])

    for member, (form, required) in first.items():
        for keyword in ("type", "format", "const", "enum"):
            assert current[member][0].get(keyword) == form.get(keyword), member
        assert current[member][1] or not required, member
