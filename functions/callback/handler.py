"""``GET /callback``: consume the state, publish what Qonto sent, and show the person on."""

import os
import re
from urllib.parse import urlencode

import cold_start  # noqa: F401 - before all that takes time
import aws_calls
import browser_binding
import browser_request
import browser_response
import state_store
from browser_request import Event
from browser_response import Answer
from callback import authorization_event, authorization_response
from callback.authorization_topic import AuthorizationTopic, PublishFailedError
from callback.settings import Settings
from state_store import PendingAuthorization
from telemetry import count, logger

settings = Settings.model_validate(dict(os.environ))
states = state_store.StateStore(aws_calls.client("dynamodb"), settings)
topic = AuthorizationTopic(aws_calls.client("sns"), settings.topic_arn)

# Why a state was not consumed, or its event not published: what the person is told.
REFUSALS = {
    "invalid_request": "invalid-request",
    "no_cookie": "other-browser",
    "other_browser": "other-browser",
    "unknown": "used",
    "expired": "expired",
    "unconfirmed": "start-again",
    "not_restored": "start-again",
}
OUTCOMES = {"granted", "denied", "failed", *REFUSALS.values()}
# What /start was asked, and is asked again by a page that offers to start again.
START_PARAMETERS = {"context", "return_to", "organization_id", "registration_id"}
# What the app is told; of any other outcome it could make nothing.
RETURNED_OUTCOMES = {"granted", "denied", "failed", "expired"}


@logger.inject_lambda_context(log_event=False)  # in the code: it beats the environment
def handler(event: Event, _context: object) -> Answer:
    """Answer 303 to a URL without code or state; 503 with *Try again* where that can help."""
    if browser_request.is_speculative(event):
        return browser_response.unavailable()
    if event["routeKey"] == "GET /callback/{outcome}":
        return _outcome_page(event)

    try:
        response = authorization_response.parse(event["rawQueryString"])
    except browser_request.InvalidQueryError as error:
        return _refuse("invalid_request", parameters=error.parameters)
    browser = browser_binding.read(event)
    if browser is None:
        return _refuse("no_cookie")

    now = browser_request.arrival(event)
    try:
        authorization = states.consume(response.state, browser_binding.fingerprint(browser), now)
    except state_store.StateRefusedError as refusal:
        return _refuse(refusal.reason, refusal.authorization)
    except state_store.StateStoreUnavailableError as error:
        logger.error("State not consumed", error=str(error))
        return browser_response.page(event, settings, "callback-unavailable")

    authorization_id = authorization.authorization_id
    message = authorization_event.build(authorization, response, settings.token_endpoint, now)
    try:
        topic.publish(message)
    except PublishFailedError as error:
        logger.error("Event not published", authorization_id=authorization_id, error=str(error))
        count("PublishFailed")
        return _restore(event, authorization)

    logger.info(f"Authorization {response.outcome}", authorization_id=authorization_id)
    count("AuthorizationGranted" if response.outcome == "granted" else "AuthorizationFailed")
    return _go_on(response.outcome, authorization)


def _restore(event: Event, authorization: PendingAuthorization) -> Answer:
    try:
        states.restore(authorization)
    except state_store.StateStoreUnavailableError as error:
        logger.error(
            "State not restored", authorization_id=authorization.authorization_id, error=str(error)
        )
        return _refuse("not_restored", authorization)
    count("StateRestored")
    return browser_response.page(event, settings, "callback-unavailable")


def _refuse(reason: str, own: PendingAuthorization | None = None, **details: object) -> Answer:
    if own is not None:
        details["authorization_id"] = own.authorization_id
    logger.warning("Callback refused", extra={"reason": reason, **details})
    count("CallbackRefused", reason=reason)
    return _go_on(REFUSALS[reason], own)


def _go_on(outcome: str, own: PendingAuthorization | None) -> Answer:
    if own is None:
        return browser_response.redirect(303, f"/callback/{outcome}")
    authorization_id = str(own.authorization_id)
    if own.return_to is None or outcome not in RETURNED_OUTCOMES:
        reference = authorization_id[:8]
        asked = urlencode(own.model_dump(include=START_PARAMETERS, exclude_none=True))
        again = browser_binding.set_start_query(reference, asked)
        cookies = [] if outcome == "granted" else [again]
        location = f"/callback/{outcome}?reference={reference}"
        return browser_response.redirect(303, location, *cookies)
    returned = {"authorization_id": authorization_id, "outcome": outcome}
    if own.context is not None:
        returned["context"] = own.context
    separator = "&" if "?" in own.return_to else "?"
    return browser_response.redirect(303, f"{own.return_to}{separator}{urlencode(returned)}")


def _outcome_page(event: Event) -> Answer:
    outcome = event["pathParameters"]["outcome"]
    try:
        query = browser_request.single_values(event["rawQueryString"], {"reference"})
    except browser_request.InvalidQueryError:
        return browser_response.page(event, settings, "not-found")
    reference = query.get("reference", "")
    malformed = "reference" in query and not re.fullmatch(r"[0-9a-f]{8}", reference)
    if malformed or outcome not in OUTCOMES:
        return browser_response.page(event, settings, "not-found")
    start_query = browser_binding.read_start_query(event, reference)
    return browser_response.page(event, settings, outcome, reference, start_query)
