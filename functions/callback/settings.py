"""The settings of callback, from its environment."""

from typing import Annotated

from pydantic import Field

from deployment import Deployment


class Settings(Deployment):
    """What callback is told by the stack."""

    topic_arn: Annotated[str, Field(min_length=1)]
