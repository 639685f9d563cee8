"""Code and state in the fragment of an address, to which a forwarded link to Qonto can move them.

A browser takes the fragment along to each redirect that has none of its own. Pages that are shown
in place leave it where it is, but Qonto redirects to ``/callback`` alone.
"""

import re

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from tests.browser.site import Site
from tests.browser.test_flows import decide, go_to_qonto

FRAGMENT = "#code=ory_ac_1&state=abc"
# Where a browser may arrive with a fragment, and where it then ends. {app} is the example app.
# The first needs a browser without a cookie, which the others set.
ARRIVALS = {
    "callback without a cookie": (
        "{connector}/callback?code=ory_ac_1&state={state}",
        "{connector}/callback/other-browser#_",
    ),
    "start": ("{connector}/start", "{qonto}/sign-in?login_challenge="),
    "callback": ("{connector}/callback", "{connector}/callback/invalid-request#_"),
    "app's button": ("{app}/connect", "{app}/#_"),
    "app's return": ("{app}/connected", "{app}/#_"),
    "forged return to the app": (
        "{app}/connected?authorization_id=a&outcome=granted&context=forged",
        "{app}/#_",
    ),
    "app's connection": ("{app}/connection", "{app}/#_"),
}


def arrival(name: str, site: Site, example_app: str) -> tuple[str, str]:
    """Return the URL of the arrival *name*, with `FRAGMENT`, and the beginning of its last URL."""
    urls = {"connector": site.connector, "qonto": site.qonto, "app": example_app}
    begin, end = (url.format(**urls, state="A" * 43) for url in ARRIVALS[name])
    return begin + FRAGMENT, end


def authorization_request(page: Page, site: Site) -> str:
    """Start a flow in *page*, and return the URL to which it sends the browser."""
    with page.expect_request(re.compile("/oauth2/auth")) as request:
        page.goto(site.start(context="ctx-of-mallory"))
    return request.value.url.partition("#")[0]


@pytest.mark.parametrize("name", ARRIVALS)
def test_arrival_leaves_the_fragment_behind(
    page: Page, site: Site, example_app: str, name: str
) -> None:
    url, end = arrival(name, site, example_app)
    addresses: list[str] = []

    def note(frame: Frame) -> None:
        addresses.append(frame.url)

    page.on("framenavigated", note)
    page.goto(url)

    assert page.url.startswith(end)
    assert "code" not in page.evaluate("location.href")
    page.get_by_role("link").or_(page.get_by_role("button")).first.click()
    page.wait_for_load_state()
    assert len(addresses) > 1
    assert not [address for address in addresses if "ory_ac_1" in address]


def test_callback_with_a_fragment_takes_none_of_it_to_the_app(page: Page, site: Site) -> None:
    state = go_to_qonto(page, site, context="ctx-1")

    page.goto(f"{site.connector}/callback?code=ory_ac_1&state={state}{FRAGMENT}")

    expect(page.get_by_role("heading")).to_have_text("The app")
    assert page.url.endswith("&outcome=granted&context=ctx-1#")
    assert page.evaluate("location.hash") == ""


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "without-fragments"])
def test_forwarded_qonto_link_leaves_nothing_to_hand_over(
    page: Page, chromium: Browser, site: Site, *, mended: bool
) -> None:
    """Mallory gets the address at which Alice's browser ends, and opens it as a callback."""
    subscriber = site.subscriber()
    alice, mallory = page, chromium.new_context().new_page()
    link = authorization_request(mallory, site)
    if not mended:
        site.omit_fragments()

    alice.goto(f"{link}&response_mode=fragment")
    alice.get_by_role("button", name="Sign in").click()
    decide(alice)
    expect(alice.get_by_role("heading")).to_have_text("This link is incomplete")
    address = alice.url
    site.use()
    mallory.goto(f"{site.connector}/callback?{address.partition('#')[2]}")

    events = subscriber.messages()
    if mended:
        assert address == f"{site.connector}/callback/invalid-request#_"
        assert events == []
    else:
        [event] = events  # so Alice's bank would be connected to Mallory's account
        assert event["data"]["code"] in address
        assert event["data"]["context"] == "ctx-of-mallory"
    mallory.context.close()


def test_posted_response_ends_at_an_address_without_it(page: Page, site: Site) -> None:
    subscriber = site.subscriber()
    link = authorization_request(page, site)

    page.goto(f"{link}&response_mode=form_post")
    page.get_by_role("button", name="Sign in").click()
    decide(page)

    page.wait_for_url(f"{site.connector}/callback")
    expect(page.get_by_text('"message":"Not Found"')).to_be_visible()
    assert subscriber.messages() == []
