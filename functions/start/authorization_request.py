"""The query of ``/start``, and the authorization request to Qonto that it becomes."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote, urlencode

from authorization import PendingAuthorization, StartQuery
from http_api import InvalidQueryError, single_values, validated
from settings import StartSettings


def parse(raw_query: str, return_urls: Sequence[str]) -> StartQuery:
    """Return the parameters in *raw_query*, with the first of *return_urls* as the default.

    Raises:
        InvalidQueryError: a known parameter is repeated or has an invalid value.

    """
    values = single_values(raw_query, StartQuery.model_fields)
    if return_urls:
        values.setdefault("return_to", return_urls[0])
    query = validated(StartQuery, values)
    if query.return_to is not None and query.return_to not in return_urls:
        raise InvalidQueryError("return_to")
    return query


def url(authorization: PendingAuthorization, settings: StartSettings) -> str:
    """Return the URL of the authorization request (RFC 6749, 4.1.1; with PKCE, RFC 7636, 4.3)."""
    parameters = {
        "client_id": authorization.client_id,
        "redirect_uri": authorization.redirect_uri,
        "response_type": "code",
        "scope": authorization.scope,
        "state": authorization.state,
        "organization_id": authorization.organization_id,
        "registration_id": authorization.registration_id,
        "identity_type": settings.identity_type or None,
    }
    if authorization.code_verifier is not None:
        parameters["code_challenge"] = _s256(authorization.code_verifier)
        parameters["code_challenge_method"] = "S256"
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{settings.authorization_endpoint}?{urlencode(given, quote_via=quote)}"


def _s256(code_verifier: str) -> str:
    return urlsafe_b64encode(sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
