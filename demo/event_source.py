"""Lambda's event source mapping for a queue: receives, calls the handler, deletes what is done."""

from typing import TYPE_CHECKING, Any

from demo.gateway import Handler, LambdaContext
from demo.local_aws import REGION

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef


def poll(  # noqa: PLR0913 - what the mapping is configured with
    queue: "SQSClient",
    queue_url: str,
    handler: Handler,
    *,
    batch_size: int = 10,
    wait_seconds: int = 0,
    retry_seconds: int | None = None,
) -> int:
    """Hand *handler* one batch, if there is one; return how many messages it was.

    What it reports as failed stays in the queue, and comes again after the queue's own visibility
    time-out, or after *retry_seconds*: a laptop need not wait as long.
    """
    answer = queue.receive_message(
        QueueUrl=queue_url,
        MaxNumberOfMessages=batch_size,
        WaitTimeSeconds=wait_seconds,
        MessageSystemAttributeNames=["All"],
    )
    messages = answer.get("Messages", [])
    if not messages:
        return 0
    result = handler(lambda_event(messages, queue_url), LambdaContext("subscriber"))
    failed = {it["itemIdentifier"] for it in result["batchItemFailures"]}
    for message in messages:
        receipt = {"QueueUrl": queue_url, "ReceiptHandle": message["ReceiptHandle"]}
        if message["MessageId"] not in failed:
            queue.delete_message(**receipt)
        elif retry_seconds is not None:
            queue.change_message_visibility(**receipt, VisibilityTimeout=retry_seconds)
    return len(messages)


def lambda_event(messages: "list[MessageTypeDef]", queue_url: str) -> dict[str, Any]:
    """Return the event that a function gets for *messages*."""
    arn = f"arn:aws:sqs:{REGION}:000000000000:{queue_url.rpartition('/')[2]}"
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": dict(message.get("Attributes", {})),
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": arn,
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }
