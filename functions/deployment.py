"""What the stack tells both functions about the deployment: one environment, one client."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_HOSTS = {
    "production": "https://oauth.qonto.com",
    "sandbox": "https://oauth-sandbox.staging.qonto.co",
}

_LOOPBACK = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_ORIGIN = rf"(https://[A-Za-z0-9.-]+(:[0-9]{{1,5}})?|{_LOOPBACK})"
# RFC 3986's characters without "#": no fragment. An origin has no "@": no userinfo.
_PATH_AND_QUERY = r"([/?][A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?"

RedirectUri = Annotated[str, Field(pattern=rf"^{_ORIGIN}/callback$", max_length=512)]
ReturnUrl = Annotated[str, Field(pattern=rf"^{_ORIGIN}{_PATH_AND_QUERY}$", max_length=512)]
# Syntax alone (RFC 6749, section 3.3): Qonto's own lists of names disagree.
SCOPE_PATTERN = r"[!#-\[\]-~]+( [!#-\[\]-~]+)*"
# Qonto's whole list takes about 900 characters.
SCOPE_MAX_LENGTH = 1024


def _split(urls: object) -> object:
    return urls.split() if isinstance(urls, str) else urls


class Deployment(BaseModel, defer_build=True):  # only each function's own settings are built
    """Settings of both functions; each field's variable is its name in upper case.

    A wrong value stops the function at its cold start, with the variable's name and without the
    value.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, alias_generator=str.upper)

    qonto_environment: Literal["production", "sandbox"]
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]+$", max_length=128)]
    return_urls: Annotated[tuple[ReturnUrl, ...], BeforeValidator(_split)] = ()
    app_name: Annotated[str, Field(pattern=r"^\P{Cc}*$", max_length=64)] = ""
    support_url: Annotated[
        str, Field(pattern=rf"^({_ORIGIN}{_PATH_AND_QUERY}|mailto:[!-~]+)?$")
    ] = ""
    table_name: Annotated[str, Field(min_length=1)]
    # For the demo and tests alone: a stand-in for Qonto on this machine.
    oauth_base_url: Annotated[str, Field(pattern=rf"^{_LOOPBACK}$")] | None = None

    @property
    def authorization_endpoint(self) -> str:
        """Where the browser is sent."""
        return f"{self._oauth_host}/oauth2/auth"

    @property
    def token_endpoint(self) -> str:
        """Where a subscriber exchanges the code."""
        return f"{self._oauth_host}/oauth2/token"

    @property
    def _oauth_host(self) -> str:
        return self.oauth_base_url or _HOSTS[self.qonto_environment]
