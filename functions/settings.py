"""The settings of both functions, read once from their environment variables."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# A `type` statement, so that pydantic writes it as a definition into the published schemas.
type QontoEnvironment = Literal["production", "sandbox"]

_HOSTS: dict[QontoEnvironment, str] = {
    "production": "https://oauth.qonto.com",
    "sandbox": "https://oauth-sandbox.staging.qonto.co",
}

_LOOPBACK = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?"
_ORIGIN = rf"(https://[A-Za-z0-9.-]+(:[0-9]{{1,5}})?|{_LOOPBACK})"
# The characters of RFC 3986 without "#": no fragment. An origin has no "@": no userinfo.
_URL = rf"{_ORIGIN}([/?][A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?"

ReturnUrl = Annotated[str, Field(pattern=rf"^{_URL}$", max_length=512)]
# Syntax alone (RFC 6749, section 3.3): Qonto's own lists of scope names differ from each other.
SCOPE_PATTERN = r"[!#-\[\]-~]+( [!#-\[\]-~]+)*"
# All scopes that Qonto lists take about 900 characters.
SCOPE_MAX_LENGTH = 1024


class Settings(BaseModel, defer_build=True):  # pydantic builds only the settings of this function
    """The settings that both functions have. A field's variable is its name in upper case.

    A wrong value stops the function at its cold start. The error names the variable and never
    shows its value.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, alias_generator=str.upper)

    qonto_environment: QontoEnvironment
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]+$", max_length=128)]
    return_urls: Annotated[tuple[ReturnUrl, ...], BeforeValidator(str.split)] = ()
    app_name: Annotated[str, Field(pattern=r"^[^\\\x00-\x1f\x7f-\x9f]*$", max_length=64)] = ""
    support_url: Annotated[str, Field(pattern=rf"^({_URL}|mailto:[!#-\[\]-~]+)?$")] = ""
    table_name: Annotated[str, Field(min_length=1)]
    # Only the demo and the tests set it, to the address of the mock Qonto on this machine.
    oauth_base_url: Annotated[str, Field(pattern=rf"^{_LOOPBACK}$")] | None = None

    @property
    def authorization_endpoint(self) -> str:
        """The URL of Qonto's authorization endpoint (RFC 6749, section 3.1)."""
        return f"{self.oauth_base_url or _HOSTS[self.qonto_environment]}/oauth2/auth"

    @property
    def token_endpoint(self) -> str:
        """The URL at which a subscriber exchanges the code (RFC 6749, section 3.2)."""
        return f"{self.oauth_base_url or _HOSTS[self.qonto_environment]}/oauth2/token"


class StartSettings(Settings):
    """The settings of start."""

    scope: Annotated[str, Field(pattern=f"^{SCOPE_PATTERN}$", max_length=SCOPE_MAX_LENGTH)]
    # A string and not pydantic's URL type, which rewrites URLs: Qonto compares byte for byte.
    redirect_uri: Annotated[str, Field(pattern=rf"^{_ORIGIN}/callback$", max_length=512)]
    pkce: Literal["off", "S256"] = "off"
    identity_type: Literal["", "user"] = ""


class CallbackSettings(Settings):
    """The settings of callback."""

    topic_arn: Annotated[str, Field(min_length=1)]
