"""Requests ahead of the user, and through a service worker, as navigations.toml has them."""

import pytest

from tests.browser.browsers import NewUser
from tests.browser.site import Site, wait_until
from tests.browser.test_flows import go_to_qonto
from tests.support.navigations import AHEAD_OF_USER, BY_USER

RULES = '<script type="speculationrules">{"%s": [{"urls": ["URL"]}]}</script>'
PREFETCH = "Chromium, and Firefox since 115, <link rel=prefetch>"
# Elements that let a browser request URL, each with its row of AHEAD_OF_USER.
ELEMENTS = [
    ("chromium webkit", '<iframe src="URL"></iframe>', "a frame"),
    ("chromium firefox", '<link rel="prefetch" href="URL">', PREFETCH),  # off in WebKit
    ("chromium", RULES % "prefetch", "Chromium, prefetch by speculation rules"),
    ("chromium", RULES % "prerender", "Chromium, prerender by speculation rules"),
    ("chromium", '<embed src="URL">', "an embedded document"),
    ("chromium", '<img src="URL" alt="">', "an image"),
]
NAVIGATE = "fetch(event.request) of a service worker, Chromium and WebKit"
SAME_ORIGIN = "fetch(event.request) of a service worker, Firefox; with options, all"
# What a service worker passes on, each with its row of BY_USER.
PASSED_ON = {
    "chromium": {"request": NAVIGATE, "options": SAME_ORIGIN},
    "firefox": {"request": SAME_ORIGIN},
    "webkit": {"request": NAVIGATE},
}

pytestmark = pytest.mark.claim("S15")


def test_request_ahead_of_the_user_starts_no_authorization(
    new_user: NewUser, browser: str, site: Site
) -> None:
    own = [(element, row) for browsers, element, row in ELEMENTS if browser in browsers]
    for element, row in own:
        user, before = new_user(), site.functions.states()
        site.seen.clear()

        user.goto(site.page(element.replace("URL", site.start(context="ahead"))))
        wait_until(lambda: ["response" in request for request in site.seen] == [True])
        assert site.seen[0]["response"]["statusCode"] == 425
        assert site.functions.states() == before
        user.click("a")

        ahead, click = (request["headers"] for request in site.seen)
        assert AHEAD_OF_USER[row].items() <= ahead.items()
        assert BY_USER["a click on a link"].items() <= click.items()
        assert "cookies" not in site.seen[1]
        assert user.url.startswith(f"{site.qonto}/sign-in?")
        assert len(site.functions.states()) == len(before) + 1


def test_flow_through_a_service_worker_reaches_the_app(
    new_user: NewUser, browser: str, site: Site
) -> None:
    for passed_on, row in PASSED_ON[browser].items():
        user = new_user()
        site.seen.clear()
        user.goto(f"{site.connector}/worker?{passed_on}")
        user.wait_for("location.hash === '#ready'")

        go_to_qonto(user, site, context="ctx-1")
        user.click("button[value=allow]")

        assert "&outcome=granted&context=ctx-1" in user.url
        start, callback = (request["headers"] for request in site.seen)
        assert BY_USER[row].items() <= start.items()
        # WebKit takes the redirect from Qonto past the worker.
        assert browser == "webkit" or BY_USER[row].items() <= callback.items()
