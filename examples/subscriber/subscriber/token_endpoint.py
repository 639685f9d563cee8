"""Qonto's token endpoint: a code goes in, tokens come out; each failure has one of three names.

Only a request that certainly never left may be sent again.
"""

import json
import ssl
from typing import Annotated, Any

import httpx2
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator
from pydantic import ValidatorFunctionWrapHandler as Validate

from subscriber.client_secret import Credentials
from subscriber.grants import Grant

LONGEST_NAME = 200  # characters
TIMEOUT = httpx2.Timeout(6, connect=3)  # seconds
_SSL_CONTEXT = ssl.create_default_context()  # takes long enough to do it once a cold start


class NotSentError(Exception):
    """There was no connection, so nothing left: it may be tried again."""


class RefusedError(Exception):
    """Qonto responded with an error; the text is the error's name."""


class ResponseLostError(Exception):
    """The request left, and the response does not say what Qonto did with the code."""


def _or_none(value: Any, validate: Validate) -> Any:  # noqa: ANN401 - any JSON
    """Return None for a value that is not of the type: it must not cost the tokens."""
    try:
        return validate(value)
    except (ValueError, OverflowError):
        return None


def _joined(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return scope names in a list, or separated by commas, as RFC 6749 writes them."""
    if isinstance(value, list) and all(isinstance(it, str) for it in value):
        value = " ".join(value)
    return _text(value.replace(",", " ")) if isinstance(value, str) else value


def _text(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return *value* if DynamoDB can store it: a lone surrogate raises a ValueError."""
    if isinstance(value, str):
        value.encode()
    return value


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON
    return int(float(value)) if isinstance(value, float | str) else value


type _Seconds = Annotated[int, Field(ge=0, lt=10**38)]  # DynamoDB stores no longer number


class Tokens(BaseModel):
    """The tokens; all members but the access token are optional (RFC 6749, section 5.1)."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    access_token: str = Field(min_length=1, repr=False)
    refresh_token: Annotated[str | None, BeforeValidator(_text), WrapValidator(_or_none)] = Field(
        default=None, repr=False
    )
    expires_in: Annotated[_Seconds | None, BeforeValidator(_whole), WrapValidator(_or_none)] = None
    scope: Annotated[str | None, BeforeValidator(_joined), WrapValidator(_or_none)] = None


def exchange(url: str, grant: Grant, credentials: Credentials) -> Tokens:
    """Exchange the code of *grant* (RFC 6749, section 4.1.3).

    Raises:
        NotSentError, RefusedError, ResponseLostError: there are no tokens.

    """
    form = {
        "grant_type": "authorization_code",
        "code": grant.code,
        "redirect_uri": grant.redirect_uri,  # Qonto compares it byte for byte
        "client_id": grant.client_id,
        "client_secret": credentials.client_secret,  # in the body: Qonto refuses Basic
    }
    if grant.code_verifier:
        form["code_verifier"] = grant.code_verifier
    try:
        # A new connection: one that was kept may be closed just as the request leaves.
        response = httpx2.post(
            url, data=form, headers=credentials.headers, timeout=TIMEOUT, verify=_SSL_CONTEXT
        )
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise NotSentError from error
    except httpx2.RequestError as error:
        raise ResponseLostError(type(error).__name__) from error
    if response.is_client_error:
        raise RefusedError(_error_name(response))
    if not response.is_success:
        raise ResponseLostError(_status(response))
    try:
        return Tokens.model_validate(json.loads(response.content))  # bytes: with a BOM too
    except (ValueError, RecursionError) as error:  # no JSON, or no access token
        raise ResponseLostError("no-tokens") from error


def organization(url: str, tokens: Tokens, credentials: Credentials) -> str | None:
    """Return the name of the organisation that *tokens* open, or None: it is only shown."""
    headers = {"Authorization": f"Bearer {tokens.access_token}", **credentials.headers}
    try:
        response = httpx2.get(url, headers=headers, timeout=2, verify=_SSL_CONTEXT)
        name = response.raise_for_status().json()["organization"]["name"]
        return _text(name.strip()[:LONGEST_NAME]) or None
    except (httpx2.HTTPError, ValueError, LookupError, TypeError, AttributeError):
        return None  # without organization.read, for one


def _error_name(response: httpx2.Response) -> str:
    try:
        return str(response.json()["error"])[:128]
    except (ValueError, LookupError, TypeError):
        return _status(response)


def _status(response: httpx2.Response) -> str:
    return f"HTTP {response.status_code}"
