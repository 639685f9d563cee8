"""Receives events and the app's messages; whichever comes second has the code exchanged.

A message whose handling raises stays in the queue and comes again. So everything here may happen
twice, and the exchange happens once: see ``grants.py``.
"""

import logging
import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric
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
from subscriber.client_secret import ClientSecret, Credentials, SecretError
from subscriber.connections import Connections
from subscriber.grants import CodeUsedError, Grant, Grants, Status
from subscriber.messages import MESSAGE, Confirmation, Granted, Repudiation
from subscriber.settings import Settings
from subscriber.token_endpoint import Tokens

LONGEST_RUN = 30  # seconds, the function's timeout: a claim that is older has no owner any more
REPUDIATION_SECONDS = 3600  # after the event; later, a working connection is not deleted

settings = Settings.model_validate(dict(os.environ))
logger = Logger(use_rfc3339=True, serialize_stacktrace=False)
logging.getLogger("botocore").setLevel(logging.WARNING)  # at DEBUG it logs whole requests: codes
_config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 3})
_dynamodb = boto3.resource("dynamodb", config=_config)
grants = Grants(_dynamodb.Table(settings.grant_table_name))
connections = Connections(_dynamodb.Table(settings.connection_table_name))
client_secret = ClientSecret(
    SecretsProvider(boto3_client=boto3.client("secretsmanager", config=_config)),
    settings.client_secret_arn,
    is_sandbox=settings.qonto_environment == "sandbox",
)
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
_said: set[str] = set()  # of an unusable secret


class ForeignEventError(Exception):
    """An event of another environment or client: topic and subscriber do not belong together."""


class StillRunningError(Exception):
    """Another copy of the function exchanges this code now: look again later."""


@logger.inject_lambda_context(log_event=False)  # in the code: it overrides the environment
def handler(event: dict[str, Any], context: LambdaContext) -> object:
    """Handle each message of the batch, and report those that are to come again."""
    return process_partial_response(
        event=event, record_handler=receive, processor=processor, context=context
    )


def receive(record: SQSRecord) -> None:
    """Handle *record*; log what raises, an unusable secret once."""
    try:
        _handle(record)
    except SecretError as error:
        _count("SecretUnusable")
        if str(error) not in _said:  # every message meets it, again and again
            _said.add(str(error))
            logger.error(str(error))
        raise
    except Exception:
        logger.warning("Message failed: it comes again", exc_info=True)
        raise


