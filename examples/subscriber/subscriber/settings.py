"""The settings that the stack gives both functions in their environment."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Each field's variable is its name in upper case."""

    model_config = ConfigDict(frozen=True, alias_generator=str.upper)

    grant_table_name: str
    connection_table_name: str
    queue_url: str
    client_secret_arn: str
    qonto_environment: str
    client_id: str
    token_endpoint: str
    api_url: str
    require_confirmation: bool

    @property
    def source(self) -> str:
        """The ``source`` of the events of this environment and client."""
        return f"/qonto-connect/{self.qonto_environment}/{self.client_id}"
