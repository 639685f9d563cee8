"""The flow of ``GET /callback``: consume the state, publish the event, redirect the browser."""

import re
from urllib.parse import urlencode

from aws_lambda_powertools import Logger

import cookies
import http_api
from authorization import PendingAuthorization
from callback import authorization_response, events
from callback.publisher import Publisher, PublishFailedError
from http_api import InvalidQueryError, Request, Response
from observability import count
from outcomes import Outcome
from pages import page
from settings import CallbackSettings
from state_store import StateRefusedError, StateStore, StateStoreError


class CallbackApp:
    """Handles the requests of ``GET /callback`` and ``GET /callback/{outcome}``."""

    def __init__(
        self, settings: CallbackSettings, states: StateStore, publisher: Publisher, logger: Logger
    ) -> None:
        """Use *states* to consume states, *publisher* to publish, and *logger* to log outcomes."""
        self._settings = settings
        self._states = states
        self._publisher = publisher
        self._logger = logger

    def handle(self, request: Request) -> Response:
        """Return a 303 to a URL without code or state, or a 503 page with *Try again*.

        A request that the user did not make gets an empty 503.
        """
        if http_api.is_speculative(request):
            return http_api.unavailable()
        if request["routeKey"] == "GET /callback/{outcome}":
            return self._outcome_page(request)

        try:
            response = authorization_response.parse(request["rawQueryString"])
        except InvalidQueryError as error:
            return self._refuse(Outcome.INVALID_REQUEST, parameters=error.parameters)
        browser = cookies.read_browser(request)
        if browser is None:
            return self._refuse(Outcome.NO_COOKIE)

        now = http_api.arrival(request)
        try:
            authorization = self._states.consume(response.state, cookies.browser_hash(browser), now)
        except StateRefusedError as refusal:
            return self._refuse(refusal.outcome, refusal.authorization)
        except StateStoreError as error:
            self._logger.error("State not consumed", error=error.code)
            return page(request, self._settings, "callback-unavailable")

        event = events.build(authorization, response, self._settings.token_endpoint, now)
        try:
            self._publisher.publish(event)
        except PublishFailedError as error:
            self._logger.error(
                "Event not published", authorization_id=event.subject, error=error.code
            )
            count("PublishFailed")
            return self._restore(request, authorization)

        outcome = response.outcome
        self._logger.info("Authorization %s", outcome.reason, authorization_id=event.subject)
        count("AuthorizationGranted" if outcome is Outcome.GRANTED else "AuthorizationFailed")
        return _redirect(outcome, authorization)

    def _restore(self, request: Request, authorization: PendingAuthorization) -> Response:
        try:
            self._states.restore(authorization)
        except StateStoreError as error:
            own_id = authorization.authorization_id
            self._logger.error("State not restored", authorization_id=own_id, error=error.code)
            return self._refuse(Outcome.NOT_RESTORED, authorization)
        count("StateRestored")
        return page(request, self._settings, "callback-unavailable")

    def _refuse(
        self, outcome: Outcome, own: PendingAuthorization | None = None, **details: object
    ) -> Response:
        if own is not None:
            details["authorization_id"] = own.authorization_id
        self._logger.warning("Callback refused", extra={"reason": outcome.reason, **details})
        count("CallbackRefused", reason=outcome.reason)
        return _redirect(outcome, own)

    def _outcome_page(self, request: Request) -> Response:
        name = request["pathParameters"]["outcome"]
        try:
            query = http_api.single_values(request["rawQueryString"], {"reference"})
        except InvalidQueryError:
            return page(request, self._settings, "not-found")
        reference = query.get("reference", "")
        malformed = "reference" in query and not re.fullmatch(r"[0-9a-f]{8}", reference)
        if malformed or name not in {outcome.page for outcome in Outcome}:
            return page(request, self._settings, "not-found")
        start_query = cookies.read_start_query(request, reference)
        return page(request, self._settings, name, reference, start_query)


def _redirect(outcome: Outcome, own: PendingAuthorization | None) -> Response:
    """Return a 303 to the app or to the outcome's page.

    *own* is the authorization, if the state belongs to this browser; else None.
    """
    if own is None:
        return http_api.redirect(303, f"/callback/{outcome.page}")
    if own.return_to is None or not outcome.app_is_told:
        location = f"/callback/{outcome.page}?reference={own.reference}"
        if outcome is Outcome.GRANTED:
            return http_api.redirect(303, location)
        start_again = cookies.set_start_query(own.reference, own.start_query)
        return http_api.redirect(303, location, start_again)
    query = {"authorization_id": str(own.authorization_id), "outcome": outcome.reason}
    if own.context is not None:
        query["context"] = own.context
    separator = "&" if "?" in own.return_to else "?"
    return http_api.redirect(303, f"{own.return_to}{separator}{urlencode(query)}")