def _handle(record: SQSRecord) -> None:
    """Store what *record* says, then do what has become possible.

    Each message is stored before the others are looked up, so that of two messages that are
    handled at once at least one sees the other.
    """
    message = MESSAGE.validate_json(record.body)
    if isinstance(message, Granted):
        _check(message)
        _settle(grants.hold(message))
    elif isinstance(message, Repudiation):
        _repudiate(message, int(record.attributes.sent_timestamp) // 1000)
    else:
        connections.confirm(message, _now())
        _settle(*_grants_of(message))


def _check(event: Granted) -> None:
    """Refuse an event of another environment or client.

    The client secret is sent to this stack's own token endpoint and no other.
    """
    own = (
        settings.source,
        settings.qonto_environment,
        settings.client_id,
        settings.token_endpoint,
    )
    data = event.data
    if (event.source, data.environment, data.client_id, data.token_endpoint) != own:
        raise ForeignEventError


def _repudiate(message: Repudiation, sent_at: int) -> None:
    """Drop the codes and tokens of the authorization, unless the message is too late."""
    reference = {"reference": message.authorization_id[:8]}
    if any(sent_at > it.event_time + REPUDIATION_SECONDS for it in _grants_of(message)):
        _count("RepudiatedTooLate")
        logger.error("Repudiation too late: decide by hand", extra=reference)
        return
    connections.repudiate(message, _now())
    for grant in _grants_of(message):  # read again: those that were held before the line above
        grants.repudiate(grant, _now())
    logger.warning("Authorization repudiated", extra=reference)


def _grants_of(message: Confirmation) -> list[Grant]:
    return [it for it in grants.of(message.authorization_id) if it.context == message.context]


def _settle(*received: Grant) -> None:
    """Exchange the codes of *received*, all of one authorization, that may be; tell the app."""
    confirmed = [grant for grant in received if _is_confirmed(grant)]
    for grant in reversed(confirmed):  # the latest first: it replaces the others
        if grant.status is Status.HELD and not _later_is_connected(grant):
            _exchange(grant)
        elif grant.status is Status.EXCHANGING:
            _take_over(grant)
    if confirmed:
        _conclude(confirmed[0].authorization_id)


def _is_confirmed(grant: Grant) -> bool:
    """Tell whether the app confirmed *grant*; if it repudiated, remove its code or tokens.

    One that nobody confirms is held until the table's TTL removes it: a normal end.
    """
    if not settings.require_confirmation:
        return True
    status = connections.status(grant)
    if status == Status.REPUDIATED:
        grants.repudiate(grant, _now())
    return status not in {None, Status.REPUDIATED}


def _later_is_connected(grant: Grant) -> bool:
    later = (it for it in grants.of(grant.authorization_id) if it.order > grant.order)
    return any(it.status is Status.CONNECTED for it in later)


def _exchange(grant: Grant) -> None:
    if grant.code_expires_at <= _now():
        return
    if not _covers(grant.requested_scope, grant.granted_scope):
        grants.refuse(grant, "scope")
        _failed(grant, Status.FAILED, "scope")
        return
    credentials = client_secret.credentials()
    # Recorded before the request leaves. Only one exception undoes it: nothing left.
    try:
        claimed = grants.claim(grant, _now())
    except CodeUsedError:
        grants.refuse(grant, "code-used")
        _failed(grant, Status.FAILED, "code-used")
        return
    try:
        tokens = token_endpoint.exchange(settings.token_endpoint, claimed, credentials)
    except token_endpoint.NotSentError:
        grants.release(claimed)
        raise
    except token_endpoint.RefusedError as error:
        grants.fail(claimed, str(error))
        _failed(grant, Status.FAILED, str(error))
    except token_endpoint.ResponseLostError as error:
        grants.lose(claimed, str(error))
        _failed(grant, Status.LOST, str(error))
    else:
        _keep(claimed, tokens, credentials)


def _keep(claimed: Grant, tokens: Tokens, credentials: Credentials) -> None:
    """Store *tokens*, if they open no more than was asked for, and the organisation's name."""
    if not _covers(claimed.requested_scope, tokens.scope):
        grants.fail(claimed, "scope")
        _failed(claimed, Status.FAILED, "scope")
        return
    if not grants.connect(claimed, tokens.model_dump(exclude_none=True)):
        logger.warning("Tokens dropped", extra=_names(claimed))  # repudiated in the meantime
        return
    logger.info("Grant connected", extra=_names(claimed))
    url = f"{settings.api_url}/v2/organization"
    if organization := token_endpoint.organization(url, tokens, credentials):
        grants.name(claimed, organization)


def _take_over(grant: Grant) -> None:
    """End the claim of a function that was killed: nobody knows whether its request left."""
    if _now() <= (grant.claimed_at or 0) + LONGEST_RUN:
        raise StillRunningError
    if not grants.lose(grant, "the function was stopped"):
        raise StillRunningError  # a late write of that function changed the grant: look again
    _failed(grant, Status.LOST, "the function was stopped")


def _conclude(authorization_id: str) -> None:
    """Keep the connection of the latest code alone, and tell the app how it ended."""
    found = grants.of(authorization_id)
    connected = [it for it in found if it.status is Status.CONNECTED]
    for grant in found:
        earlier = connected and grant.order < connected[-1].order
        if earlier and grant.status in {Status.HELD, Status.CONNECTED}:
            grants.supersede(grant, _now())
    if not settings.require_confirmation:
        return
    latest = (connected or found)[-1]
    if latest.status is Status.HELD and latest.code_expires_at <= _now():
        connections.tell(latest, "expired")
    elif latest.status in {Status.CONNECTED, Status.FAILED, Status.LOST}:
        connections.tell(latest, latest.status)


def _covers(requested: str, granted: str | None) -> bool:
    """Tell whether *granted* names nothing but *requested*; None means as requested."""
    return set((granted or "").split()) <= set(requested.split())


def _failed(grant: Grant, status: Status, reason: str) -> None:
    _count("ExchangeFailed")
    logger.warning("Grant %s", status, extra=_names(grant) | {"reason": reason})


def _names(grant: Grant) -> dict[str, str]:
    """Return the log fields that name *grant*; a whole ``authorization_id`` is not logged."""
    return {"reference": grant.authorization_id[:8], "event_id": grant.event_id}


def _count(metric: str) -> None:
    with single_metric(metric, MetricUnit.Count, 1, namespace="qonto-connect"):
        pass


def _now() -> int:
    return int(time.time())
