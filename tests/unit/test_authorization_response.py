"""The authorization response that a browser brings from Qonto to /callback."""

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback.authorization_response import AuthorizationResponse, parse
from http_api import InvalidQueryError
from tests.support.flow import CODE, STATE


def parsed(**parameters: str) -> AuthorizationResponse:
    """Return the response with *parameters* and a state."""
    return parse(urlencode(parameters | {"state": STATE}))


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("code=abc", "GRANTED"),
        ("error=&error_description=&code=abc&scope=read", "GRANTED"),  # a blank one is omitted
        ("error&code=abc", "GRANTED"),
        ("code=&code=abc", "GRANTED"),
        ("code=&error=access_denied", "DENIED"),
        ("code=&scope=&error=server_error&error_description=", "FAILED"),
        ("error=request_forbidden", "FAILED"),
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
    assert parsed(error="consent request denied").error == "consent request denied"


NEITHER_OR_BOTH = """
    code=x&error=y&state={state} code=x&error=y&error=&state={state} code=&error=&state={state}
    state={state} code=&state={state} error=&state={state}
"""
INVALID = """
    code=x code=x&state= code=x&state=short code=x&state={state}x code=x&state={state}&state={state}
    code=x&code=x&state={state} error=x&error=x&state={state} code=x&scope=a&scope=b&state={state}
    error=x&error_description=a&error_description=b&state={state} code=%0A&state={state}
    code=%C3%A9&state={state}
"""


@pytest.mark.parametrize(
    "query", ["", f"code={'x' * 2049}&state={STATE}", *NEITHER_OR_BOTH.split(), *INVALID.split()]
)
@pytest.mark.claim("S2")
def test_invalid_authorization_response_is_refused(query: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        parse(query.format(state=STATE))
    assert STATE not in str(failure.value)
    assert failure.value.__cause__ is None
    assert query not in NEITHER_OR_BOTH.split() or failure.value.parameters == ("code", "error")


@pytest.mark.claim("S10")
def test_long_texts_are_cut_between_characters() -> None:
    # A control character takes six bytes of JSON, and every other one at most four.
    for character, share in {"é": 1, "🏦": 1, "\x01": 4 / 6}.items():
        response = parsed(error=character * 200, error_description=character * 2000)
        assert response.error == character * int(128 * share)
        assert response.error_description == character * int(1024 * share)


@given(st.text(min_size=1, max_size=2000))
def test_any_description_is_cut_to_4096_json_bytes(text: str) -> None:
    description = quote(text, safe="", errors="strict")
    cut = parse(f"error=e&state={STATE}&error_description={description}").error_description
    assert cut is not None
    assert text.startswith(cut)
    assert len(json.dumps(cut, ensure_ascii=False).encode()) <= 4096 + 2


def test_invalid_scope_counts_as_omitted() -> None:
    for scope in ('quo"te', "a  b", "é", "s" * 1025):
        assert parsed(code="c", scope=scope).scope is None
    for scope in ("s" * 1024, ""):
        assert parsed(code="c", scope=scope).scope == scope


def test_hash_depends_on_code_or_error_alone() -> None:
    queries = [f"{name}={value}&state={STATE}" for name in ("code", "error") for value in "xy"]
    hashes = [parse(query).hash for query in queries]
    others = [parse(f"{query}&scope=read&error_description=z").hash for query in queries]
    assert hashes == others
    assert len({*hashes}) == len(queries)
