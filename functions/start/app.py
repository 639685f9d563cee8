"""The flow of ``GET /start``: issue a state for this browser, and redirect it to Qonto."""

from datetime import UTC, datetime
from secrets import token_urlsafe
from uuid import uuid4

from aws_lambda_powertools import Logger

import cookies
import http_api
from authorization import STATE_LIFETIME, PendingAuthorization
from http_api import InvalidQueryError, Request, Response
from observability import count, failure
from pages import page
from settings import StartSettings
from start import authorization_request
from state_store import StateStore, StateStoreError


class StartApp:
    """Handles the requests of ``GET /start``."""

    def __init__(self, settings: StartSettings, states: StateStore, logger: Logger) -> None:
        """Use *states* to issue states, and *logger* to log outcomes."""
        self._settings = settings
        self._states = states
        self._logger = logger

    def handle(self, request: Request) -> Response:
        """Return a 302 to Qonto, or a page with 400 or 503. After a page, the browser has no state.

        A request that was made ahead of the user gets an empty 425.
        """
        try:
            return self._response(request)
        except Exception as error:  # noqa: BLE001 - Lambda would log its text, which may hold a secret
            self._logger.error("Start failed", **failure(error))
            count("InternalError")
            return page(request, self._settings, "start-unavailable")

    def _response(self, request: Request) -> Response:
        if http_api.is_ahead_of_user(request):
            return http_api.too_early()

        settings = self._settings
        try:
            query = authorization_request.parse(request["rawQueryString"], settings.return_urls)
        except InvalidQueryError as error:
            self._logger.warning("Start refused", parameters=error.parameters)
            return page(request, settings, "start-invalid", ", ".join(error.parameters))

        browser = cookies.read_browser(request) or cookies.new_browser()
        now = http_api.arrival(request)
        authorization = PendingAuthorization(
            state=token_urlsafe(32),
            expires_at=now + STATE_LIFETIME,
            browser_hash=cookies.browser_hash(browser),
            authorization_id=uuid4(),
            environment=settings.qonto_environment,
            client_id=settings.client_id,
            redirect_uri=settings.redirect_uri,
            scope=settings.scope,
            started_at=datetime.fromtimestamp(now, UTC),
            code_verifier=token_urlsafe(32) if settings.pkce == "S256" else None,
            **dict(query),
        )
        reference = authorization.reference
        try:
            self._states.issue(authorization)
        except StateStoreError as error:
            self._logger.error("State not issued", reference=reference, **failure(error))
            count("StateStoreFailed")
            return page(request, settings, "start-unavailable")

        if settings.return_urls and query.context is None:  # no app can confirm it
            self._logger.warning("Authorization started without context", reference=reference)
            count("ContextMissing")
        else:
            self._logger.info("Authorization started", reference=reference)
        count("AuthorizationStarted")
        location = authorization_request.url(authorization, settings)
        return http_api.redirect(302, location, cookies.set_browser(browser))
