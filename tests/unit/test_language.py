"""The choice of a page's language."""

import re
import time

import pytest

from pages.language import preferred_language

# The preferences, between "|", for which each language is chosen. They include the locales of
# devices, weights that RFC 9110 does not know, and decimal commas.
CHOSEN = {
    "fr": r"fr | FR-ch, en;q=0.9 | fr, de | de;q=0, fr;q=0.1 | fr-CH;q=0.2, fr;q=0.8, de;q=0.5"
    r" | en;q=0, *;q=0.1 | fr;q=1.5, de;q=0.1 | fr;q=1, de | fr-CH;q=0.9, de;q=0.5, fr;q=0.1"
    r" | fr_FR | fr-FR.UTF-8 | C.UTF-8, fr;q=0.1 | fr_FR:de_DE | fr;q=2 | fr;q= | fr;q=x | fr;",
    "de": r"en;q=0.8, de | de, fr | de;q=0.001 | de ; q=0.5 , fr ; q=0.4 | de_DE,en-US;q=0.8"
    r" | en;q=0., de;q=0.1 | de;q=0,8,en-US;q=0,6 | en;q=0,6, de;q=0,8 | en; q = 0.2, de; q = 0.4"
    r" | en;Q=0.2, de;Q=0.4 | en;level=1;q=0.2, de;q=0.4",
    "it": r"pt, it;q=0.3, es;q=0.2 | en;q=0.999, it;q=1.000 | it_IT.ISO8859-15@euro;q=0.9,en;q=0.8"
    r" | it;q=0.5000 | en;q=0.49999, it;q=0.5000001",
    "es": r"zh-Hant-TW, es-419;q=0.5 | es_419 | es;q=.8 | en;q=.4, es;q=.8",
    # The first language, if a preference is unsupported or invalid.
    "en": r"* | pt, *;q=0.5 |  | pt | de;q=0 | de;q=0.0000 | de;q=.0 | f r | fra | fr1 | ;"
    r" | ,,, | é | q=1",
}
CASES = [(text, name) for name, texts in CHOSEN.items() for text in texts.split(" | ")]


@pytest.mark.parametrize(("accepted", "language"), [*CASES, ("de\t;\tq=0.5\t,\tfr;q=0.6", "fr")])
def test_preferred_language_is_chosen(accepted: str, language: str) -> None:
    assert preferred_language(accepted, ["en", "fr", "de", "it", "es"]) == language


LONG = "{ }! a{ }! a;{ }! a;q=1{ }! a{ };{ }q=1{ }! {a}1 a;q={1}. {;} {,} {,1} {;q} {;q=}"


@pytest.mark.parametrize("accepted", re.split("(?<![{]) (?![}])", LONG))
def test_long_header_is_parsed_quickly(accepted: str) -> None:
    """The header is as long as API Gateway allows. Backtracking would take a second."""
    header = re.sub("{(.+?)}", lambda part: part[1] * (10_000 // len(part[1])), accepted)
    before = time.process_time()
    preferred_language(header, ["en", "fr"])
    assert time.process_time() - before < 0.1
