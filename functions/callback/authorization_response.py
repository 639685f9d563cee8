"""The authorization response that the browser brings from Qonto: a code or an error."""

import re
from hashlib import sha256
from itertools import accumulate
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import to_json

from http_api import InvalidQueryError, single_values, validated
from outcomes import Outcome
from settings import SCOPE_MAX_LENGTH, SCOPE_PATTERN


def _cut(characters: int) -> AfterValidator:
    """Cut a text to *characters*, and to four times as many bytes of JSON.

    The bytes matter for control characters, which take six bytes each in JSON: the event stays
    under 8 KB whatever the browser sends.
    """

    def cut(text: str) -> str:
        text = text[:characters]
        sizes = accumulate(len(to_json(character)) - 2 for character in text)
        return text[: sum(size <= 4 * characters for size in sizes)]

    return AfterValidator(cut)


def _scope_names(text: str) -> str | None:
    # A value that is not a list of names counts as omitted. The code is still good, and the token
    # endpoint returns the granted scope as well.
    is_list = len(text) <= SCOPE_MAX_LENGTH and re.fullmatch(f"({SCOPE_PATTERN})?", text)
    return text if is_list else None


class AuthorizationResponse(BaseModel):
    """An authorization response, or an authorization error response (RFC 6749, section 4.1.2)."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    state: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", repr=False)]
    # Empty in an error response.
    code: Annotated[str, Field(pattern=r"^[ -~]+$", max_length=2048, repr=False)] = ""
    error: Annotated[str, Field(min_length=1), _cut(128)] | None = None
    error_description: Annotated[str, _cut(1024)] | None = None
    scope: Annotated[str | None, AfterValidator(_scope_names)] = None

    @property
    def identity(self) -> str:
        """The text that tells this response from any other of the same authorization."""
        return f"code={self.code}" if self.error is None else f"error={self.error}"

    @property
    def hash(self) -> str:
        """The SHA-256 of `identity` in hexadecimal, as the claimed item holds it."""
        return sha256(self.identity.encode()).hexdigest()

    @property
    def outcome(self) -> Outcome:
        """The outcome that the user and the app are told."""
        if self.error is None:
            return Outcome.GRANTED
        return Outcome.DENIED if self.error == "access_denied" else Outcome.FAILED


def parse(raw_query: str) -> AuthorizationResponse:
    """Return the authorization response in *raw_query*, without unknown parameters.

    Raises:
        InvalidQueryError: a parameter is repeated or invalid, or there is not exactly one of code
            and error.

    """
    # A blank scope says that nothing was granted.
    values = single_values(raw_query, AuthorizationResponse.model_fields, {"scope"})
    if ("code" in values) == ("error" in values):
        raise InvalidQueryError("code", "error")
    return validated(AuthorizationResponse, values)
