"""The choice of a page's language."""

import re
import time

import pytest

from pages.language import preferred_language


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
        ("fr;q=1.5, de;q=0.1", "fr"),
        ("fr;q=1, de", "fr"),
        ("fr-CH;q=0.9, de;q=0.5, fr;q=0.1", "fr"),
        # locales, as devices have them
        ("fr_FR", "fr"),
        ("de_DE,en-US;q=0.8", "de"),
        ("fr-FR.UTF-8", "fr"),
        ("it_IT.ISO8859-15@euro;q=0.9,en;q=0.8", "it"),
        ("es_419", "es"),
        ("C.UTF-8, fr;q=0.1", "fr"),
        ("fr_FR:de_DE", "fr"),
        # weights that RFC 9110 does not know
        ("it;q=0.5000", "it"),
        ("en;q=0.49999, it;q=0.5000001", "it"),
        ("es;q=.8", "es"),
        ("en;q=.4, es;q=.8", "es"),
        ("en;q=0., de;q=0.1", "de"),
        ("de;q=0,8,en-US;q=0,6", "de"),  # a decimal comma
        ("en;q=0,6, de;q=0,8", "de"),
        ("en; q = 0.2, de; q = 0.4", "de"),
        ("en;Q=0.2, de;Q=0.4", "de"),
        ("en;level=1;q=0.2, de;q=0.4", "de"),
        ("fr;q=2", "fr"),
        ("fr;q=", "fr"),
        ("fr;q=x", "fr"),
        ("fr;", "fr"),
    ],
)
def test_preferred_language_is_chosen(accepted: str, language: str) -> None:
    assert preferred_language(accepted, ["en", "fr", "de", "it", "es"]) == language


@pytest.mark.parametrize(
    "accepted",
    ["", "pt", "de;q=0", "de;q=0.0000", "de;q=.0", "f r", "fra", "fr1", ";", ",,,", "é", "q=1"],
)
def test_unsupported_or_invalid_preference_gives_first_language(accepted: str) -> None:
    assert preferred_language(accepted, ["en", "fr", "de", "it", "es"]) == "en"


@pytest.mark.parametrize(
    "accepted",
    [
        "{ }!",
        "a{ }!",
        "a;{ }!",
        "a;q=1{ }!",
        "a{ };{ }q=1{ }!",
        "{a}1",
        "a;q={1}.",
        "{;}",
        "{,}",
        "{,1}",
        "{;q}",
        "{;q=}",
    ],
)
def test_long_header_is_parsed_quickly(accepted: str) -> None:
    """The header is as long as API Gateway allows. Backtracking would take a second."""
    header = re.sub("{(.+?)}", lambda part: part[1] * (10_000 // len(part[1])), accepted)
    before = time.process_time()

    preferred_language(header, ["en", "fr"])

    assert time.process_time() - before < 0.1


def test_missing_preference_gives_first_language() -> None:
    assert preferred_language("", ["en", "fr"]) == "en"
