"""Checks that every event that a test receives keeps the published contract."""

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from demo.template import Json
from tests.contract import schemas

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

CLOUDEVENTS = Path(__file__).parent / "cloudevents-1.0.json"
# What SQS takes (SendMessage, MessageBody).
SQS_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def check(message: "MessageTypeDef") -> None:
    """Assert that *message*, from a queue with raw delivery, keeps the contract."""
    body = message["Body"]
    event = json.loads(body)
    assert SQS_TEXT.fullmatch(body)  # the local AWS does not check it
    assert len(body.encode()) < 8192
    for schema_validator in _validators(event["type"]):
        schema_validator.validate(event)

    read = JSONFormat().read(CloudEvent, body)
    assert read.get_data() == event["data"]
    assert JSONFormat().write(read) == json.dumps(event).encode()

    attribute = {"DataType": "String", "StringValue": event["type"]}
    assert message["MessageAttributes"] == {"type": attribute}


@cache
def _validators(event_type: str) -> list[Validator]:
    """Return a validator for each schema that an event of *event_type* must satisfy."""
    name = f"{event_type.removeprefix('qonto-connect.').replace('.', '-', 1)}.json"
    files = (schemas.FOLDER / name, schemas.FIRST / name, CLOUDEVENTS)
    return [validator(json.loads(file.read_text("utf-8"))) for file in files]


def validator(schema: Json) -> Validator:
    """Return a validator of *schema* that also checks the formats of strings."""
    kind = validator_for(schema)
    kind.check_schema(schema)
    return kind(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
