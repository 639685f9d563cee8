"""The pending authorization, and the DynamoDB item that it becomes."""

from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from authorization import PendingAuthorization
from tests.support.flow import pending

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
