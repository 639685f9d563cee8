"""Writes docs/schemas/ and docs/examples/: ``PYTHONPATH=functions python -m tests.contract``."""

from demo.local_aws import ministack
from tests.contract import examples, schemas
from tests.integration.connector import PARAMETERS

for name, schema in schemas.schemas().items():
    (schemas.FOLDER / name).write_text(schemas.text(schema), "utf-8")
with ministack() as aws:
    for name, example in examples.examples(aws, aws.deploy(PARAMETERS)).items():
        (examples.FOLDER / name).write_text(example, "utf-8")
