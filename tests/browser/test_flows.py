"""Flows in browsers: a fragment, a second navigation, a reload, the back button.

If a browser cancels a request, the function runs on, as it does behind API Gateway.
"""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.gateway import LambdaContext
from demo.template import Json
from tests.browser.browsers import NewUser, Tab, tab_of
from tests.browser.site import Site, wait_until

# A forwarded link to Qonto can move code and state into the fragment of an address. A browser takes
# it along to each redirect that has none of its own. Pages that are shown in place leave it where
# it is, but Qonto redirects to /callback alone.
FRAGMENT = "#code=ory_ac_1&state=abc"
# Where a browser may arrive with a fragment, and where it then ends. {app} is the example app.
# The first needs a browser without a cookie, which the others set.
ARRIVALS = {
    f"{{connector}}/callback?code=a&state={'A' * 43}": "{connector}/callback/other-browser#_",
    "{connector}/start": "{qonto}/sign-in?login_challenge=",
    "{connector}/callback": "{connector}/callback/invalid-request#_",
    "{app}/connect": "{app}/#_",
    "{app}/connected": "{app}/#_",
    "{app}/connected?authorization_id=a&outcome=granted&context=forged": "{app}/#_",
    "{app}/connection": "{app}/#_",
}
# Milliseconds between navigations. Sooner, a browser may cancel a request that is not sent.
PAUSE = 1000


def go_to_qonto(tab: Tab, site: Site, **query: str) -> str:
    """Follow the app's link and sign in; return the callback's URL."""
    before = site.functions.states()
    tab.goto(site.page("", **query))
    tab.click("a")
    tab.click("button")
    [state] = site.functions.states() - before
    return f"{site.connector}/callback?code=ory_ac_1&state={state}"


@pytest.mark.claim("S18")
def test_arrival_leaves_the_fragment_behind(
    new_user: NewUser, site: Site, example_app: str
) -> None:
    urls = {"connector": site.connector, "qonto": site.qonto, "app": example_app}
    user = new_user()
    for begin, end in ARRIVALS.items():
        user.goto(begin.format(**urls) + FRAGMENT)
        address = user.url
        assert user.script("document.cookie") == ""
        user.click("a, button")

        assert address.startswith(end.format(**urls))
        assert "ory_ac_1" not in address + user.url
        assert user.url != address

    site.use()
    user.goto(go_to_qonto(user, site, context="ctx-1") + FRAGMENT)
    assert user.url.endswith("&outcome=granted&context=ctx-1#")
    user.goto(f"{site.connector}/callback/granted")
    assert user.script("getComputedStyle(document.querySelector('main')).maxWidth") == "480px"


@pytest.mark.parametrize(
    ("mode", "end", "contexts"),
    [
        ("fragment", "/callback/invalid-request#_", []),
        # Without our fragments, Alice's bank would be connected to Mallory's account.
        ("fragment", "/callback/invalid-request#code=", ["ctx-of-mallory"]),
        ("form_post", "/callback", []),
    ],
)
@pytest.mark.claim("S18")
def test_forwarded_qonto_link_leaves_nothing_to_hand_over(  # noqa: PLR0913 - the cases
    page: Page, chromium: Browser, site: Site, *, mode: str, end: str, contexts: list[str]
) -> None:
    """Mallory gets the address at which Alice's browser ends, and opens it as a callback."""
    alice, mallory, subscriber = tab_of(page), tab_of(chromium.new_page()), site.subscriber()

    def callback(request: Json, context: LambdaContext) -> Json:
        response = site.functions.callback(request, context)
        if "Location" in response["headers"] and contexts:
            response["headers"]["Location"] = response["headers"]["Location"].partition("#")[0]
        return response

    site.callback = callback
    mallory.goto(site.start(context="ctx-of-mallory"))
    link = site.seen[0]["response"]["headers"]["Location"].partition("#")[0]
    alice.goto(f"{link}&response_mode={mode}")
    alice.click("button")
    alice.click("button[value=allow]")
    alice.wait_for(f"location.href.startsWith({site.connector + end!r})")  # a form posts itself
    mallory.goto(f"{site.connector}/callback?{alice.url.partition('#')[2]}")

    assert [event["data"]["context"] for event in subscriber.messages()] == contexts


@pytest.mark.claim("S8")
def test_navigating_twice_reaches_the_app(new_user: NewUser, site: Site) -> None:
    user, subscriber, ended = new_user(), site.subscriber(), list[Json]()

    def callback(request: Json, context: LambdaContext) -> Json:
        response = site.functions.callback(request, context)
        ended.append(response)
        wait_until(lambda: len(ended) > 1)
        return response

    go = f"location.href = '{go_to_qonto(user, site, context='ctx-1')}'"
    script = f"{go}; setInterval(() => {{ {go} }}, {PAUSE})"
    user.goto(site.page(f'<button onclick="{script}"></button>'))
    site.callback = callback
    user.click("button")

    user.wait_for("location.search.endsWith('&outcome=granted&context=ctx-1')")
    assert len({event["id"] for event in subscriber.messages()}) == 1


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
