"""The two kinds of message in the queue: the pair's event, and the app's confirmation."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

type Text = Annotated[str, Field(min_length=1)]


class _Message(BaseModel):
    # What is not named is ignored: the pair may add members. Errors quote no code.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class GrantedData(_Message):
    """Of the event's data, what the exchange needs."""

    client_id: Text
    redirect_uri: Text
    token_endpoint: Text
    code: Annotated[Text, Field(repr=False)]
    code_expires_at: AwareDatetime
    code_verifier: Annotated[str | None, Field(repr=False)] = None
    context: Text | None = None


class Granted(_Message):
    """Qonto sent a code. ``id`` is one code's, ``subject`` is the ``authorization_id``."""

    specversion: Literal["1.0"]
    id: Text
    type: Literal["qonto-connect.authorization.granted.v1"]
    subject: Text
    data: GrantedData


class Confirmation(_Message):
    """The browser came back to the app, into the very session that asked for this context."""

    authorization_id: Text
    context: Text


MESSAGE: TypeAdapter[Granted | Confirmation] = TypeAdapter(
    Granted | Confirmation, config=ConfigDict(hide_input_in_errors=True)
)
