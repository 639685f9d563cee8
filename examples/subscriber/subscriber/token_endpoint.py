"""Qonto's token endpoint, and the two requests to its API that a connection itself needs.

Each failure is one of three exceptions. A code may be sent again only if the first request was
certainly not sent.
"""

import json
import ssl

import httpx2

from subscriber.client_secret import Credentials
from subscriber.grants import Connection, Grant
from subscriber.tokens import Tokens, text

LONGEST_NAME = 200  # characters
TIMEOUT = httpx2.Timeout(6, connect=3)  # seconds
_SSL_CONTEXT = ssl.create_default_context()  # slow to create, so once per cold start


class NotSentError(Exception):
    """The request was not sent, because there was no connection. It may be tried again."""


class RefusedError(Exception):
    """Qonto responded with an error; the text is the error's name.

    Attributes:
        status: the response's HTTP status.

    """

    def __init__(self, name: str, status: int) -> None:
        """Keep the error's *name* and the response's *status*."""
        super().__init__(name)
        self.status = status


class ResponseLostError(Exception):
    """The request was sent, and the response does not tell its result."""


def exchange(url: str, grant: Grant, credentials: Credentials) -> Tokens:
    """Exchange the code of *grant* (RFC 6749, section 4.1.3).

    Raises:
        NotSentError, RefusedError, ResponseLostError: there are no tokens.

    """
    form = {
        "grant_type": "authorization_code",
        "code": grant.code,
        "redirect_uri": grant.redirect_uri,  # Qonto compares it byte for byte
    }
    if grant.code_verifier:
        form["code_verifier"] = grant.code_verifier
    return _tokens(url, grant, form, credentials)


def refresh(url: str, connection: Connection, credentials: Credentials) -> Tokens:
    """Use the refresh token of *connection* (RFC 6749, section 6).

    Raises:
        NotSentError, RefusedError, ResponseLostError: there are no tokens.

    """
    form = {"grant_type": "refresh_token", "refresh_token": connection.refresh_token}
    return _tokens(url, connection, form, credentials)


def _tokens(url: str, grant: Grant, form: dict[str, str], credentials: Credentials) -> Tokens:
    client = {
        "client_id": grant.client_id,
        "client_secret": credentials.client_secret,  # in the body: Qonto refuses Basic
    }
    response = _send("POST", url, credentials.headers, form | client)
    try:
        # bytes, because the body may begin with a BOM
        return Tokens.model_validate(json.loads(response.content))
    except (ValueError, RecursionError) as error:  # not JSON, or without an access token
        raise ResponseLostError("no-tokens") from error


def revoke(api_url: str, access_token: str, credentials: Credentials) -> None:
    """Revoke the user's consent, and with it all tokens of the user and organisation at Qonto.

    Raises:
        NotSentError, RefusedError, ResponseLostError: it is not known to be revoked.

    """
    _send("DELETE", f"{api_url}/v2/oauth2/consents", _headers(access_token, credentials))


def _send(
    method: str, url: str, headers: dict[str, str], form: dict[str, str] | None = None
) -> httpx2.Response:
    try:
        # A new connection, because a kept one may be closed while the request is sent.
        response = httpx2.request(
            method, url, data=form, headers=headers, timeout=TIMEOUT, verify=_SSL_CONTEXT
        )
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise NotSentError("not-sent") from error
    except httpx2.RequestError as error:
        raise ResponseLostError(type(error).__name__) from error
    if response.is_client_error:
        raise RefusedError(_error_name(response), response.status_code)
    if not response.is_success:
        raise ResponseLostError(_status(response))
    return response


def organization(api_url: str, tokens: Tokens, credentials: Credentials) -> str | None:
    """Return the name of the organisation of *tokens*, or None. The app only shows it."""
    url, headers = f"{api_url}/v2/organization", _headers(tokens.access_token, credentials)
    try:
        response = httpx2.get(url, headers=headers, timeout=2, verify=_SSL_CONTEXT)
        found = response.raise_for_status().json()["organization"]
        name = found.get("legal_name") or found["name"]  # only the first is documented
        return text(name.strip()[:LONGEST_NAME]) or None
    except (httpx2.HTTPError, ValueError, LookupError, TypeError, AttributeError):
        return None  # for example without the scope organization.read


def _headers(access_token: str, credentials: Credentials) -> dict[str, str]:
    return {"Authorization": f"Bearer {access_token}", **credentials.headers}


def _error_name(response: httpx2.Response) -> str:
    try:
        return str(response.json()["error"])[:128]
    except (ValueError, LookupError, TypeError):
        return _status(response)


def _status(response: httpx2.Response) -> str:
    return f"HTTP {response.status_code}"
