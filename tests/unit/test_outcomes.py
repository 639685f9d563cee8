"""The outcomes of a callback, with the page and the destination of each."""

import tomllib
from pathlib import Path

import pytest

import pages
from outcomes import Outcome

CATALOGUE = tomllib.loads(Path(pages.__file__).with_name("catalogue.toml").read_text("utf-8"))


@pytest.mark.parametrize("outcome", Outcome)
def test_page_of_outcome_is_in_catalogue(outcome: Outcome) -> None:
    assert outcome.page in CATALOGUE.keys() - {"words"}


def test_app_is_told_four_outcomes() -> None:
    told = {outcome.reason for outcome in Outcome if outcome.app_is_told}

    assert told == {"granted", "denied", "failed", "expired"}
