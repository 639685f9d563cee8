"""Requests that Chromium makes ahead of its user, and navigations through a service worker.

The headers that it sends are those of tests/navigations.py.
"""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.site import Site
from tests.browser.test_flows import decide, go_to_qonto
from tests.navigations import AHEAD_OF_USER, BY_USER

RULES = '<script type="speculationrules">{"%s": [{"urls": ["URL"]}]}</script>'
ELEMENTS = {
    '<link rel="prefetch" href="URL">': "Chromium, and Firefox since 115, <link rel=prefetch>",
    RULES % "prefetch": "Chromium, prefetch by speculation rules",
    RULES % "prerender": "Chromium, prerender by speculation rules",
    '<iframe src="URL"></iframe>': "a frame",
    '<embed src="URL">': "an embedded document",
    '<img src="URL" alt="">': "an image",
}


@pytest.mark.parametrize("element", ELEMENTS, ids=ELEMENTS.values())
def test_request_ahead_of_the_user_starts_no_authorization(
    page: Page, site: Site, element: str
) -> None:
    before = site.states()
    query = {"to": site.start(), "ahead": element.replace("URL", site.start(context="ahead"))}

    with page.context.expect_event("response", lambda it: "context=ahead" in it.url) as response:
        page.goto(f"{site.app}/?{urlencode(query)}")

    assert response.value.status == 425
    assert AHEAD_OF_USER[ELEMENTS[element]].items() <= site.seen[0].headers.items()
    assert site.states() == before
    assert page.context.cookies(site.connector) == []
    page.get_by_role("link", name="Connect with Qonto").click()
    expect(page.get_by_role("heading")).to_have_text("Sign in")
    assert BY_USER["a click on a link"].items() <= site.seen[-1].headers.items()
    assert len(site.states()) == len(before) + 1


@pytest.mark.parametrize(
    ("passes_on", "headers"),
    [
        ("request", BY_USER["fetch(event.request) of a service worker, Chromium and WebKit"]),
        (
            "options",
            BY_USER["fetch(event.request) of a service worker, Firefox; with options, all"],
        ),
    ],
)
def test_flow_through_a_service_worker_reaches_the_app(
    page: Page, site: Site, passes_on: str, headers: dict[str, str]
) -> None:
    page.goto(site.worker(passes_on))
    page.wait_for_url("**#ready")

    go_to_qonto(page, site, context="ctx-1")
    decide(page)

    expect(page.get_by_role("heading")).to_have_text("The app")
    assert "&outcome=granted&context=ctx-1" in page.url
    navigations = [seen for seen in site.seen if seen.path in {"/start", "/callback"}]
    assert len(navigations) == 2
    assert all(headers.items() <= navigation.headers.items() for navigation in navigations)
