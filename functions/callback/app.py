"""The flow of ``GET /callback``: claim the state, publish the event, delete, redirect."""

import re
from urllib.parse import urlencode

from aws_lambda_powertools import Logger

import cookies
import http_api
from authorization import Authorization, PendingAuthorization, Receipt
from callback import authorization_response, events
from callback.authorization_response import AuthorizationResponse
from callback.publisher import Publisher
from http_api import InvalidQueryError, Request, Response
from observability import count, failure
from outcomes import Outcome
from pages import page
from settings import CallbackSettings
from state_store import ResponseInFlightError, StateRefusedError, StateStore, StateStoreError


class CallbackApp:
    """Handles the requests of ``GET /callback`` and ``GET /callback/{outcome}``."""

    def __init__(
        self, settings: CallbackSettings, states: StateStore, publisher: Publisher, logger: Logger
    ) -> None:
        """Use *states* to claim states, *publisher* to publish, and *logger* to log outcomes."""
        self._settings = settings
        self._states = states
        self._publisher = publisher
        self._logger = logger

    def handle(self, request: Request) -> Response:
        """Return a 303 to a URL without code or state, or a page with *Try again* (409 or 503).

        A request that was made ahead of the user gets an empty 425.
        """
        try:
            return self._response(request)
        except Exception as error:  # noqa: BLE001 - Lambda would log its text, which may hold a secret
            self._logger.error("Callback failed", **failure(error))
            count("InternalError")
            return page(request, self._settings, "callback-unavailable")

    def _response(self, request: Request) -> Response:
        if http_api.is_ahead_of_user(request):
            return http_api.too_early()
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
        own_hash = cookies.browser_hash(browser)
        try:
            claimed = self._states.claim(response.state, own_hash, response.hash, now)
        except StateRefusedError as refusal:
            return self._refuse(refusal.outcome, refusal.authorization)
        except ResponseInFlightError as error:
            self._logger.warning("Another response in flight", reference=error.reference)
            return page(request, self._settings, "callback-in-flight")
        except StateStoreError as error:
            self._logger.error("State not claimed", **failure(error))
            count("StateStoreFailed")
            return page(request, self._settings, "callback-unavailable")
        if isinstance(claimed, Receipt):
            return self._repeat(claimed)

        try:
            event = events.build(claimed, response, self._settings.token_endpoint, now)
            self._publisher.publish(event)
        except Exception as error:  # noqa: BLE001 - our own faults must not lose the response either
            self._logger.error("Event not published", reference=claimed.reference, **failure(error))
            count("PublishFailed")
            return page(request, self._settings, "callback-unavailable")

        self._finish(claimed, response, now)
        return _redirect(response.outcome, claimed)

    def _finish(self, own: PendingAuthorization, response: AuthorizationResponse, now: int) -> None:
        """Leave a receipt and delete the state. A failure changes nothing for the user."""
        outcome, reference = response.outcome, own.reference
        repeated = own.response_hash == response.hash
        is_first = True
        try:
            self._states.leave_receipt(own.receipt(outcome, now))
            is_first = self._states.delete(response.state, response.hash)
        except Exception as error:  # noqa: BLE001 - the user has succeeded, whatever fails here
            self._logger.error("State not deleted", reference=reference, **failure(error))
            count("StateNotDeleted")
        self._logger.info(
            "Authorization %s", outcome.reason, reference=reference, repeated=repeated
        )
        if is_first:
            count("AuthorizationGranted" if outcome is Outcome.GRANTED else "AuthorizationFailed")
        if repeated:
            count("CallbackRepeated")

    def _repeat(self, receipt: Receipt) -> Response:
        outcome = Outcome[receipt.outcome]
        self._logger.info("Callback repeated: %s", outcome.reason, reference=receipt.reference)
        count("CallbackRepeated")
        return _redirect(outcome, receipt)

    def _refuse(
        self, outcome: Outcome, own: Authorization | None = None, **details: object
    ) -> Response:
        if own is not None:
            details["reference"] = own.reference
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


def _redirect(outcome: Outcome, own: Authorization | None) -> Response:
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
