"""Qonto's token endpoint: a code goes in, tokens come out; what goes wrong has one of three names.

Only a request that certainly never left may be sent again.
"""

import ssl

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from subscriber.grants import Grant

TIMEOUT = httpx2.Timeout(6, connect=3)
_SSL_CONTEXT = ssl.create_default_context()  # takes a while: once a cold start


class NotSentError(Exception):
    """There was no connection, so nothing left: it may be tried again."""


class RefusedError(Exception):
    """Qonto answered with an error; its text is the error's name."""


class AnswerLostError(Exception):
    """The request left, and what came back does not say what Qonto did with the code."""


class Credentials(BaseModel):
    """The secret's value, as JSON; the sandbox alone has a staging token."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    client_secret: str = Field(min_length=1, repr=False)
    staging_token: str | None = Field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What calls from outside a browser need in the sandbox."""
        return {"X-Qonto-Staging-Token": self.staging_token} if self.staging_token else {}


class Tokens(BaseModel):
    """What the app's backend calls Qonto's API with, for as long as the person allows."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    access_token: str = Field(min_length=1, repr=False)
    refresh_token: str | None = Field(default=None, repr=False)
    expires_in: int | None = None  # seconds
    scope: str | None = None


def exchange(url: str, grant: Grant, credentials: Credentials) -> Tokens:
    """Exchange the code of *grant* (RFC 6749, section 4.1.3).

    Raises:
        NotSentError, RefusedError, AnswerLostError: there are no tokens.

    """
    form = {
        "grant_type": "authorization_code",
        "code": grant.code,
        "redirect_uri": grant.redirect_uri,  # the very string that was sent to Qonto
        "client_id": grant.client_id,
        "client_secret": credentials.client_secret,  # in the body: Qonto refuses Basic
    }
    if grant.code_verifier:
        form["code_verifier"] = grant.code_verifier
    try:
        # A connection of its own: one that was kept may be closed just as the request leaves.
        response = httpx2.post(
            url, data=form, headers=credentials.headers, timeout=TIMEOUT, verify=_SSL_CONTEXT
        )
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise NotSentError from error
    except httpx2.RequestError as error:
        raise AnswerLostError(type(error).__name__) from error
    if response.is_client_error:
        raise RefusedError(_error_name(response))
    if response.status_code != httpx2.codes.OK:
        raise AnswerLostError(_status(response))
    try:
        return Tokens.model_validate_json(response.content)
    except ValidationError as error:
        raise AnswerLostError("no-tokens") from error


def organization(url: str, tokens: Tokens, credentials: Credentials) -> str | None:
    """Ask for the name of the organisation that *tokens* open: nice to show, no more."""
    headers = {"Authorization": f"Bearer {tokens.access_token}", **credentials.headers}
    try:
        response = httpx2.get(url, headers=headers, timeout=2, verify=_SSL_CONTEXT)
        return str(response.raise_for_status().json()["organization"]["name"])
    except (httpx2.HTTPError, ValueError, LookupError, TypeError):
        return None  # organization.read was not granted, for one


def _error_name(response: httpx2.Response) -> str:
    try:
        return str(response.json()["error"])[:128]
    except (ValueError, LookupError, TypeError):
        return _status(response)


def _status(response: httpx2.Response) -> str:
    return f"HTTP {response.status_code}"
