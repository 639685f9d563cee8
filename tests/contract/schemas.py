"""Makes the JSON Schemas of the events from the models and the descriptions in docs/events.md.

``PYTHONPATH=functions python -m tests.contract.schemas`` writes them into docs/schemas/.

Never change ``first/``, the schemas as first published: events must satisfy them while their type
ends in ``.v1``. ``cloudevents-1.0.json`` is CloudEvents' own schema, in another layout (npm package
cloudevents 10.0.0, ``dist/schema/v1.js``; © The CloudEvents Authors, Apache-2.0).
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from callback.events import AuthorizationEvent, AuthorizationFailed, AuthorizationGranted
from demo.template import ROOT, Json

FOLDER = ROOT / "docs" / "schemas"
FIRST = Path(__file__).parent / "first"
_ROW = re.compile(r"^\| `([a-z_.]+)` \| (.+?) \| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)


class Member(NamedTuple):
    """A row of the tables in docs/events.md."""

    name: str
    type: str
    meaning: str
    absent: str


def documented() -> dict[str, Member]:
    """Return the members that docs/events.md describes; those of ``data`` begin with ``data.``."""
    rows = _ROW.findall((ROOT / "docs" / "events.md").read_text("utf-8"))
    assert len({name for name, *_ in rows}) == len(rows)
    return {row[0]: Member(*row) for row in rows}


def schemas() -> dict[str, Json]:
    """Return each schema by the name of its file."""
    models: list[type[AuthorizationEvent]] = [AuthorizationGranted, AuthorizationFailed]
    names = [model.dataschema.removeprefix("urn:qonto-connect:") for model in models]
    return {
        f"{name.replace(':', '.')}.json": _schema(m) for name, m in zip(names, models, strict=True)
    }


def members(schema: Json) -> dict[str, tuple[Json, bool]]:
    """Return each member of *schema*, with the member's schema and whether it is required."""
    return {
        f"{prefix}{name}": (_inlined(member, schema), name in part["required"])
        for prefix, part in _parts(schema)
        for name, member in part["properties"].items()
    }


def _parts(schema: Json) -> list[tuple[str, Json]]:
    """Return the message's own schema and that of ``data``, each with its members' prefix."""
    [data] = (each for each in schema["$defs"].values() if "properties" in each)
    return [("", schema), ("data.", data)]


def _inlined(member: Json, schema: Json) -> Json:
    found = schema["$defs"].get(member.get("$ref", "").removeprefix("#/$defs/"), {})
    return {**member, "type": "string", "enum": found["enum"]} if "enum" in found else member


def text(schema: Json) -> str:
    """Return *schema* as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


class _AsSent(GenerateJsonSchema):
    """Describes optional members as absent, never null, and constant ones as required."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: ANN401, ARG002, FBT001
        return field["schema"].get("default", ...) is not None

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ANN401 - as above
        return self.generate_inner(schema["schema"])

    default_schema = nullable_schema

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - as above
        return False


def _schema(model: type[AuthorizationEvent]) -> Json:
    message = TypeAdapter(model).json_schema(mode="serialization", schema_generator=_AsSent)
    described = documented()
    for prefix, part in _parts(message):
        for name, member in part["properties"].items():
            member["description"] = described[f"{prefix}{name}"].meaning
    for name, definition in message["$defs"].items():
        definition["title"] = name  # code generators take it as the type's name
    # Code generators read no `$id` below the root, so `data` is a definition without one.
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"{model.dataschema}:message",
    } | message


if __name__ == "__main__":
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text(schema), "utf-8")
