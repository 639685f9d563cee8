"""The app's side of the example subscriber: its queue, and its table of connections."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Subscriber:
    """The parts of the subscriber's stack that the app may use.

    A confirmation is ``{"authorization_id": ..., "context": ...}``. Each method raises
    `BotoCoreError` or `ClientError` if AWS did not do it, or may not have done it.
    """

    sqs: "SQSClient"
    queue_url: str
    connections: "Table"

    def confirm(self, confirmation: dict[str, str]) -> None:
        """Tell the subscriber that the session which asked has finished this authorization."""
        self._send(confirmation)

    def repudiate(self, confirmation: dict[str, str]) -> None:
        """Tell the subscriber never to exchange the code, because another browser came back."""
        self._send(confirmation | {"repudiated": True})

    def connection(self, confirmation: dict[str, str]) -> dict[str, str]:
        """Return the connection's `status`, and its `organization` if known."""
        item = self.connections.get_item(Key=dict(confirmation)).get("Item", {})
        return {name: str(item[name]) for name in ("status", "organization") if name in item}

    def _send(self, message: Mapping[str, str | bool]) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(message))
