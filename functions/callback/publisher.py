"""Publishes events on the SNS topic."""

from typing import TYPE_CHECKING

from aws import AwsCallError
from callback.events import AuthorizationEvent, to_message

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import PublishInputTypeDef


class PublishFailedError(AwsCallError):
    """SNS did not confirm that it received the event. Subscribers may or may not receive it."""


class Publisher:
    """Publishes events on one topic."""

    def __init__(self, sns: "SNSClient", topic_arn: str) -> None:
        """Use *sns* with the topic *topic_arn*."""
        self._sns = sns
        self._topic_arn = topic_arn

    def publish(self, event: AuthorizationEvent) -> None:
        """Publish *event*. Its type is the one message attribute, by which subscriptions filter.

        SNS encrypts only the message's body, so that no attribute may hold a secret.

        Raises:
            PublishFailedError: subscribers may or may not receive the event.

        """
        request: PublishInputTypeDef = {
            "TopicArn": self._topic_arn,
            "Message": to_message(event),
            "MessageAttributes": {"type": {"DataType": "String", "StringValue": event.type}},
        }
        try:
            self._sns.publish(**request)
        # AWS may return anything, and botocore's parsers may raise anything
        except Exception as error:
            raise PublishFailedError(error) from error
