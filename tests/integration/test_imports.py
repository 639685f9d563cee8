"""Only a response with a page imports ``pages.rendering``; a redirect does not."""

import sys

from tests.integration.connector import Browser, Connector


def test_only_a_page_loads_the_pages(connector: Connector) -> None:
    browser = Browser(connector.cold_started())

    state = browser.started()
    browser.granted(state)
    browser.granted(state)
    browser.request("callback", "")
    browser.request("start", headers={"sec-purpose": "prefetch"})
    assert "pages.rendering" not in sys.modules

    browser.request("start", "context=not+allowed")
    assert "pages.rendering" in sys.modules
