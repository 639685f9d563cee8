"""The query and the time of a browser's request."""

import pytest

from http_api import InvalidQueryError, arrival, single_values


@pytest.mark.parametrize("query", ["x=1&state=a&%73tate=a", "state=a&state=&state=a"])
def test_repeated_known_parameter_is_refused_by_name(query: str) -> None:
    with pytest.raises(InvalidQueryError) as failure:
        single_values(query, {"state"})
    assert failure.value.parameters == ("state",)
    assert single_values("iss=x&iss=y&state=a&utm", {"state"}) == {"state": "a"}


@pytest.mark.parametrize("query", ["", "state=", "state", "&=&", "state=&%73tate="])
def test_blank_value_counts_as_omitted(query: str) -> None:
    assert single_values(query, {"state"}) == {}
    assert single_values(f"{query}&state=a&state=", {"state"}) == {"state": "a"}


def test_value_that_may_be_blank_is_kept() -> None:
    assert single_values("scope=&state=", {"scope", "state"}, {"scope"}) == {"scope": ""}
    with pytest.raises(InvalidQueryError):
        single_values("scope=&scope=a", {"scope"}, {"scope"})


REPLACED = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a,b%2Cc;d=e", "a,b,c;d=e"),
        ("one+two%2Bthree", "one two+three"),
        ("%C3%A9t%C3%A9", "été"),
        ("%3Cb%3E%26", "<b>&"),
        ("100%", "100%"),
        ("%FF", REPLACED),
        # SQS does not take these characters, but their neighbours.
        ("%EF%BF%BE%EF%BF%BF\ufffe\uffff\ud800\udfff", REPLACED * 6),
        ("%EF%BF%BD%F0%9F%BF%BE\ue000\ud7ff", f"{REPLACED}\U0001fffe\ue000\ud7ff"),
    ],
)
def test_value_is_decoded_once(raw: str, text: str) -> None:
    assert single_values(f"error={raw}", {"error"}) == {"error": text}


def test_arrival_is_gateway_time_in_whole_seconds() -> None:
    assert arrival({"requestContext": {"timeEpoch": 1700000000999}}) == 1700000000
