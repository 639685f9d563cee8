"""The authorization response that a browser brings from Qonto to /callback."""

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback.authorization_response import AuthorizationResponse, parse
from http_api import InvalidQueryError
from outcomes import Outcome
from tests.support.flow import CODE, STATE


def parsed(**parameters: str) -> AuthorizationResponse:
    """Return the response with *parameters* and a state."""
    return parse(urlencode(parameters | {"state": STATE}))


def test_code_is_granted() -> None:
    response = parse(
        f"code={CODE}&scope=offline_access+organization.read&state={STATE}"
        "&iss=a&iss=b&return_to=https://evil.example"  # unknown parameters are ignored
    )

    assert response.outcome is Outcome.GRANTED
    assert response.code == CODE
    assert response.scope == "offline_access organization.read"
    assert response.state == STATE
    assert parsed(code="x" * 2048).code == "x" * 2048


@pytest.mark.parametrize(
    "error", ["access_denied", "request_forbidden", "consent request denied", "ACCESS_DENIED"]
)
def test_error_is_denied_or_failed(error: str) -> None:
    response = parsed(error=error)

    is_denied = error == "access_denied"
    assert response.outcome is (Outcome.DENIED if is_denied else Outcome.FAILED)
    assert response.error == error


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("error=&code=abc", Outcome.GRANTED),
        ("error=&error_description=&code=abc&scope=read", Outcome.GRANTED),
        ("error&code=abc", Outcome.GRANTED),
        ("code=&code=abc", Outcome.GRANTED),
        ("code=&error=access_denied", Outcome.DENIED),
        ("code=&scope=&error=server_error&error_description=", Outcome.FAILED),
    ],
)
def test_blank_parameter_counts_as_omitted(query: str, outcome: Outcome) -> None:
    response = parse(f"{query}&state={STATE}")

    assert response.outcome is outcome
    assert response.error_description is None


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
    "query",
    ["", f"code={'x' * 2049}&state={STATE}", *NEITHER_OR_BOTH.split(), *INVALID.split()],
)
@pytest.mark.claim("S2")
def test_invalid_authorization_response_is_refused(query: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        parse(query.format(state=STATE))

    assert STATE not in str(failure.value)
    assert failure.value.__cause__ is None
    if query in NEITHER_OR_BOTH.split():
        assert failure.value.parameters == ("code", "error")


@pytest.mark.claim("S10")
def test_long_texts_are_cut_between_characters() -> None:
    response = parsed(error="é" * 200, error_description="🏦" * 2000)

    assert response.error == "é" * 128
    assert response.error_description == "🏦" * 1024
    # A control character takes six bytes of JSON, and every other one at most four.
    response = parsed(error="\x01" * 128, error_description="\x01" * 1024)
    assert response.error == "\x01" * (4 * 128 // 6)
    assert response.error_description == "\x01" * (4 * 1024 // 6)


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
    queries = ["code=x", "code=y", "error=x", "error=y"]

    hashes = [parse(f"{query}&state={STATE}").hash for query in queries]
    others = [
        parse(f"{query}&state={STATE}&scope=read&error_description=z").hash for query in queries
    ]

    assert hashes == others
    assert len({*hashes}) == len(queries)
