"""A page is loaded when one is due, and never on the way to a redirect."""

import sys

from tests.integration.pair import Browser, Pair


def test_a_redirect_loads_no_page(pair: Pair) -> None:
    browser = Browser(pair.anew())  # a cold start

    state = browser.started()
    browser.granted(state)
    browser.granted(state)
    browser.request("callback", "")
    browser.request("start", headers={"sec-purpose": "prefetch"})

    assert "pages" not in sys.modules


def test_a_page_is_loaded_when_one_is_due(pair: Pair) -> None:
    browser = Browser(pair.anew())

    browser.request("start", "context=not+allowed")

    assert "pages" in sys.modules
