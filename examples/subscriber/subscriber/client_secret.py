"""The client secret, as an operator put it into AWS Secrets Manager."""

from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ASCII = r"^[ -~]+$"  # pasted text may hold curly quotes or invisible spaces
MAX_AGE = 60  # seconds after which a corrected secret is used
# The byte order mark that Windows writes before UTF-8, decoded as UTF-8 or as Windows-1252.
_BYTE_ORDER_MARKS = "\ufeff", "\u00ef\u00bb\u00bf"


class Credentials(BaseModel):
    """The secret's value, as JSON; only the sandbox has a staging token."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, str_strip_whitespace=True)

    client_secret: str = Field(pattern=ASCII, repr=False)
    staging_token: str | None = Field(default=None, pattern=f"^$|{ASCII}", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the sandbox requires of a request without a browser."""
        return {"X-Qonto-Staging-Token": self.staging_token} if self.staging_token else {}


class SecretError(Exception):
    """There are no credentials in the secret; the text says what to do, and quotes nothing."""

    def __init__(self, wrong: str) -> None:
        """Say what is *wrong*."""
        super().__init__(f'The secret is not {{"client_secret": "..."}}: {wrong}')


class ClientSecret:
    """Reads the credentials."""

    def __init__(self, provider: SecretsProvider, arn: str, *, is_sandbox: bool) -> None:
        """Use the secret of *arn*; the sandbox does not take a code without a staging token."""
        self._provider = provider
        self._arn = arn
        self._is_sandbox = is_sandbox

    def credentials(self) -> Credentials:
        """Return the credentials, read again after `MAX_AGE`.

        Raises:
            SecretError: the secret has no value yet, or another one than
                ``{"client_secret": "..."}``.
            GetParameterError: Secrets Manager did not respond with it.

        """
        try:
            value = self._provider.get(self._arn, max_age=MAX_AGE)
        except GetParameterError as error:
            cause = error.__cause__ or error.__context__
            code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else ""
            if code == "ResourceNotFoundException":
                raise SecretError("no-value") from error
            raise
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for mark in _BYTE_ORDER_MARKS:
            text = text.removeprefix(mark)
        try:
            credentials = Credentials.model_validate_json(text)
        except ValidationError as error:
            wrong = (f"{'.'.join(map(str, each['loc']))} {each['type']}" for each in error.errors())
            raise SecretError(", ".join(wrong).strip()) from None
        if self._is_sandbox and not credentials.staging_token:
            raise SecretError("no-staging-token")
        return credentials
