"""The query, the headers and the time of a browser's request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_api import InvalidQueryError, arrival, is_speculative, single_values


def test_repeated_known_parameter_is_refused_by_name() -> None:
    with pytest.raises(InvalidQueryError) as failure:
        single_values("state=a&x=1&state=a", {"state"})

    assert failure.value.parameters == ("state",)


@pytest.mark.parametrize("query", ["state=a&%73tate=a", "state=a&state", "state=&state="])
def test_repeat_in_any_spelling_is_refused(query: str) -> None:
    with pytest.raises(InvalidQueryError):
        single_values(query, {"state"})


def test_unknown_parameters_are_ignored_and_may_repeat() -> None:
    assert single_values("iss=x&iss=y&state=a&utm", {"state"}) == {"state": "a"}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a,b,c", "a,b,c"),
        ("a%2Cb", "a,b"),
        ("one+two", "one two"),
        ("one%2Btwo", "one+two"),
        ("%C3%A9t%C3%A9", "été"),
        ("%3Cb%3E%26", "<b>&"),
        ("semi;colon", "semi;colon"),
        ("a=b", "a=b"),
        ("", ""),
        ("%FF", "\N{REPLACEMENT CHARACTER}"),
        ("100%", "100%"),
    ],
)
def test_value_is_decoded_once(raw: str, text: str) -> None:
    assert single_values(f"error_description={raw}", {"error_description"}) == {
        "error_description": text
    }


@given(st.text())
def test_any_query_is_decoded_or_refused(raw_query: str) -> None:
    try:
        values = single_values(raw_query, {"state", "code"})
    except InvalidQueryError:
        return

    assert values.keys() <= {"state", "code"}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-purpose": "prefetch"},
        {"sec-purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
        {"x-moz": "prefetch"},
        {"sec-fetch-dest": "iframe"},
        {"sec-fetch-dest": "image"},
        {"sec-fetch-dest": "empty"},
        {"sec-fetch-dest": ""},
    ],
)
def test_prefetch_or_subresource_request_is_speculative(headers: dict[str, str]) -> None:
    assert is_speculative({"headers": headers})


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-dest": "document"}, {"purpose": "other"}, {"accept": "prefetch"}]
)
def test_navigation_is_not_speculative(headers: dict[str, str]) -> None:
    assert not is_speculative({"headers": headers})


def test_arrival_is_gateway_time_in_whole_seconds() -> None:
    assert arrival({"requestContext": {"timeEpoch": 1700000000999}}) == 1700000000
