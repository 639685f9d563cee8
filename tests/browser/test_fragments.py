"""Code and state in the fragment of an address, to which a forwarded link to Qonto can move them.

A browser takes the fragment along to each redirect that has none of its own. Pages that are shown
in place leave it where it is, but Qonto redirects to ``/callback`` alone.
"""

import pytest
from playwright.sync_api import Browser, Page

from demo.gateway import LambdaContext
from demo.template import Json
from tests.browser.browsers import NewUser, tab_of
from tests.browser.site import Site
from tests.browser.test_flows import go_to_qonto

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

pytestmark = pytest.mark.claim("S18")


def test_arrival_leaves_the_fragment_behind(
    new_user: NewUser, site: Site, example_app: str
) -> None:
    urls = {"connector": site.connector, "qonto": site.qonto, "app": example_app}
    user = new_user()
    for begin, end in ARRIVALS.items():
        user.goto(begin.format(**urls) + FRAGMENT)
        address = user.url
        user.click("a, button")

        assert address.startswith(end.format(**urls))
        assert "ory_ac_1" not in address + user.url
        assert user.url != address

    site.use()
    user.goto(go_to_qonto(user, site, context="ctx-1") + FRAGMENT)
    assert user.url.endswith("&outcome=granted&context=ctx-1#")


@pytest.mark.parametrize(
    ("mode", "end", "contexts"),
    [
        ("fragment", "/callback/invalid-request#_", []),
        # Without our fragments, Alice's bank would be connected to Mallory's account.
        ("fragment", "/callback/invalid-request#code=", ["ctx-of-mallory"]),
        ("form_post", "/callback", []),
    ],
)
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
