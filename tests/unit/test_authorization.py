"""The pending authorization, and the DynamoDB item that it becomes."""

from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from authorization import PendingAuthorization
from tests.unit.flow import pending

OPTIONAL = {
    "context": "ctx.1",
    "return_to": "https://app.example.com/back?tab=bank&x=1",
    "organization_id": "org-1",
    "registration_id": "reg-1",
    "code_verifier": "v" * 43,
}


@pytest.mark.parametrize("optional", [{}, OPTIONAL], ids=["required", "all"])
def test_item_becomes_the_same_authorization_again(optional: dict[str, str]) -> None:
    authorization = pending(**optional)

    assert PendingAuthorization.from_item(authorization.item) == authorization


def test_item_has_dynamodb_types_and_no_absent_attributes() -> None:
    assert pending(context="ctx.1").item == {
        "state": {"S": "state-" + "s" * 37},
        "expires_at": {"N": "1700003600"},
        "browser_hash": {"S": "b" * 64},
        "authorization_id": {"S": "5f0c8f3e-2f5f-4b0e-9a54-6d1f3c2b1a00"},
        "environment": {"S": "sandbox"},
        "client_id": {"S": "client-1"},
        "redirect_uri": {"S": "https://connect.example.com/callback"},
        "scope": {"S": "offline_access organization.read"},
        "started_at": {"S": "2023-11-14T22:13:20Z"},
        "context": {"S": "ctx.1"},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", {}),
        ("authorization_id", {"S": "not-a-uuid"}),
        ("environment", {"S": "staging"}),
        ("expires_at", {"N": "soon"}),
        ("started_at", {"S": "soon"}),
        ("context", {"S": "two words"}),
    ],
)
def test_item_that_start_did_not_write_is_refused(name: str, value: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as failure:
        PendingAuthorization.from_item(pending().item | {name: value})

    assert [error["loc"] for error in failure.value.errors()] == [(name,)]
    with pytest.raises(ValidationError):
        PendingAuthorization.from_item({})


def test_start_query_holds_app_parameters_alone() -> None:
    expected = {name: [value] for name, value in OPTIONAL.items() if name != "code_verifier"}

    assert parse_qs(pending(**OPTIONAL).start_query, strict_parsing=True) == expected
    assert pending(code_verifier="v" * 43).start_query == ""
