"""The event that subscribers receive: CloudEvents 1.0, structured JSON, one type an outcome."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID, uuid5

from pydantic import BaseModel

from callback.authorization_response import AuthorizationResponse
from state_store import PendingAuthorization

# Qonto's: from the issue of the code, so counting from its arrival gives an upper bound.
CODE_LIFETIME = timedelta(minutes=10)

_DATA_AS_STORED = {"environment", "client_id", "redirect_uri", "context", "started_at"}


class _Data(BaseModel, defer_build=True):  # what is not published now is not built now
    environment: Literal["production", "sandbox"]
    client_id: str
    redirect_uri: str
    token_endpoint: str
    requested_scope: str
    requested_organization_id: str | None = None
    requested_registration_id: str | None = None
    context: str | None = None
    started_at: datetime


class GrantedData(_Data):
    """What a subscriber needs to exchange the code."""

    code: str
    code_expires_at: datetime
    granted_scope: str | None = None
    code_verifier: str | None = None


class FailedData(_Data):
    """What Qonto said instead of a code: untrusted text."""

    error: str
    error_description: str | None = None


class _AuthorizationEvent(BaseModel, defer_build=True):
    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str
    subject: UUID
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"


class AuthorizationGranted(_AuthorizationEvent):
    """Qonto sent a code."""

    type: Literal["qonto-connect.authorization.granted.v1"] = (
        "qonto-connect.authorization.granted.v1"
    )
    dataschema: Literal["urn:qonto-connect:authorization-granted:v1"] = (
        "urn:qonto-connect:authorization-granted:v1"
    )
    data: GrantedData


class AuthorizationFailed(_AuthorizationEvent):
    """Qonto sent an error."""

    type: Literal["qonto-connect.authorization.failed.v1"] = "qonto-connect.authorization.failed.v1"
    dataschema: Literal["urn:qonto-connect:authorization-failed:v1"] = (
        "urn:qonto-connect:authorization-failed:v1"
    )
    data: FailedData


type AuthorizationEvent = AuthorizationGranted | AuthorizationFailed


def build(
    authorization: PendingAuthorization,
    response: AuthorizationResponse,
    token_endpoint: str,
    arrived_at: int,
) -> AuthorizationEvent:
    """Return the event of *response*, which arrived at *arrived_at* (epoch seconds).

    Its ``id`` is made from the authorization and the answer alone, so that every redelivery and
    every retry of one answer has the same, and another answer its own.
    """
    time = datetime.fromtimestamp(arrived_at, UTC)
    answer = f"code={response.code}" if response.error is None else f"error={response.error}"
    attributes = {
        "id": uuid5(authorization.authorization_id, answer),
        "source": f"/qonto-connect/{authorization.environment}/{authorization.client_id}",
        "subject": authorization.authorization_id,
        "time": time,
    }
    data = {
        **authorization.model_dump(include=_DATA_AS_STORED),
        "token_endpoint": token_endpoint,
        "requested_scope": authorization.scope,
        "requested_organization_id": authorization.organization_id,
        "requested_registration_id": authorization.registration_id,
    }
    if response.error is None:
        data |= {
            "code": response.code,
            "code_expires_at": time + CODE_LIFETIME,
            "granted_scope": response.scope,
            "code_verifier": authorization.code_verifier,
        }
        return AuthorizationGranted.model_validate(attributes | {"data": data})
    data |= {"error": response.error, "error_description": response.error_description}
    return AuthorizationFailed.model_validate(attributes | {"data": data})
