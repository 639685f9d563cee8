"""What Qonto's authorization endpoint sent back by the browser: a code or an error, and a state."""

import re
from itertools import accumulate
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json

from browser_request import InvalidQueryError, single_values
from deployment import SCOPE_MAX_LENGTH, SCOPE_PATTERN

type Outcome = Literal["granted", "denied", "failed"]


def _cut(characters: int) -> AfterValidator:
    """Cut a text to *characters*, and to four times as many bytes of JSON.

    The latter matters for control characters alone, which take six bytes each: the event stays
    under 8 KB whatever is sent.
    """

    def cut(text: str) -> str:
        text = text[:characters]
        sizes = accumulate(len(to_json(character)) - 2 for character in text)
        return text[: sum(size <= 4 * characters for size in sizes)]

    return AfterValidator(cut)


def _scope_names(text: str) -> str | None:
    # What is no list of names tells nothing about what was granted: as if not sent. No reason to
    # lose the code, which says it all at the token endpoint.
    is_list = len(text) <= SCOPE_MAX_LENGTH and re.fullmatch(f"({SCOPE_PATTERN})?", text)
    return text if is_list else None


class AuthorizationResponse(BaseModel):
    """An authorization response or an authorization error response (RFC 6749, section 4.1.2)."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    state: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", repr=False)]
    code: Annotated[str | None, Field(pattern=r"^[ -~]+$", max_length=2048, repr=False)] = None
    error: Annotated[str, Field(min_length=1), _cut(128)] | None = None
    error_description: Annotated[str, _cut(1024)] | None = None
    scope: Annotated[str | None, AfterValidator(_scope_names)] = None

    @model_validator(mode="after")
    def _code_or_error(self) -> Self:
        if (self.code is None) == (self.error is None):
            raise ValueError
        return self

    @property
    def outcome(self) -> Outcome:
        """What the person will be told."""
        if self.code is not None:
            return "granted"
        return "denied" if self.error == "access_denied" else "failed"


def parse(raw_query: str) -> AuthorizationResponse:
    """Return the response in *raw_query*; parameters that we do not know are ignored.

    Raises:
        InvalidQueryError: a parameter stands twice, the state is none that we issue, or code and
            error are both there or both missing.

    """
    values = single_values(raw_query, AuthorizationResponse.model_fields)
    try:
        return AuthorizationResponse.model_validate(values)
    except ValidationError as error:
        names = [str(name) for fault in error.errors(include_input=False) for name in fault["loc"]]
        raise InvalidQueryError(*(names or ["code", "error"])) from None  # its text has the values
