"""The app's own client of Qonto's business API."""

from decimal import Decimal
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
from pydantic import BaseModel

TIMEOUT = 5  # seconds, to connect and for each part of the response


class Account(BaseModel):
    """A bank account of the organisation."""

    name: str
    iban: str
    balance: Decimal
    currency: str

    @property
    def amount(self) -> str:
        """The balance and its currency, formatted."""
        return f"{self.balance:,.2f} {self.currency}"


class _Organization(BaseModel):
    bank_accounts: list[Account]


class _Response(BaseModel):
    organization: _Organization


class ReadError(Exception):
    """Qonto did not return the accounts. The text does not quote the response.

    Attributes:
        reason: the status of the response, or the name of the error. 401 means that Qonto
            refuses the token, 403 that its scopes do not suffice.

    """

    def __init__(self, reason: int | str) -> None:
        """Keep the *reason*."""
        super().__init__(reason)
        self.reason = reason


class Qonto:
    """The API; one object serves all connections."""

    def __init__(
        self, api_url: str, staging_token: str = "", transport: httpx2.BaseTransport | None = None
    ) -> None:
        """Use the API at *api_url*; the sandbox needs a *staging_token*."""
        self._client = httpx2.Client(
            base_url=api_url,
            headers={"X-Qonto-Staging-Token": staging_token} if staging_token else None,
            # Without cookies: a cookie from one user's response must not go with another user's
            # request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=TIMEOUT,
            transport=transport,
        )

    def accounts(self, access_token: str) -> list[Account]:
        """Return the bank accounts of the organisation; needs the scope `organization.read`.

        Raises:
            ReadError: Qonto did not return them.

        """
        headers = {"Authorization": f"Bearer {access_token}"}
        try:
            response = self._client.get("/v2/organization", headers=headers)
        except (httpx2.HTTPError, ValueError) as error:
            # Neither its text nor the exception as the cause, because it may quote a header.
            raise ReadError(type(error).__name__) from None
        if not response.is_success:
            raise ReadError(response.status_code)
        try:
            return _Response.model_validate_json(response.content).organization.bank_accounts
        except ValueError as error:
            raise ReadError(type(error).__name__) from None
