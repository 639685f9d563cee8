"""From the query of ``/start`` to Qonto's authorization endpoint, with nothing but values."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from browser_request import InvalidQueryError, single_values
from state_store import PendingAuthorization

QontoId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]


class StartQuery(BaseModel):
    """What an app may ask of ``/start``."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    context: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]+$", max_length=256)] | None = None
    return_to: str | None = None
    organization_id: QontoId | None = None
    registration_id: QontoId | None = None


def parse(raw_query: str, return_urls: Sequence[str]) -> StartQuery:
    """Return the query, with the first of *return_urls* where it names none.

    Raises:
        InvalidQueryError: a parameter of ours stands twice or has a value that we don't take.

    """
    values = single_values(raw_query, StartQuery.model_fields)
    try:
        query = StartQuery.model_validate(values)
    except ValidationError as error:
        names = [str(fault["loc"][0]) for fault in error.errors(include_input=False)]
        raise InvalidQueryError(*names) from None  # its text would hold the values
    if query.return_to is None:
        return query.model_copy(update={"return_to": next(iter(return_urls), None)})
    if query.return_to not in return_urls:
        raise InvalidQueryError("return_to")
    return query


def url(authorization_endpoint: str, authorization: PendingAuthorization) -> str:
    """Return the authorization request (RFC 6749, section 4.1.1; RFC 7636, section 4.3)."""
    parameters = {
        "client_id": authorization.client_id,
        "redirect_uri": authorization.redirect_uri,
        "response_type": "code",
        "scope": authorization.scope,
        "state": authorization.state,
        "organization_id": authorization.organization_id,
        "registration_id": authorization.registration_id,
    }
    if authorization.code_verifier is not None:
        parameters["code_challenge"] = _s256(authorization.code_verifier)
        parameters["code_challenge_method"] = "S256"
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{authorization_endpoint}?{urlencode(given, quote_via=quote)}"


def _s256(code_verifier: str) -> str:
    digest = sha256(code_verifier.encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
