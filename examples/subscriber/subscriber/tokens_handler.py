"""Hands out access tokens, and ends connections, for the role that may invoke the function."""

import json
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import ValidationError

from subscriber.grants import REFRESHING
from subscriber.messages import TokensRequest
from subscriber.wiring import access_tokens_with, aws_config, logger, settings

# Delays in seconds. When each message arrives, the claim before it is over, and Qonto still accepts
# a used refresh token (for 60 seconds). So two functions in a row may be killed.
REMINDERS = REFRESHING + 2, 2 * (REFRESHING + 2)
USAGE = 'Send {"authorization_id": "..."}, with "refused": "<access token>" or "disconnect": true'

_sqs = boto3.client("sqs", config=aws_config)


class NotRemindedError(Exception):
    """SQS did not store all messages."""


def _remind(authorization_id: str) -> None:
    message = json.dumps({"authorization_id": authorization_id, "unfinished": True})
    response = _sqs.send_message_batch(
        QueueUrl=settings.queue_url,
        Entries=[
            {"Id": str(delay), "MessageBody": message, "DelaySeconds": delay} for delay in REMINDERS
        ],
    )
    if len(response.get("Successful", [])) < len(REMINDERS):
        raise NotRemindedError


access_tokens = access_tokens_with(_remind)


class InvalidRequestError(Exception):
    """The request is invalid; the text says how to write one, and quotes nothing."""


# set in the code, so that the environment cannot turn it on
@logger.inject_lambda_context(log_event=False)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Respond to a request of the app.

    Raises:
        InvalidRequestError: *event* is not a valid request.
        ForeignConnectionError: the connection is of another environment or client.
        BotoCoreError, ClientError, NotRemindedError: AWS failed. Nothing is lost; try again.

    """
    try:
        request = TokensRequest.model_validate(event)
    except ValidationError:
        raise InvalidRequestError(USAGE) from None
    if request.disconnect:
        return access_tokens.disconnect(request.authorization_id)
    return access_tokens.token(request.authorization_id, request.refused)
