"""Receives events and the app's messages, and exchanges a code when both have arrived.

If handling raises, the message stays in the queue and is delivered again. So each step may run
twice; ``grants.py`` makes sure that the exchange runs once.
"""

from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from subscriber import token_endpoint
from subscriber.client_secret import Credentials, SecretError
from subscriber.grants import LONGEST_RUN, CodeUsedError, Grant, Status
from subscriber.messages import MESSAGE, Confirmation, Granted, Repudiation, Unfinished
from subscriber.tokens import Tokens
from subscriber.wiring import (
    access_tokens_with,
    client_secret,
    connections,
    count,
    grants,
    logger,
    now,
    report,
    settings,
)

DISCONNECTED = {Status.DISCONNECTING, Status.DISCONNECTED}
# seconds after the event; a later repudiation does not delete the connection
REPUDIATION_SECONDS = 3600

# Reminders are not needed here: a message stays in the queue until it is handled.
access_tokens = access_tokens_with(lambda _: None)
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)


class ForeignEventError(Exception):
    """The event is of another environment or client, so the topic is not this subscriber's."""


class StillRunningError(Exception):
    """Another invocation is exchanging this code; the message must be delivered again later."""


# set in the code, so that the environment cannot turn it on
@logger.inject_lambda_context(log_event=False)
def handler(event: dict[str, Any], context: LambdaContext) -> object:
    """Handle each message of the batch, and report those that SQS must deliver again."""
    return process_partial_response(
        event=event, record_handler=receive, processor=processor, context=context
    )


def receive(record: SQSRecord) -> None:
    """Handle *record*, and log an exception; log an unusable secret only once."""
    try:
        _handle(record)
    except SecretError as error:
        report(error)
        raise
    except Exception:
        logger.warning("Message failed: it comes again", exc_info=True)
        raise


def _handle(record: SQSRecord) -> None:
    """Store the message of *record*, then exchange or drop the codes that it concerns.

    Each message is stored before the others are read. So if two messages are handled at once,
    one handler or both find the other message.
    """
    message = MESSAGE.validate_json(record.body)
    if isinstance(message, Granted):
        _check(message)
        _settle(grants.hold(message))
    elif isinstance(message, Repudiation):
        _repudiate(message, int(record.attributes.sent_timestamp) // 1000)
    elif isinstance(message, Unfinished):
        access_tokens.finish(message.authorization_id)
    else:
        connections.confirm(message, now())
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
        count("RepudiatedTooLate")
        logger.error("Repudiation too late: decide by hand", extra=reference)
        return
    connections.repudiate(message, now())
    # read again, for grants that were stored before the repudiation
    for grant in _grants_of(message):
        grants.repudiate(grant, now())
    logger.warning("Authorization repudiated", extra=reference)


def _grants_of(message: Confirmation) -> list[Grant]:
    return [it for it in grants.of(message.authorization_id) if it.context == message.context]


def _settle(*received: Grant) -> None:
    """Exchange the confirmed codes of *received*, all of one authorization, and tell the app."""
    confirmed = [grant for grant in received if _is_confirmed(grant)]
    for grant in reversed(confirmed):  # latest first, because it replaces the others
        if grant.status is Status.HELD and not _is_replaced(grant):
            _exchange(grant)
        elif grant.status is Status.EXCHANGING:
            _take_over(grant)
    if confirmed:
        _conclude(confirmed[0].authorization_id)


def _is_confirmed(grant: Grant) -> bool:
    """Tell whether the app confirmed *grant*; if it repudiated, remove its code or tokens.

    A grant without a confirmation is held until the table's TTL removes it, which is normal.
    """
    if not settings.require_confirmation:
        return True
    status = connections.status(grant)
    if status == Status.REPUDIATED:
        grants.repudiate(grant, now())
    return status not in {None, Status.REPUDIATED}


def _is_replaced(grant: Grant) -> bool:
    """Tell whether a later grant is connected, or the app ended the authorization."""
    found = grants.of(grant.authorization_id)
    is_later = any(
        other.order > grant.order and other.status is Status.CONNECTED for other in found
    )
    return is_later or any(other.status in DISCONNECTED for other in found)


def _exchange(grant: Grant) -> None:
    # the event was stored before an update of the stack
    is_foreign = grant.source != settings.source
    if is_foreign or grant.code_expires_at <= now():
        return
    if not _covers(grant.requested_scope, grant.granted_scope):
        grants.refuse(grant, "scope")
        _failed(grant, Status.FAILED, "scope")
        return
    credentials = client_secret.credentials()
    # The claim is recorded before the request is sent, and undone only if nothing was sent.
    try:
        claimed = grants.claim(grant, now())
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
    """Store *tokens* and the organisation's name, unless the scope exceeds the request."""
    if not _covers(claimed.requested_scope, tokens.scope):
        grants.fail(claimed, "scope")
        _failed(claimed, Status.FAILED, "scope")
        return
    if not grants.connect(claimed, tokens):
        logger.warning("Tokens dropped", extra=claimed.log_fields)  # repudiated in the meantime
        return
    logger.info("Grant connected", extra=claimed.log_fields)
    if organization := token_endpoint.organization(settings.api_url, tokens, credentials):
        grants.name(claimed, organization)


def _take_over(grant: Grant) -> None:
    """End the claim of a function that was killed, whose request may or may not have been sent."""
    if now() <= (grant.claimed_at or 0) + LONGEST_RUN:
        raise StillRunningError
    if not grants.lose(grant, "the function was stopped"):
        raise StillRunningError  # a late write of that function changed the grant, so read it again
    _failed(grant, Status.LOST, "the function was stopped")


def _conclude(authorization_id: str) -> None:
    """Keep only the connection of the latest code, and tell the app its status."""
    found = grants.of(authorization_id)
    connected = [it for it in found if it.status is Status.CONNECTED]
    for grant in found:
        earlier = connected and grant.order < connected[-1].order
        if earlier and grant.status in {Status.HELD, Status.CONNECTED}:
            grants.supersede(grant, now())
    if not settings.require_confirmation:
        return
    latest = (connected or found)[-1]
    if latest.status is Status.HELD and latest.code_expires_at <= now():
        connections.tell(latest, "expired")
    elif latest.status in {Status.CONNECTED, Status.FAILED, Status.LOST}:
        connections.tell(latest, latest.status)


def _covers(requested: str, granted: str | None) -> bool:
    """Tell whether *granted* is part of *requested*; None means that they are equal."""
    return set((granted or "").split()) <= set(requested.split())


def _failed(grant: Grant, status: Status, reason: str) -> None:
    count("ExchangeFailed")
    logger.warning("Grant %s", status, extra=grant.log_fields | {"reason": reason})
