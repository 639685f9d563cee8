"""``GET /start``: give the browser a state that it can prove, and send it to Qonto."""

import os
from datetime import UTC, datetime
from secrets import token_urlsafe
from uuid import uuid4

import cold_start  # noqa: F401 - before all that takes time
import aws_calls
import browser_binding
import browser_request
import browser_response
import state_store
from browser_request import Event
from browser_response import Answer
from start import authorization_request
from start.settings import Settings
from telemetry import count, logger

settings = Settings.model_validate(dict(os.environ))
states = state_store.StateStore(aws_calls.client("dynamodb"), settings)


@logger.inject_lambda_context(log_event=False)  # in the code: it beats the environment
def handler(event: Event, _context: object) -> Answer:
    """Answer 302 to Qonto; 400 or 503 with a page, and then nothing was issued."""
    if browser_request.is_speculative(event):
        return browser_response.unavailable()

    try:
        query = authorization_request.parse(event["rawQueryString"], settings.return_urls)
    except browser_request.InvalidQueryError as error:
        logger.warning("Start refused", parameters=error.parameters)
        return browser_response.page(event, settings, "start-invalid", ", ".join(error.parameters))

    browser = browser_binding.read(event) or browser_binding.new()
    now = browser_request.arrival(event)
    authorization_id = uuid4()
    authorization = state_store.PendingAuthorization(
        state=token_urlsafe(32),
        expires_at=now + state_store.STATE_LIFETIME,
        browser_hash=browser_binding.fingerprint(browser),
        authorization_id=authorization_id,
        environment=settings.qonto_environment,
        client_id=settings.client_id,
        redirect_uri=settings.redirect_uri,
        scope=settings.scope,
        started_at=datetime.fromtimestamp(now, UTC),
        **query.model_dump(),
        code_verifier=token_urlsafe(32) if settings.pkce == "S256" else None,
    )
    try:
        states.issue(authorization)
    except state_store.StateStoreUnavailableError as error:
        logger.error("State not issued", authorization_id=authorization_id, error=str(error))
        return browser_response.page(event, settings, "start-unavailable")

    logger.info("Authorization started", authorization_id=authorization_id)
    count("AuthorizationStarted")
    location = authorization_request.url(settings.authorization_endpoint, authorization)
    return browser_response.redirect(302, location, browser_binding.set_cookie(browser))
