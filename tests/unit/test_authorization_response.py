"""The authorization response that a browser brings from Qonto to /callback."""

from urllib.parse import urlencode

import pytest

from callback.authorization_response import AuthorizationResponse, parse
from http_api import InvalidQueryError
from tests.support.flow import CODE, STATE


def parsed(**parameters: str) -> AuthorizationResponse:
    return parse(urlencode(parameters | {"state": STATE}))


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("error=&error_description=&code=abc", "GRANTED"),  # a blank one is omitted
        ("code=&error=access_denied", "DENIED"),
        ("code=&scope=&error=server_error&error_description=", "FAILED"),
        ("error=consent+request+denied", "FAILED"),
        ("error=ACCESS_DENIED", "FAILED"),
    ],
)
def test_code_or_error_decides_outcome(query: str, outcome: str) -> None:
    response = parse(f"{query}&state={STATE}")
    assert response.outcome.name == outcome
    assert response.error_description is None


def test_response_keeps_values_without_unknown_parameters() -> None:
    values = {"code": CODE, "state": STATE, "scope": "offline_access organization.read"}
    response = parse(f"{urlencode(values)}&iss=a&iss=b&return_to=https://evil.example")
    assert response.model_dump(exclude_none=True) == values
    assert parsed(code="x" * 2048).code == "x" * 2048


NEITHER_OR_BOTH = ["", "code=x&error=y", "code=x&error=y&error=", "code=&error="]
INVALID = f"""
    code=x code=x&state= code=x&state=short code=x&state={STATE}x code=x&state={STATE}&state={STATE}
    code=x&code=x&state={STATE} error=x&error=x&state={STATE} code=x&scope=a&scope=b&state={STATE}
    error=x&error_description=a&error_description=b&state={STATE} code=x%0A&state={STATE}
    code=%C3%A9x&state={STATE} code={"x" * 2049}&state={STATE}
"""


@pytest.mark.parametrize(
    "query", [*INVALID.split(), *(f"{query}&state={STATE}" for query in NEITHER_OR_BOTH)]
)
@pytest.mark.claim("S2")
def test_invalid_authorization_response_is_refused(query: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        parse(query)
    assert STATE not in str(failure.value)
    assert failure.value.__cause__ is None
    assert query in INVALID.split() or failure.value.parameters == ("code", "error")


@pytest.mark.claim("S10")
def test_long_texts_are_cut_between_characters() -> None:
    # A control character takes six bytes of JSON, and every other one at most four.
    for character, share in {"é": 1, "🏦": 1, "\x01": 4 / 6, "\x01🏦": 8 / 10}.items():
        response = parsed(error=character * 200, error_description=character * 2000)
        assert response.error == (character * 200)[: int(128 * share)]
        assert response.error_description == (character * 2000)[: int(1024 * share)]


def test_invalid_scope_counts_as_omitted() -> None:
    for scope in ('quo"te', "a  b", "é", "s" * 1025):
        assert parsed(code="c", scope=scope).scope is None
    for scope in ("s" * 1024, ""):
        assert parsed(code="c", scope=scope).scope == scope


def test_hash_depends_on_code_or_error_alone() -> None:
    queries = [f"{name}={value}&state={STATE}" for name in ("code", "error") for value in "xy"]
    hashes = [parse(query).hash for query in queries]
    assert [parse(f"{query}&scope=read&error_description=z").hash for query in queries] == hashes
    assert len({*hashes}) == len(queries)
