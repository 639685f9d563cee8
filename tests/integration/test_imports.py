"""The handlers that Lambda calls; only a response with a page imports ``pages.rendering``."""

import sys

from tests.support.connector import Browser, Connector, cold_start


def test_only_a_page_loads_the_pages(connector: Connector) -> None:
    browser = Browser(connector.restarted())
    start, callback = connector.environments.values()
    browser.connector.start = cold_start("start.handler", start)
    browser.connector.callback = cold_start("callback.handler", callback)

    browser.granted(browser.started())
    browser.request("callback", "")
    browser.request("start", headers={"sec-purpose": "prefetch"})
    assert "pages.rendering" not in sys.modules

    browser.request("start", "context=not+allowed")
    assert "pages.rendering" in sys.modules
