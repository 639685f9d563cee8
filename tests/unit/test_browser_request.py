"""What is read from a browser's request."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browser_request import InvalidQueryError, arrival, is_speculative, single_values
from browser_request import language as preferred_language


def test_a_repeat_of_one_of_ours_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidQueryError) as failure:
        single_values("state=a&x=1&state=a", {"state"})

    assert failure.value.parameters == ("state",)


@pytest.mark.parametrize("query", ["state=a&%73tate=a", "state=a&state", "state=&state="])
def test_a_repeat_is_seen_however_it_is_written(query: str) -> None:
    with pytest.raises(InvalidQueryError):
        single_values(query, {"state"})


def test_other_names_are_ignored_and_may_repeat() -> None:
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
def test_a_value_is_decoded_once(raw: str, text: str) -> None:
    assert single_values(f"error_description={raw}", {"error_description"}) == {
        "error_description": text
    }


@given(st.text())
def test_any_query_gives_values_or_a_refusal(raw_query: str) -> None:
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
def test_a_request_that_nobody_waits_for_is_speculative(headers: dict[str, str]) -> None:
    assert is_speculative({"headers": headers})


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-dest": "document"}, {"purpose": "other"}, {"accept": "prefetch"}]
)
def test_a_navigation_is_not_speculative(headers: dict[str, str]) -> None:
    assert not is_speculative({"headers": headers})


def test_arrival_is_the_gateways_own_time_in_whole_seconds() -> None:
    assert arrival({"requestContext": {"timeEpoch": 1700000000999}}) == 1700000000


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("fr", "fr"),
        ("FR-ch, en;q=0.9", "fr"),
        ("en;q=0.8, de", "de"),
        ("de, fr", "de"),
        ("fr, de", "fr"),
        ("pt, it;q=0.3, es;q=0.2", "it"),
        ("zh-Hant-TW, es-419;q=0.5", "es"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("fr-CH;q=0.2, fr;q=0.8, de;q=0.5", "fr"),
        ("*", "en"),
        ("pt, *;q=0.5", "en"),
        ("en;q=0, *;q=0.1", "fr"),
        ("de;q=0.001", "de"),
        ("de ; q=0.5 , fr ; q=0.4", "de"),
        ("de\t;\tq=0.5\t,\tfr;q=0.6", "fr"),
        ("en;q=0.999, it;q=1.000", "it"),
        ("fr;q=1.5, de;q=0.1", "de"),
        ("fr;q=1, de", "fr"),
        ("fr-CH;q=0.9, de;q=0.5, fr;q=0.1", "fr"),
    ],
)
def test_the_language_that_the_browser_prefers_is_taken(accepted: str, language: str) -> None:
    event = {"headers": {"accept-language": accepted}}

    assert preferred_language(event, ["en", "fr", "de", "it", "es"]) == language


@pytest.mark.parametrize(
    "accepted",
    ["", "pt", "de;q=0", "fr;q=2", "fr;q=1.5", "fr;q=0.1234", "fr;q=x", "f r", ";", ",,,", "é"],
)
def test_a_language_that_nobody_offers_or_asks_for_is_the_first(accepted: str) -> None:
    event = {"headers": {"accept-language": accepted}}

    assert preferred_language(event, ["en", "fr", "de", "it", "es"]) == "en"


@pytest.mark.parametrize("accepted", ["{}!", "a{}!", "a;{}!", "a;q=1{}!", "a{};{}q=1{}!"])
def test_a_header_full_of_spaces_costs_no_more_than_another(accepted: str) -> None:
    """As long as the gateway lets it be; tried at each of its spaces, it would cost a second."""
    event = {"headers": {"accept-language": accepted.replace("{}", " " * 10_000)}}
    before = time.process_time()

    preferred_language(event, ["en", "fr"])

    assert time.process_time() - before < 0.1


def test_without_a_preference_the_language_is_the_first() -> None:
    assert preferred_language({"headers": {}}, ["en", "fr"]) == "en"
