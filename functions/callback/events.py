"""The events that subscribers receive: CloudEvents 1.0, structured JSON.

The dataclasses have no ``repr``, which would show the code.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid5

from pydantic_core import to_json

from authorization import PendingAuthorization
from callback.authorization_response import AuthorizationResponse
from settings import QontoEnvironment

# Qonto counts from the issue of the code, so that counting from its arrival gives an upper bound.
CODE_LIFETIME = timedelta(minutes=10)


@dataclass(kw_only=True, repr=False)
class _Data:
    environment: QontoEnvironment
    client_id: str
    redirect_uri: str
    token_endpoint: str
    requested_scope: str
    requested_organization_id: str | None = None
    requested_registration_id: str | None = None
    context: str | None = None
    started_at: datetime


@dataclass(kw_only=True, repr=False)
class AuthorizationGrantedData(_Data):
    """The data that a subscriber needs to exchange the code."""

    code: str
    code_expires_at: datetime
    granted_scope: str | None = None
    code_verifier: str | None = None


@dataclass(kw_only=True, repr=False)
class AuthorizationFailedData(_Data):
    """The error that Qonto sent instead of a code: untrusted text."""

    error: str
    error_description: str | None = None


@dataclass(kw_only=True, repr=False)
class _Event:
    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str
    subject: UUID
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"


@dataclass(kw_only=True, repr=False)
class AuthorizationGranted(_Event):
    """Qonto sent a code."""

    type: Literal["qonto-connect.authorization.granted.v1"] = (
        "qonto-connect.authorization.granted.v1"
    )
    dataschema: Literal["urn:qonto-connect:authorization-granted:v1"] = (
        "urn:qonto-connect:authorization-granted:v1"
    )
    data: AuthorizationGrantedData


@dataclass(kw_only=True, repr=False)
class AuthorizationFailed(_Event):
    """Qonto sent an error."""

    type: Literal["qonto-connect.authorization.failed.v1"] = "qonto-connect.authorization.failed.v1"
    dataschema: Literal["urn:qonto-connect:authorization-failed:v1"] = (
        "urn:qonto-connect:authorization-failed:v1"
    )
    data: AuthorizationFailedData


type AuthorizationEvent = AuthorizationGranted | AuthorizationFailed


def build(
    authorization: PendingAuthorization,
    response: AuthorizationResponse,
    token_endpoint: str,
    arrived_at: int,
) -> AuthorizationEvent:
    """Return the event of *response*.

    Its ``id`` is made from the authorization and the response alone, so that every redelivery and
    every retry of one response has the same ``id``, and another response has another.

    Args:
        authorization: what start began.
        response: what Qonto sent.
        token_endpoint: the URL at which the subscriber exchanges the code.
        arrived_at: when the response arrived, in epoch seconds.

    """
    time = datetime.fromtimestamp(arrived_at, UTC)
    attributes = _Event(
        id=uuid5(authorization.authorization_id, response.identity),
        source=f"/qonto-connect/{authorization.environment}/{authorization.client_id}",
        subject=authorization.authorization_id,
        time=time,
    )
    data = _Data(
        environment=authorization.environment,
        client_id=authorization.client_id,
        redirect_uri=authorization.redirect_uri,
        token_endpoint=token_endpoint,
        requested_scope=authorization.scope,
        requested_organization_id=authorization.organization_id,
        requested_registration_id=authorization.registration_id,
        context=authorization.context,
        started_at=authorization.started_at,
    )
    if response.error is not None:
        error, description = response.error, response.error_description
        failed = AuthorizationFailedData(**vars(data), error=error, error_description=description)
        return AuthorizationFailed(**vars(attributes), data=failed)
    granted = AuthorizationGrantedData(
        **vars(data),
        code=response.code,
        code_expires_at=time + CODE_LIFETIME,
        granted_scope=response.scope,
        code_verifier=authorization.code_verifier,
    )
    return AuthorizationGranted(**vars(attributes), data=granted)


def to_message(event: AuthorizationEvent) -> str:
    """Return *event* as JSON, without the members that are absent."""
    data = {name: value for name, value in vars(event.data).items() if value is not None}
    return to_json(vars(event) | {"data": data}).decode()
