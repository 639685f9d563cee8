"""Lambda's event source mapping of a queue: receives, calls the handler, deletes what is done."""

from demo.gateway import Handler, LambdaContext
from demo.local_aws import REGION
from demo.template import Json


def poll(  # noqa: PLR0913 - the settings of an event source mapping
    queue: Json,
    url: str,
    handler: Handler,
    *,
    batch_size: int = 10,
    wait_seconds: int = 0,
    retry_seconds: int | None = None,  # None: the queue's own visibility timeout
) -> int:
    """Pass a batch to *handler* and delete what succeeded; return the number of messages."""
    asked = {"MaxNumberOfMessages": batch_size, "WaitTimeSeconds": wait_seconds}
    response = queue.receive_message(QueueUrl=url, **asked, MessageSystemAttributeNames=["All"])
    messages = response.get("Messages", [])
    result = handler(lambda_event(messages, url), LambdaContext("subscriber")) if messages else {}
    failed = {failure["itemIdentifier"] for failure in result.get("batchItemFailures", [])}
    for message in messages:
        receipt = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
        if message["MessageId"] not in failed:
            queue.delete_message(**receipt)
        elif retry_seconds is not None:
            queue.change_message_visibility(**receipt, VisibilityTimeout=retry_seconds)
    return len(messages)


def lambda_event(messages: list[Json], url: str) -> dict[str, Json]:
    """Return the event that a function gets for *messages*."""
    constant = {"messageAttributes": {}, "awsRegion": REGION, "eventSource": "aws:sqs"}
    constant["eventSourceARN"] = f"arn:aws:sqs:{REGION}:000000000000:{url.rpartition('/')[2]}"
    names = ("messageId", "receiptHandle", "md5OfBody", "body", "attributes")
    fields = ("MessageId", "ReceiptHandle", "MD5OfBody", "Body", "Attributes")
    received = ([message.get(field, {}) for field in fields] for message in messages)
    return {"Records": [dict(zip(names, values, strict=True)) | constant for values in received]}
