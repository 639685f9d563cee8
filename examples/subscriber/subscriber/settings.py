"""What the stack tells the function, from its environment."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Each field's variable is its name in upper case."""

    model_config = ConfigDict(frozen=True, alias_generator=str.upper)

    grant_table_name: str
    connection_table_name: str
    client_secret_arn: str
    token_endpoint: str
    api_url: str
    require_confirmation: bool
