"""The tokens of a connection, as Qonto's token endpoint sends them (RFC 6749, section 5.1)."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator
from pydantic import ValidatorFunctionWrapHandler as Validate

LIFETIME = 3600  # seconds of an access token, as Qonto documents it
_VISIBLE = r"^[ -~]+$"  # the characters of a token (RFC 6749, appendix A)


def _or_none(value: Any, validate: Validate) -> Any:  # noqa: ANN401 - any JSON
    """Return None for an invalid optional value, so that the tokens are kept."""
    try:
        return validate(value)
    except (ValueError, OverflowError):
        return None


def _joined(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return scope names in a list, or separated by commas, as RFC 6749 writes them."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = " ".join(value)
    return text(value.replace(",", " ")) if isinstance(value, str) else value


def text(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return *value* if DynamoDB can store it: a lone surrogate raises a ValueError."""
    if isinstance(value, str):
        value.encode()
    return value


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON
    return int(float(value)) if isinstance(value, float | str) else value


type _Seconds = Annotated[int, Field(ge=0, lt=10**38)]  # DynamoDB's longest number


class Tokens(BaseModel):
    """The tokens; all members but the access token are optional (RFC 6749, section 5.1)."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    access_token: str = Field(pattern=_VISIBLE, repr=False)
    refresh_token: Annotated[str | None, WrapValidator(_or_none)] = Field(
        default=None, pattern=_VISIBLE, repr=False
    )
    expires_in: Annotated[_Seconds | None, BeforeValidator(_whole), WrapValidator(_or_none)] = None
    scope: Annotated[str | None, BeforeValidator(_joined), WrapValidator(_or_none)] = None
