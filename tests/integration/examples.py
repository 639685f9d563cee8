"""Makes the example messages from a real run of the connector.

``PYTHONPATH=functions python -m tests.integration.examples`` writes them into docs/examples/.
"""

import json
from urllib.parse import urlencode

from demo.local_aws import LocalAws, Stack, ministack
from demo.template import ROOT
from tests.support.connector import CODE, PARAMETERS, Browser, Connector

FOLDER = ROOT / "docs" / "examples"
STARTED_AT = 1_795_496_090  # 2026-11-24T04:54:50Z
AUTHORIZATION_ID = "e32e2d63-3f9a-48b6-8c62-3461da972e68"
CLIENT_ID = "7d3f9a52-2f0c-4a55-9d5e-6c1b0e8f4a21"
CONTEXT = "pQMD-QcRxGG63LbSr1VGpa-GM-8nVAwAWGvOwlwJK0A"
RESPONSES = {
    "granted": {"code": CODE, "scope": "offline_access organization.read"},
    "failed": {
        "error": "access_denied",
        "error_description": "The resource owner denied the request.",
    },
}
# SNS generates these members, and the local AWS does not sign: they stay as they were published.
FROM_SNS = {"MessageId", "TopicArn", "Timestamp", "SigningCertURL", "UnsubscribeURL"}
FROM_SNS |= {"SignatureVersion", "Signature"}


def examples(aws: LocalAws, stack: Stack) -> dict[str, str]:
    """Run one flow on *stack* for each authorization response; return the examples by file name."""
    raw = aws.subscribe_queue(stack.topic_arn, raw=True)
    queues = {"": raw, ".enveloped": aws.subscribe_queue(stack.topic_arn, raw=False)}
    connector = Connector(aws, stack, CLIENT_ID=CLIENT_ID)
    files = {}
    for name, response in RESPONSES.items():
        browser = Browser(connector)
        state = browser.started(at=STARTED_AT, context=CONTEXT)
        # Replace the random authorization_id, so that the examples are reproducible.
        aws.dynamodb.update_item(
            TableName=stack.table_name,
            Key={"state": {"S": state}},
            UpdateExpression="SET authorization_id = :id",
            ExpressionAttributeValues={":id": {"S": AUTHORIZATION_ID}},
        )
        browser.request("callback", urlencode(response | {"state": state}), at=STARTED_AT + 1)
        for suffix, queue in queues.items():
            [message] = aws.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"]
            aws.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            file, body = f"{name}{suffix}.json", json.loads(message["Body"])
            published = json.loads((FOLDER / file).read_text("utf-8"))
            body |= {member: published[member] for member in body.keys() & FROM_SNS}
            files[file] = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return files


if __name__ == "__main__":
    with ministack() as aws:
        for name, example in examples(aws, aws.deploy(PARAMETERS)).items():
            (FOLDER / name).write_text(example, "utf-8")
