"""The settings of start, from its environment."""

from typing import Annotated, Literal

from pydantic import Field

from deployment import SCOPE_MAX_LENGTH, SCOPE_PATTERN, Deployment, RedirectUri


class Settings(Deployment):
    """What start is told by the stack."""

    scope: Annotated[str, Field(pattern=f"^{SCOPE_PATTERN}$", max_length=SCOPE_MAX_LENGTH)]
    # A string, never pydantic's URL type, which rewrites it: Qonto compares byte for byte.
    redirect_uri: RedirectUri
    pkce: Literal["off", "S256"] = "off"
