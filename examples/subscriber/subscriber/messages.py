"""The input of the functions: messages of the queue, and requests for tokens."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

type Text = Annotated[str, Field(min_length=1)]
type Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class _Message(BaseModel):
    # Errors must not quote a code.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class GrantedData(_Message):
    """The members of the event's data that the exchange needs."""

    environment: Text
    client_id: Text
    redirect_uri: Text
    token_endpoint: Text
    requested_scope: str
    granted_scope: str | None = None
    code: Annotated[Text, Field(repr=False)]
    code_expires_at: AwareDatetime
    code_verifier: Annotated[str | None, Field(repr=False)] = None
    context: Text | None = None


class Granted(_Message):
    """Qonto sent a code. Other members are ignored, because the connector may add some.

    Attributes:
        id: names the code's event; a second delivery has the same one.
        subject: the ``authorization_id``.

    """

    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Literal["qonto-connect.authorization.granted.v1"]
    subject: Uuid
    time: AwareDatetime
    data: GrantedData


class Confirmation(_Message):
    """The browser came back to the app, in the session that asked for this context."""

    model_config = ConfigDict(extra="forbid")

    authorization_id: Uuid
    context: Text


class Repudiation(Confirmation):
    """The authorization came back to the app in a browser that did not ask for it."""

    # any other member is ignored, so that the tokens are always deleted
    model_config = ConfigDict(extra="ignore")

    repudiated: Literal[True]


class Unfinished(_Message):
    """The function `tokens` began a refresh or a disconnection, and may have been stopped."""

    model_config = ConfigDict(extra="forbid")

    authorization_id: Uuid
    unfinished: Literal[True]


class TokensRequest(_Message):
    """The app needs an access token, or ends the connection.

    Attributes:
        refused: the access token that the app has, if Qonto's API responded to it with 401.
        disconnect: whether to end the connection.

    """

    model_config = ConfigDict(extra="forbid")

    authorization_id: Uuid
    refused: Annotated[str, Field(repr=False)] = ""
    disconnect: bool = False


type Message = Granted | Confirmation | Repudiation | Unfinished
MESSAGE: TypeAdapter[Message] = TypeAdapter(Message, config=ConfigDict(hide_input_in_errors=True))
