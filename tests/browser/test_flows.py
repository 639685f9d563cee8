"""Flows in browsers: another browser, a reload, the back button, a repeated callback.

If a browser cancels a request, the function runs on, as it does behind API Gateway.
"""

import re
from threading import Barrier, Thread
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from demo.gateway import LambdaContext
from demo.template import Json
from tests.browser.browsers import NewUser, Tab, tab_of
from tests.browser.site import Site, wait_until
from tests.support.connector import Subscriber

# Milliseconds between two navigations. Sooner, a browser may cancel a request that is not sent.
PAUSE = 1000


def go_to_qonto(tab: Tab, site: Site, **query: str) -> str:
    """Follow the app's link and sign in; return the callback's URL."""
    before = site.functions.states()
    tab.goto(site.page("", **query))
    tab.click("a")
    tab.click("button")
    [state] = site.functions.states() - before
    return f"{site.connector}/callback?code=ory_ac_1&state={state}"


def test_flow_finishes_only_in_its_own_browser(new_user: NewUser, site: Site) -> None:
    user, stranger = new_user(), new_user()
    stranger.goto(site.start())  # sets a cookie for the stranger

    stranger.goto(go_to_qonto(user, site, context="ctx-1"))
    user.click("button[value=allow]")

    assert stranger.url == f"{site.connector}/callback/other-browser#_"
    assert "ctx-1" not in stranger.script("document.body.innerText")
    assert stranger.script("document.cookie") == ""
    assert stranger.script("getComputedStyle(document.querySelector('main')).maxWidth") == "480px"
    assert user.url.endswith("&outcome=granted&context=ctx-1#")
    callbacks = ["/callback", "/callback/other-browser", "/callback"]
    assert [request["rawPath"] for request in site.seen] == ["/start", "/start", *callbacks]


def test_reload_and_back_end_at_the_clean_page(page: Page, site: Site) -> None:
    site.use(RETURN_URLS="")
    user = tab_of(page)
    go_to_qonto(user, site)
    user.click("button[value=allow]")
    address = user.url
    assert re.search(r"/callback/granted\?reference=[0-9a-f]{8}#_$", address)

    page.reload()
    assert user.url == address
    page.go_back()
    if page.get_by_role("button", name="Allow", exact=True).is_visible():
        user.click("button[value=allow]")  # this time, mock Qonto responds with an error

    page.wait_for_url(address)
    paths = [request["rawPath"] for request in site.seen]
    assert (paths.count("/callback"), paths.count("/callback/granted")) == (2, 3)


@pytest.mark.claim("S18")
def test_try_again_ends_without_code_or_state(page: Page, site: Site) -> None:
    user = tab_of(page)
    go_to_qonto(user, site)
    site.use(reach_aws=False)
    user.click("button[value=allow]")
    expect(page.get_by_role("heading")).to_have_text("One more try, please")

    site.use()
    user.click("a")

    assert re.search(r"/connected\?authorization_id=[0-9a-f-]{36}&outcome=granted#$", user.url)


def hold_two(site: Site) -> list[Json]:
    """Let the next two calls of callback respond at one moment; return a list of the responses."""
    both_ended, ended = Barrier(2), list[Json]()

    def callback(request: Json, context: LambdaContext) -> Json:
        response = site.functions.callback(request, context)
        ended.append(response)
        both_ended.wait(20)
        return response

    site.callback = callback
    return ended


def expect_return(user: Tab, subscriber: Subscriber, ended: list[Json]) -> None:
    """Expect *user* at the app, after two callbacks, and one ``id`` in all that was published."""
    user.wait_for("location.search.endsWith('&outcome=granted&context=ctx-1')")
    wait_until(lambda: len(ended) == 2)
    assert len({event["id"] for event in subscriber.messages()}) == 1


@pytest.mark.claim("S8")
def test_navigating_twice_reaches_the_app(new_user: NewUser, site: Site) -> None:
    user, subscriber = new_user(), site.subscriber()
    go = f"location.href = '{go_to_qonto(user, site, context='ctx-1')}'"
    script = f"{go}; setTimeout(() => {{ {go} }}, {PAUSE})"
    user.goto(site.page(f'<button onclick="{script}"></button>'))
    ended = hold_two(site)

    user.click("button")

    expect_return(user, subscriber, ended)


@pytest.mark.claim("S8")
def test_reload_during_cold_start_reaches_the_app(page: Page, site: Site) -> None:
    user, subscriber = tab_of(page), site.subscriber()
    url, ended = go_to_qonto(user, site, context="ctx-1"), hold_two(site)
    callback = site.callback

    def time_out(*call: Any) -> Json:  # noqa: ANN401 - a handler's arguments
        site.callback = callback
        Thread(target=callback, args=call).start()  # the function runs on, as in Lambda
        return {"statusCode": 503, "headers": {}, "body": '{"message":"Service Unavailable"}'}

    site.callback = time_out
    user.goto(url)  # shows the gateway's own response
    assert user.url == url

    page.reload()

    expect_return(user, subscriber, ended)
