"""The published example messages match a real run."""

from demo.local_aws import LocalAws, Stack
from tests.integration.examples import FOLDER, examples


def test_published_examples_match_delivered_messages(aws: LocalAws, stack: Stack) -> None:
    published = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}

    assert published == examples(aws, stack)
