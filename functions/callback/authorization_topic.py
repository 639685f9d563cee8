"""The SNS topic on which the event goes out to subscribers."""

from typing import TYPE_CHECKING

from aws_calls import AWS_FAILURES, failure_name
from callback.authorization_event import AuthorizationEvent

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class PublishFailedError(Exception):
    """SNS did not take the event, or did not say so."""


class AuthorizationTopic:
    """Publishes authorization events."""

    def __init__(self, sns: "SNSClient", topic_arn: str) -> None:
        """Take a client and the topic's ARN."""
        self._sns = sns
        self._topic_arn = topic_arn

    def publish(self, event: AuthorizationEvent) -> None:
        """Publish *event*, with its type as the one attribute that subscriptions can filter by.

        Raises:
            PublishFailedError: subscribers may or may not receive it.

        """
        try:
            self._sns.publish(
                TopicArn=self._topic_arn,
                # Absent members are omitted, never null.
                Message=event.model_dump_json(exclude_none=True),
                # SNS encrypts the body alone: no secret here.
                MessageAttributes={"type": {"DataType": "String", "StringValue": event.type}},
            )
        except AWS_FAILURES as error:
            raise PublishFailedError(failure_name(error)) from error
