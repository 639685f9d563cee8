"""The published example messages match a real run, and subscribers' parsers accept them."""

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parser.envelopes import SnsSqsEnvelope

from demo.event_source import lambda_event
from demo.local_aws import LocalAws, Stack
from tests.contract import delivered
from tests.contract.examples import FOLDER, RESPONSES, examples


def test_published_examples_match_delivered_messages(aws: LocalAws, stack: Stack) -> None:
    published = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}

    assert published == examples(aws, stack)


@pytest.mark.parametrize("name", RESPONSES)
def test_enveloped_example_contains_the_raw_example(name: str) -> None:
    raw = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    message: Any = {
        **dict.fromkeys(("MessageId", "ReceiptHandle", "MD5OfBody"), "any"),
        "Body": (FOLDER / f"{name}.enveloped.json").read_text("utf-8"),
        "Attributes": {
            "ApproximateReceiveCount": "1",
            "ApproximateFirstReceiveTimestamp": "1795496091400",
            "SenderId": "AIDAIT2UOQQY3AUEKVGXU",
            "SentTimestamp": "1795496091350",
        },
    }

    [received] = SnsSqsEnvelope().parse(lambda_event([message], "queue"), delivered.Received)

    assert received
    assert received.model_dump() == {name: raw[name] for name in delivered.Received.model_fields}
