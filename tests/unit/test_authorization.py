"""The pending authorization, and the DynamoDB item that it becomes."""

from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from authorization import PendingAuthorization
from tests.support.flow import pending

QUERY = {
    "context": "ctx.1",
    "return_to": "https://app.example.com/back?tab=bank&x=1",
    "organization_id": "org-1",
    "registration_id": "reg-1",
}


def test_authorization_keeps_itself_in_item_and_query() -> None:
    full, required = pending(**QUERY, code_verifier="v" * 43), pending()
    assert PendingAuthorization.from_item(full.item) == full
    assert PendingAuthorization.from_item(required.item) == required
    query = parse_qs(full.start_query, strict_parsing=True)
    assert query == {name: [value] for name, value in QUERY.items()}
    assert required.start_query == ""


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
