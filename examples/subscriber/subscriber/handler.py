"""Takes events and confirmations from the queue; whichever comes second has the code exchanged.

A message that raises stays in the queue and comes again; all others are done. So everything here
may happen twice, and the exchange happens once: see ``grants.py``.
"""

import logging
import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from subscriber import token_endpoint
from subscriber.connections import Connections
from subscriber.grants import Grant, Grants, State
from subscriber.messages import MESSAGE, Confirmation
from subscriber.settings import Settings
from subscriber.token_endpoint import Credentials

# The function's time-out, seconds: an attempt that is older is over, whatever became of it.
LONGEST_RUN = 30
SECRET_MAX_AGE = 60  # seconds; so long a corrected secret may take to be used

settings = Settings.model_validate(dict(os.environ))
logger = Logger(use_rfc3339=True, serialize_stacktrace=False)
logging.getLogger("botocore").setLevel(logging.WARNING)  # at DEBUG it logs whole requests: codes
_config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3})
_dynamodb = boto3.resource("dynamodb", config=_config)
grants = Grants(_dynamodb.Table(settings.grant_table_name))
connections = Connections(_dynamodb.Table(settings.connection_table_name))
secrets = SecretsProvider(boto3_client=boto3.client("secretsmanager", config=_config))
processor = BatchProcessor(
    EventType.SQS,
    raise_on_entire_batch_failure=False,
    logger=logger,  # type: ignore[arg-type]  # Powertools' own stands in for logging's
)


class ForeignEventError(Exception):
    """An event of another of Qonto's environments: topic and secret do not belong together."""


class StillRunningError(Exception):
    """Another copy of the function exchanges this code just now: look again later."""


@logger.inject_lambda_context(log_event=False)  # in the code: it beats the environment
def handler(event: dict[str, Any], context: LambdaContext) -> object:
    """Take in each message of the batch, and report those that are to come again."""
    return process_partial_response(
        event=event, record_handler=take_in, processor=processor, context=context
    )


def take_in(record: SQSRecord) -> None:
    """Write down what *record* says, then see what can be done with it."""
    message = MESSAGE.validate_json(record.body)
    if isinstance(message, Confirmation):
        connections.confirm(message, _now())
        for grant in grants.of(message.authorization_id):
            _settle(grant)
        return
    # The secret goes to the address that this stack was deployed with, and to no other.
    if message.data.token_endpoint != settings.token_endpoint:
        raise ForeignEventError
    _settle(grants.hold(message))


def _settle(grant: Grant) -> None:
    """Exchange the code if it is confirmed and was never tried; let the app know how it ended."""
    if settings.require_confirmation and not connections.is_confirmed(grant):
        return  # held; nobody confirms it in time: the table forgets it, a normal end
    status, organization = str(grant.state), None
    if grant.state == State.HELD:
        status, organization = _attempt(grant)
    elif grant.state == State.EXCHANGING:
        status = _take_for_lost(grant)
    if settings.require_confirmation:
        connections.tell(grant, status, organization)


def _attempt(grant: Grant) -> tuple[str, str | None]:
    if grant.code_expires_at <= _now():
        return "expired", None
    credentials = Credentials.model_validate_json(
        str(secrets.get(settings.client_secret_arn, max_age=SECRET_MAX_AGE))
    )
    # On record before the request leaves. From here no exception takes it back but the one that
    # says that nothing left.
    grants.claim(grant, _now())
    try:
        tokens = token_endpoint.exchange(settings.token_endpoint, grant, credentials)
    except token_endpoint.NotSentError:
        grants.release(grant)
        raise
    except token_endpoint.RefusedError as error:
        grants.fail(grant, str(error))
        return _end(grant, State.FAILED, str(error)), None
    except token_endpoint.AnswerLostError as error:
        grants.lose(grant, str(error))
        return _end(grant, State.LOST, str(error)), None
    grants.connect(grant, tokens.model_dump(exclude_none=True))
    _end(grant, State.CONNECTED)
    return State.CONNECTED, token_endpoint.organization(
        f"{settings.api_url}/v2/organization", tokens, credentials
    )


def _take_for_lost(grant: Grant) -> str:
    """End an attempt whose function was killed: nobody knows whether its request left."""
    if _now() <= (grant.attempted_at or 0) + LONGEST_RUN:
        raise StillRunningError
    grants.lose(grant, "the function was stopped")
    return _end(grant, State.LOST, "the function was stopped")


def _end(grant: Grant, state: State, reason: str = "") -> str:
    extra = {"authorization_id": grant.authorization_id, "event_id": grant.event_id}
    logger.info("Grant %s", state, extra=extra | ({"reason": reason} if reason else {}))
    return state


def _now() -> int:
    return int(time.time())
