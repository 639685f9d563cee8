"""A browser that repeats its callback: it reaches the app, and all events have one id.

If a browser cancels a request, the function runs on, as it does behind API Gateway.
"""

from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Error, Page, Route

from demo.template import Json
from tests.browser.browsers import NewUser, Tab, go_to_qonto, tab_of
from tests.browser.site import Site, wait_for
from tests.integration.connector import Subscriber

# Milliseconds between two navigations. Sooner, Firefox may cancel a request that is not sent.
PAUSES = {"chromium": (1, 5, 15, 40), "firefox": (1000,), "webkit": (1000,)}

pytestmark = pytest.mark.claim("S8")


def begin(tab: Tab, site: Site) -> str:
    """Go to Qonto, and return the callback's URL."""
    state = go_to_qonto(tab, site, context="ctx-1")
    return f"{site.connector}/callback?code=ory_ac_1&state={state}"


def expect_return(tab: Tab, site: Site, subscriber: Subscriber) -> None:
    """Expect *tab* at the app, after two callbacks, and one ``id`` in all that was published."""
    tab.wait_for("location.search.endsWith('&outcome=granted&context=ctx-1')")
    assert len({event["id"] for event in subscriber.messages()}) == 1
    assert site.requested_paths.count("/callback") == 2


def test_navigating_twice_reaches_the_app(new_user: NewUser, browser: str, site: Site) -> None:
    for milliseconds in PAUSES[browser]:
        site.use()
        user, subscriber = new_user(), site.subscriber()
        go = f"location.href = '{begin(user, site)}'"
        script = f"{go}; setTimeout(() => {{ {go} }}, {milliseconds})"
        user.goto(site.page(f'<button onclick="{script}"></button>'))
        calls = site.watch_callback()
        calls.returns[0] = calls.arrived[1]  # or the app might replace the page too early

        user.click("button")

        wait_for(calls.ended[0])
        expect_return(user, site, subscriber)


@pytest.mark.parametrize("order", ["together", "in-order", "the-reload-first"])
def test_reload_during_cold_start_reaches_the_app(page: Page, site: Site, order: str) -> None:
    user, subscriber = tab_of(page), site.subscriber()
    url = begin(user, site)
    calls = site.watch_callback()
    calls.begins[0] = calls.ended[1] if order == "the-reload-first" else calls.arrived[1]
    if order == "in-order":
        calls.begins[1] = calls.ended[0]

    def time_out(*call: Any) -> Json:  # noqa: ANN401 - a handler's arguments
        site.callback = calls
        Thread(target=calls, args=call).start()  # the function runs on, as in Lambda
        return {"statusCode": 503, "headers": {}, "body": '{"message":"Service Unavailable"}'}

    site.callback = time_out
    user.goto(url)  # shows the gateway's own response
    wait_for(calls.arrived[0])
    assert user.url == url

    page.reload()

    wait_for(calls.ended[0])
    expect_return(user, site, subscriber)


def test_repeat_after_lost_response_reaches_the_app(page: Page, site: Site) -> None:
    user, subscriber = tab_of(page), site.subscriber()
    url = begin(user, site)

    def lose_response(route: Route) -> None:
        assert route.fetch(max_redirects=0).status == 303
        route.abort("connectionreset")

    page.route("**/callback?*", lose_response, times=1)
    with pytest.raises(Error):
        page.goto(url)

    again = tab_of(page.context.new_page())
    again.goto(url)

    expect_return(again, site, subscriber)
